"""``foveal score``: judge files, folders, patterns or a list."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foveal.cli.html_report import (
    PageWanted,
    details_option,
    prepare,
    report_option,
    thumbnails_option,
    write_score_page,
)
from foveal.cli.options import device_option, max_pixels_option, threads_option
from foveal.cli.score_cluster import ENGINE as CLUSTER
from foveal.cli.score_cluster import cluster_options, refuse_cluster_options, score_on_cluster

if TYPE_CHECKING:
    from foveal.assessor import Assessor
    from foveal.cli.listings import Listing
    from foveal.imaging.limits import Limits
    from foveal.pipeline.prompts import FoundPrompts
    from foveal.pipeline.rows import Row
    from foveal.pipeline.sinks import Sink
    from foveal.pipeline.summary import Summary
    from foveal.report.gather import Gathered

SOME_FAILED = 1
"""Exit code when images could not be judged, unless ``--keep-going``."""


EXAMPLES = """\b
Examples:
  foveal score photo.jpg
  foveal score photos/ --out scores.csv --resume
  foveal score photos/ --report photos.html
  find . -name '*.png' | foveal score - --below 2.5
  foveal score renders/ --model FILE --prompts prompts.csv
  foveal score s3://bucket/photos/ --engine ray --out s3://bucket/scores
"""


@dataclass(frozen=True, slots=True)
class Prompts:
    """What the images were made from.

    Attributes:
        text: of all images; empty if they are to be judged without, None if nothing is said.
        table: path of a table with a text for each image.
    """

    text: str | None
    table: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked for on the side of the output; see the options of the same names."""

    out: str | None
    as_json: bool
    below: float | None
    top: int | None
    resume: bool
    overwrite: bool
    page: PageWanted | None


@click.command(epilog=EXAMPLES)
@click.argument("paths", nargs=-1, required=True, type=click.Path(allow_dash=True), metavar="PATHS...")
@click.option(
    "--out",
    type=click.Path(),
    help="Write all rows to FILE.csv, .jsonl or .parquet; with --engine ray to a folder or URL.",
    metavar="FILE",
)
@click.option(
    "--json", "as_json", is_flag=True, help='Print a JSON array: one object an image, failures with "error".'
)
@click.option("--below", type=float, metavar="QUALITY", help="Show only images with a quality under this.")
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", help="Show only the N best images, best first."
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the rows in --out; images that have a row, be it an error, are done.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file of --out.")
@report_option("Write a page about all images to FILE.html: figures, pictures, a table to sort and filter.")
@thumbnails_option
@details_option
@click.option("--keep-going", is_flag=True, help="Exit with 0 even if images could not be judged.")
@click.option(
    "--model", metavar="NAME|FILE", help="A shipped assessor (see 'foveal models') or a model file."
)
@click.option(
    "--prompt", metavar="TEXT", help="Text that all images were made from, for models that read it."
)
@click.option(
    "--prompts",
    "prompt_table",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Table with columns image and prompt: CSV, TSV, Parquet, XLSX or JSON lines.",
)
@click.option("--no-prompt", is_flag=True, help="Leave out what cannot be judged without a prompt.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "openvino", "onnxruntime", CLUSTER]),
    default="auto",
    help="What runs the model; ray: many processes, on a cluster if there is one.",
)
@cluster_options
@device_option
@threads_option
@max_pixels_option
@click.pass_context
def score(
    ctx: click.Context,
    *,
    paths: tuple[str, ...],
    out: str | None,
    as_json: bool,
    below: float | None,
    top: int | None,
    resume: bool,
    overwrite: bool,
    report: str | None,
    report_thumbnails: int,
    report_details: int,
    keep_going: bool,
    model: str | None,
    prompt: str | None,
    prompt_table: str | None,
    no_prompt: bool,
    engine: str,
    ray_address: str | None,
    workers: int | None,
    partition_size: int | None,
    device: str,
    threads: int | None,
    max_pixels: int | None,
) -> None:
    """Score how good images look to people.

    PATHS are images, folders (searched to any depth), patterns such as 'shots/*.jpg', or - for a
    list on standard input, one file a line. Quality runs from 1 (bad) to 5 (excellent).

    On a terminal you get the worst and best, a summary and a histogram; in a pipe, lines of
    quality, low and high end of the interval, aspects if there are any, and path, separated by
    tabs. --out and --report always get every row; --below and --top choose what is shown or printed.

    --report is one page that needs nothing else and works offline, with the rows of earlier runs
    where --resume takes them up. Pictures of the worst and best images are in it, and explanations
    of a few of them, for which files are read once more after scoring.

    Some models judge more than quality, such as how well an image shows the text that it was made
    from; each such aspect has a column. They need --prompt, --prompts or --no-prompt.

    With --engine ray, PATHS may also be tables with a column image, path or url (CSV, TSV, JSON lines,
    Parquet), lists (.txt) and URLs such as s3://bucket/photos/; --out is a folder of Parquet files.

    An image that cannot be read becomes a row with an error. Exit code: 0, or 1 if there were such
    images, 2 if the command could not run, 130 after Ctrl-C.
    """
    page = None if report is None else PageWanted(report, report_thumbnails, report_details)
    wanted = Wanted(out, as_json, below, top, resume, overwrite, page)
    _check(wanted)
    prompts = _prompts(prompt, prompt_table, no_prompt)
    if engine == CLUSTER:
        failed = score_on_cluster(ctx.params)
        ctx.exit(SOME_FAILED if failed and not keep_going else 0)
    refuse_cluster_options(ctx.params)
    if page is not None:
        prepare(page)
    limits = _limits(max_pixels)
    assessor = _load(model, engine, device, threads, limits)
    # Before any file is made: is there what this model needs?
    assessor.check_prompts(prompts.text if prompts.table is None else ())
    gathered = _gathered(wanted)
    failed = _score(assessor, paths, wanted, prompts, gathered)
    if page is not None and gathered is not None:
        write_score_page(page, gathered, assessor, limits)
    ctx.exit(SOME_FAILED if failed and not keep_going else 0)


