"""``foveal compare``: two folders, or two models on the same images."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from foveal.cli.html_report import PageWanted, prepare, report_option, thumbnails_option, write
from foveal.cli.options import device_option, max_pixels_option, threads_option

if TYPE_CHECKING:
    from foveal.assessor import Assessor
    from foveal.imaging.limits import Limits
    from foveal.pipeline.rows import Row
    from foveal.report.compare import Compared, Pair
    from foveal.report.pairing import Pairing

SOME_FAILED = 1
"""Exit code when a pair could not be judged, unless ``--keep-going``."""
MOST_LISTED = 10
"""Images without a partner that are named on each side; ``--json`` and the report name all."""

EXAMPLES = """\b
Examples:
  foveal compare renders-v1/ renders-v2/
  foveal compare originals/ compressed/ --report change.html
  foveal compare --model foveal-compact --model mine.foveal.safetensors photos/
"""


@click.command(epilog=EXAMPLES)
@click.argument("paths", nargs=-1, required=True, type=click.Path(allow_dash=True), metavar="OLD NEW")
@click.option(
    "--model",
    "models",
    metavar="NAME|FILE",
    multiple=True,
    help="A shipped assessor or a model file. Given twice, both judge the same images: old model first.",
)
@report_option("Write a page with the pairs, plots and pictures of what changed most to FILE.html.")
@thumbnails_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with every pair.")
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=5,
    metavar="N",
    help="Show the N images that rose most and the N that fell most; by default 5.",
)
@click.option("--keep-going", is_flag=True, help="Exit with 0 even if pairs could not be judged.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "openvino", "onnxruntime"]),
    default="auto",
    help="What runs the model.",
)
@device_option
@threads_option
@max_pixels_option
@click.pass_context
def compare(
    ctx: click.Context,
    *,
    paths: tuple[str, ...],
    models: tuple[str, ...],
    report: str | None,
    report_thumbnails: int,
    as_json: bool,
    top: int,
    keep_going: bool,
    engine: str,
    device: str,
    threads: int | None,
    max_pixels: int | None,
) -> None:
    """Compare two folders of images, or two models.

    OLD and NEW are folders, or one image each. Images pair by their path within the folder; where
    suffixes differ, without it, so that a.png meets a.jpg. With --model given twice, PATHS are
    images, folders, patterns or - as for 'foveal score', and both models judge each of them.

    You get the mean difference in quality (new less old) with its 95 % interval, the sign test and
    Wilcoxon's signed-rank test, how many images changed by more than half of either prediction
    interval, and those that changed most, in both directions.

    Exit code: 0, or 1 if pairs could not be judged, 2 if the command could not run, 130 after
    Ctrl-C.
    """
    import foveal
    from foveal.imaging.limits import Limits

    if len(models) > 2:
        raise click.UsageError(f"--model is given {len(models)} times; two models can be compared")
    page = None if report is None else PageWanted(report, report_thumbnails)
    if page is not None:
        prepare(page)
    pairing = _pairing(paths, of_models=len(models) == 2)
    limits = Limits() if max_pixels is None else Limits(max_pixels=max_pixels)
    assessors = [
        foveal.load(model, engine=engine, device=device, threads=threads, limits=limits)
        for model in models or (foveal.DEFAULT_MODEL,)
    ]
    compared = _compared(pairing, assessors, models if len(models) == 2 else paths)
    if page is not None:
        _write_page(page, compared, assessors, limits)
    if as_json:
        click.echo(json.dumps(compared.to_dict(), allow_nan=False))
    else:
        _show(compared, top)
    ctx.exit(SOME_FAILED if compared.failed and not keep_going else 0)


def _pairing(paths: Sequence[str], *, of_models: bool) -> Pairing:
    """Find out what is compared with what; there is at least one pair."""
    from foveal.errors import ImageNotFoundError
    from foveal.pipeline.discover import discover, unique
    from foveal.report.pairing import Pairing, Partners, pair_folders, pair_with_itself

    if of_models:
        found = discover(paths, stdin=sys.stdin.buffer if "-" in paths else None)
        return pair_with_itself(unique(found))
    if len(paths) != 2:
        raise click.UsageError(
            f"expected OLD and NEW, got {len(paths)} paths; to compare two models, give --model twice"
        )
    old, new = paths
    folders = [Path(path).is_dir() for path in paths]
    if not any(folders):
        return Pairing((Partners(new, old, new),))
    if not all(folders):
        raise click.UsageError("OLD and NEW are two folders, or two images")
    pairing = pair_folders(old, new)
    if not pairing.pairs:
        advice = "images pair by their path within the folder, without suffix"
        raise ImageNotFoundError(
            f"{old} and {new}", "no image on one side has a partner on the other", advice
        )
    return pairing


def _compared(pairing: Pairing, assessors: Sequence[Assessor], names: Sequence[str]) -> Compared:
    """Judge both sides; one assessor is asked about both, two about the same images."""
    from foveal.cli.progress import progress
    from foveal.cli.text import one_line
    from foveal.report.compare import Side, compared, judged

    before, after = assessors[0], assessors[-1]
    with progress(sys.stderr.isatty(), 2 * len(pairing.pairs)) as advance:

        def rows(assessor: Assessor, paths: Sequence[str]) -> list[Row]:
            found = []
            for row in judged(assessor, paths):
                found.append(row)
                advance()
            return found

        old = rows(before, [pair.old for pair in pairing.pairs])
        new = rows(after, [pair.new for pair in pairing.pairs])
    labels = [one_line(name) for name in names]
    if len(assessors) == 2 and before.card.model != after.card.model:
        labels = [before.card.model, after.card.model]
    sides = (Side(labels[0], before.card.model), Side(labels[1], after.card.model))
    return compared(pairing, *sides, (old, new))


def _write_page(page: PageWanted, compared: Compared, assessors: Sequence[Assessor], limits: Limits) -> None:
    from foveal.cli.progress import progress
    from foveal.report.compare_page import LONGEST, Content, compare_page
    from foveal.report.page import PAGE_BYTES, ROW_BYTES
    from foveal.report.thumbnails import read_pictures

    content = Content.of(compared, (assessors[0].card, assessors[-1].card))
    wanted = content.sources(page.thumbnails)
    with progress(sys.stderr.isatty(), len(wanted), "thumbnails") as advance:
        album = read_pictures(
            wanted,
            limits=limits,
            budget=PAGE_BYTES - ROW_BYTES,
            longest=LONGEST,
            workers=assessors[0].engine.threads,
            advance=advance,
        )
    write(page, compare_page(content, album))


def _show(compared: Compared, top: int) -> None:
    """Print the comparison as text; failures go to standard error."""
    from foveal.cli.text import one_line

    for line in _lines(compared, top):
        click.echo(line)
    for pair in compared.failed:
        for row in (pair.old, pair.new):
            if row.quality is None:
                click.echo(f"foveal: {one_line(row.source)}: {one_line(row.error or '')}", err=True)


def _lines(compared: Compared, top: int) -> Iterator[str]:
    yield f"{compared.new.label} against {compared.old.label}"
    yield from _figures(compared)
    for title, direction in (("rose most", 1), ("fell most", -1)):
        moved = compared.most(top, direction)
        if moved:
            yield ""
            yield title
            yield from map(_moved, moved)
    for side, paths in ((compared.old, compared.only_old), (compared.new, compared.only_new)):
        if paths:
            yield ""
            yield from _alone(side.label, paths)


def _figures(compared: Compared) -> Iterator[str]:
    from foveal.report.wording import interval, p_value, verdict

    found = compared.difference
    if found is None:
        yield "  no pair could be judged"
        return
    failed = f", {len(compared.failed):,} more could not be judged" if compared.failed else ""
    rows = [
        ("pairs", f"{found.pairs:,}{failed}"),
        ("mean difference", f"{found.mean:+.3f}  {interval(found, 3)}"),
        ("median", f"{found.median:+.3f}"),
        ("higher, lower, equal", f"{found.higher:,}, {found.lower:,}, {found.equal:,}"),
        ("sign test", p_value(found.sign_p)),
        ("Wilcoxon", p_value(found.wilcoxon_p)),
        ("beyond both intervals", f"{compared.beyond(1):,} higher, {compared.beyond(-1):,} lower"),
    ]
    for label, value in rows:
        yield f"  {label:<24}{value}"
    yield from wrap(verdict(found), 100, initial_indent="  ", subsequent_indent="  ")


def _moved(pair: Pair) -> str:
    from foveal.cli.text import one_line

    mark = "  beyond both intervals" if pair.beyond else ""
    return (
        f"  {pair.difference:+.2f}  {pair.old.quality:.2f} to {pair.new.quality:.2f}  "
        f"{one_line(pair.name)}{mark}"
    )


def _alone(label: str, paths: Sequence[str]) -> Iterator[str]:
    from foveal.cli.text import one_line

    yield f"{len(paths):,} only in {label}"
    yield from (f"  {one_line(path)}" for path in paths[:MOST_LISTED])
    if len(paths) > MOST_LISTED:
        yield f"  ... and {len(paths) - MOST_LISTED:,} more"
