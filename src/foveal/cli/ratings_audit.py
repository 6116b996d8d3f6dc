"""``foveal ratings audit``: what the parts of a split have in common and should not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from foveal.cli.options import threads_option
from foveal.cli.rated_table import RatedTable, described, read_table, table_options

if TYPE_CHECKING:
    from foveal.ratings.table import Ratings

EXAMPLES = """\b
Examples:
  foveal ratings audit BIQ2021/ --dataset biq2021 --out audit/
  foveal ratings audit ratings.csv --column-split part --column-group scene
  foveal ratings audit ratings.csv --split split-0.json --within --cache thumbnails.sqlite
"""


@click.command(epilog=EXAMPLES)
@table_options
@click.option(
    "--split",
    metavar="FILE",
    type=click.Path(),
    help="Audit this split (JSON, as foveal.ratings.splits.write_split writes it), not the table's own.",
)
@click.option("--within", is_flag=True, help="Also report duplicates and near copies inside each part.")
@click.option(
    "--correlation",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="X",
    help="Near copies are images whose details correlate at least so much; by default 0.6. Mirror images "
    "need 0.9 in any case.",
)
@threads_option
@click.option(
    "--cache",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Keep what was computed of each image in this file, so that the next audit is quick.",
)
@click.option(
    "--out", type=click.Path(), metavar="DIR", help="A new folder for the report, its tables and lists."
)
def audit(
    *,
    split: str | None,
    within: bool,
    correlation: float | None,
    threads: int | None,
    cache: str | None,
    out: str | None,
    **ratings: Any,
) -> None:
    """Find what the parts of a split have in common.

    RATINGS is a table of images and mean opinion scores (CSV, TSV, JSON lines, Parquet, XLSX), a
    folder with such a metadata file, or with --dataset the folder of a known set.

    Between each two parts, this finds groups (reference images, scenes) and prompts that are in
    both, files with the same bytes, and near copies: recompressed, resized, mirrored, brighter or
    darker, slightly cropped, or shots of one series. --out writes them all, and lists of the images
    to leave out of an evaluation (foveal evaluate --leave-out).

    Exit code: 0 whatever is found, 2 if the command could not run, 130 after Ctrl-C.
    """
    from foveal.cli.text import one_line
    from foveal.evaluation.folder import refuse_existing, write_folder
    from foveal.ratings.audit import audit as audit_ratings
    from foveal.ratings.audit import read_fingerprints
    from foveal.ratings.perceptual_hash import CORRELATION

    table = described(ratings)
    if (table.low is None) != (table.high is None):
        raise click.UsageError("give both --low and --high, or neither: an audit does without them")
    if out is not None:
        refuse_existing(out)
    rated = _read(table, split)
    with _progress(len(rated)) as advance:
        prints = read_fingerprints(rated.images, threads=threads, cache=cache, advance=advance)
    report = audit_ratings(rated, prints, within=within, correlation=correlation or CORRELATION)
    for line in report.to_text().splitlines():
        click.echo(one_line(line))
    if out is not None:
        write_folder(out, report.files())


def _read(table: RatedTable, split: str | None) -> Ratings:
    from foveal.ratings.splits import read_split

    low, high = table.low, table.high
    if table.dataset is None and low is None:
        # Scores play no part here, so any will do where the scale is not given.
        low, high = -sys.float_info.max, sys.float_info.max
    ratings = read_table(table, low, high)
    return ratings if split is None else read_split(split).apply(ratings)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error where it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from foveal.cli.progress import make_bar

    with make_bar() as bar:
        task = bar.add_task("looking at images", total=total)
        yield lambda: bar.advance(task)
