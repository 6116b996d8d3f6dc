"""``foveal ratings audit``: what the parts of a split have in common and should not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from foveal.ratings.table import Ratings

EXAMPLES = """\b
Examples:
  foveal ratings audit BIQ2021/ --dataset biq2021 --out audit/
  foveal ratings audit ratings.csv --column-split part --column-group scene
  foveal ratings audit ratings.csv --split split-0.json --within --cache thumbnails.sqlite
"""


@dataclass(frozen=True, slots=True)
class Table:
    """What the ratings are; see the options of the same names."""

    path: str
    dataset: str | None
    images: str | None
    drop_missing: bool
    low: float | None
    high: float | None
    lower_is_better: bool
    columns: dict[str, str]


@click.command(epilog=EXAMPLES)
@click.argument("path", metavar="RATINGS", type=click.Path())
@click.option("--dataset", metavar="NAME", help="RATINGS is the folder of a known set, such as biq2021.")
@click.option("--images", metavar="DIR", type=click.Path(), help="Where the images lie.")
@click.option("--drop-missing", is_flag=True, help="Leave out rated images that are not on disk.")
@click.option("--low", type=float, metavar="X", help="Lower end of the scale; may be left out here.")
@click.option("--high", type=float, metavar="X", help="Upper end of the scale; may be left out here.")
@click.option("--lower-is-better", is_flag=True, help="The ratings are differences to a reference (DMOS).")
@click.option(
    "--column-image", metavar="HEADING", help="Column of the images; by default image, in a folder file_name."
)
@click.option("--column-score", metavar="HEADING", help="Column of people's mean score; by default mos.")
@click.option("--column-group", metavar="HEADING", help="Column of what a split must not separate.")
@click.option("--column-prompt", metavar="HEADING", help="Column of the text that images were made from.")
@click.option("--column-subset", metavar="HEADING", help="Column of subsets; of no effect here.")
@click.option("--column-split", metavar="HEADING", help="Column that holds train, validation or test.")
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
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="Images at once; by default one for each CPU."
)
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
    path: str,
    dataset: str | None,
    images: str | None,
    drop_missing: bool,
    low: float | None,
    high: float | None,
    lower_is_better: bool,
    split: str | None,
    within: bool,
    correlation: float | None,
    threads: int | None,
    cache: str | None,
    out: str | None,
    **columns: str | None,
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

    named = {
        name.removeprefix("column_"): heading for name, heading in columns.items() if heading is not None
    }
    table = Table(path, dataset, images, drop_missing, low, high, lower_is_better, named)
    _check(table)
    if out is not None:
        refuse_existing(out)
    ratings = _read(table, split)
    with _progress(len(ratings)) as advance:
        prints = read_fingerprints(ratings.images, threads=threads, cache=cache, advance=advance)
    report = audit_ratings(ratings, prints, within=within, correlation=correlation or CORRELATION)
    for line in report.to_text().splitlines():
        click.echo(one_line(line))
    if out is not None:
        write_folder(out, report.files())


def _check(table: Table) -> None:
    stated = table.low is not None or table.high is not None or table.lower_is_better
    if table.dataset is not None and (stated or table.columns):
        raise click.UsageError(
            f"scale and columns of {table.dataset} are known; leave --low, --column-... out"
        )
    if (table.low is None) != (table.high is None):
        raise click.UsageError("give both --low and --high, or neither: an audit does without them")


def _read(table: Table, split: str | None) -> Ratings:
    from pathlib import Path

    from foveal.cli.text import one_line
    from foveal.ratings.own_table import Columns
    from foveal.ratings.sources import read_ratings
    from foveal.ratings.splits import read_split
    from foveal.ratings.table import DatasetCard

    card = columns = None
    if table.dataset is None:
        # Scores play no part here, so any will do where the scale is not given.
        any_score = sys.float_info.max
        low, high = (-any_score, any_score) if table.low is None else (table.low, table.high)
        name = one_line(Path(table.path).resolve().stem)
        card = DatasetCard(name, low, any_score if high is None else high, not table.lower_is_better)
        heading = table.columns.get
        columns = Columns(
            image=heading("image"),
            scores={"quality": heading("score", "mos")},
            group=heading("group"),
            prompt=heading("prompt"),
            subset=heading("subset"),
            split=heading("split"),
        )
    ratings = read_ratings(
        table.path,
        dataset=table.dataset,
        images=table.images,
        card=card,
        columns=columns,
        missing="drop" if table.drop_missing else "error",
    )
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
