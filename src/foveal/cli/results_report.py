"""``foveal report``: a page about scores that are there already."""

from __future__ import annotations

import click

from foveal.cli.html_report import PageWanted, details_option, prepare, thumbnails_option, write_score_page
from foveal.cli.options import max_pixels_option, threads_option

EXAMPLES = """\b
Examples:
  foveal report scores.csv scores.html
  foveal report s3://bucket/scores scores.html --report-thumbnails 0
"""


@click.command(epilog=EXAMPLES)
@click.argument("scores", metavar="SCORES")
@click.argument("page", type=click.Path(dir_okay=False), metavar="PAGE.html")
@click.option("--model", metavar="NAME|FILE", help="What wrote the scores; by default the shipped assessor.")
@thumbnails_option
@details_option
@threads_option
@max_pixels_option
def report(
    *,
    scores: str,
    page: str,
    model: str | None,
    report_thumbnails: int,
    report_details: int,
    threads: int | None,
    max_pixels: int | None,
) -> None:
    """Write a page about scores that are there already.

    SCORES is what 'foveal score --out' wrote: a CSV, JSON lines or Parquet file, or with --engine ray
    a folder of partitions, also behind a URL. The page is that of 'foveal score --report'.

    Scores are read, not made again. Pictures and explanations need the images where the table
    names them, seen from the working folder; those that are gone or behind URLs have none.

    Exit code: 0, 2 if the page could not be made, 130 after Ctrl-C.
    """
    import foveal
    from foveal.errors import SourceError
    from foveal.imaging.limits import Limits
    from foveal.pipeline.results import read_results
    from foveal.report.gather import Gathered

    wanted = PageWanted(page, report_thumbnails, report_details)
    prepare(wanted)
    limits = Limits() if max_pixels is None else Limits(max_pixels=max_pixels)
    assessor = foveal.load(model or foveal.DEFAULT_MODEL, threads=threads, limits=limits)
    card, gathered = assessor.card, Gathered()
    for row in read_results(scores, model=card.model, aspects=tuple(sorted(card.aspects))):
        gathered.add(row)
    if not gathered.total:
        raise SourceError(f"{scores}: holds no rows yet")
    write_score_page(wanted, gathered, assessor, limits)