def _check(wanted: Wanted) -> None:
    if (wanted.resume or wanted.overwrite) and not wanted.out:
        raise click.UsageError("--resume and --overwrite need --out")
    if wanted.resume and wanted.overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")
    if wanted.resume and wanted.as_json:
        raise click.UsageError(
            "--json prints the images scored now, so it does not go with --resume; read --out instead"
        )


def _prompts(text: str | None, table: str | None, none: bool) -> Prompts:
    if (text is not None) + (table is not None) + none > 1:
        raise click.UsageError("--prompt, --prompts and --no-prompt exclude each other")
    return Prompts("" if none else text, table)


def _limits(max_pixels: int | None) -> Limits:
    from foveal.imaging.limits import Limits

    return Limits() if max_pixels is None else Limits(max_pixels=max_pixels)


def _load(model: str | None, engine: str, device: str, threads: int | None, limits: Limits) -> Assessor:
    import foveal

    return foveal.load(
        model or foveal.DEFAULT_MODEL, engine=engine, device=device, threads=threads, limits=limits
    )


def _gathered(wanted: Wanted) -> Gathered | None:
    """What keeps the rows for a page, if there is to be one."""
    if wanted.page is None:
        return None
    from foveal.report.gather import Gathered

    return Gathered()


def _score(
    assessor: Assessor, paths: Sequence[str], wanted: Wanted, prompts: Prompts, gathered: Gathered | None
) -> int:
    """Score everything and show it; give the number of failures, those of earlier runs included."""
    from foveal.cli.progress import progress
    from foveal.pipeline.discover import discover
    from foveal.pipeline.rows import to_row
    from foveal.pipeline.run import pending, score_many
    from foveal.pipeline.sinks import open_sink
    from foveal.pipeline.summary import Summary

    model, aspects = assessor.card.model, tuple(sorted(assessor.card.aspects))
    summary = Summary() if gathered is None else gathered.summary
    note = summary.add if gathered is None else gathered.add
    found = discover(paths, stdin=sys.stdin.buffer if "-" in paths else None)
    sources, texts = _with_prompts(found, prompts)
    sink: Sink | None = None
    incomplete = 0
    try:
        with ExitStack() as stack:
            if wanted.out:
                sink = stack.enter_context(
                    open_sink(
                        wanted.out,
                        model=model,
                        aspects=aspects,
                        resume=wanted.resume,
                        overwrite=wanted.overwrite,
                    )
                )
            listing = stack.enter_context(closing(_listing(wanted, summary)))
            for row in sink.rows() if sink else ():
                note(row)
                listing.add(row, None)
            bar, total = _wants_bar(wanted), None
            if bar and "-" not in paths:
                # The time left is worth a look at all names; a list from a pipe is better taken as it comes.
                sources = list(pending(sources, sink))
                total = len(sources)
            advance = stack.enter_context(progress(bar, total))
            for result in stack.enter_context(closing(score_many(assessor, sources, sink, prompts=texts))):
                row = to_row(result, model, aspects)
                incomplete += _lacks_aspect(row)
                note(row)
                listing.add(row, result)
                advance()
    except KeyboardInterrupt:
        kept = "; their rows are kept, add --resume to go on" if wanted.out else ""
        click.echo(f"foveal: interrupted after {summary.scored + summary.failed:,} images{kept}", err=True)
        raise
    if incomplete:
        left_out = ", ".join(assessor.card.needing_prompt)
        click.echo(f"foveal: no {left_out} for {incomplete:,} of the images: no prompt to judge by", err=True)
    return summary.failed


def _with_prompts(
    sources: Iterable[str], prompts: Prompts
) -> tuple[Iterable[str], FoundPrompts | str | None]:
    """The images, and their prompts as :func:`foveal.pipeline.run.score_many` takes them."""
    if prompts.table is None:
        return sources, prompts.text
    from foveal.cli.text import one_line
    from foveal.pipeline.discover import unique
    from foveal.pipeline.prompts import PromptTable

    listed = list(unique(sources))  # whether a name fits one image only shows when all are known
    found = PromptTable(Path(prompts.table)).find(listed)
    if found.unused:
        count = f"{found.unused:,} of {found.images:,} images in it are not among those to be scored"
        click.echo(f"foveal: {one_line(prompts.table)}: {count}", err=True)
    return listed, found


def _lacks_aspect(row: Row) -> bool:
    return row.quality is not None and None in row.aspects.values()


def _wants_bar(wanted: Wanted) -> bool:
    return sys.stderr.isatty() and not (wanted.as_json and sys.stdout.isatty())


def _listing(wanted: Wanted, summary: Summary) -> Listing:
    from foveal.cli.listings import Errors, JsonArray, Lines
    from foveal.cli.report import Report

    if wanted.as_json:
        return JsonArray(wanted.below, wanted.top)
    if sys.stdout.isatty():
        from rich.console import Console

        return Report(Console(), summary, wanted.below, wanted.top)
    if wanted.out and wanted.below is None and wanted.top is None:
        return Errors()
    return Lines(wanted.below, wanted.top)
