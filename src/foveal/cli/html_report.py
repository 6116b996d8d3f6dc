"""``--report``: its options, and what fills a page when all is scored."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from foveal.assessor import Assessor
    from foveal.imaging.limits import Limits
    from foveal.report.details import Details
    from foveal.report.gather import Gathered

THUMBNAILS, DETAILS = 200, 12
"""Pictures and explanations in a page, unless the user says otherwise."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class PageWanted:
    """A page that the user asked for; see the options of the same names."""

    path: str
    thumbnails: int
    details: int = 0


def report_option(what: str) -> Callable[[_Command], _Command]:
    """The option ``--report``.

    Args:
        what: what the page holds, for the help.
    """
    return click.option("--report", type=click.Path(dir_okay=False), metavar="FILE.html", help=what)


thumbnails_option = click.option(
    "--report-thumbnails",
    type=click.IntRange(min=0),
    default=THUMBNAILS,
    metavar="N",
    help=f"Pictures in the report, of the images that tell most; by default {THUMBNAILS}.",
)
details_option = click.option(
    "--report-details",
    type=click.IntRange(min=0),
    default=DETAILS,
    metavar="N",
    help=f"Images that the report explains, half worst, half best; by default {DETAILS}, 0 for none.",
)


def prepare(page: PageWanted) -> None:
    """Refuse what could not be written, before anything is scored.

    Raises:
        OutputError: the page cannot be written there.
    """
    from foveal.report.file import check_target

    check_target(page.path)
    if page.details:
        # As for ``foveal explain``; NumPy reads this when it is first imported.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def write_score_page(page: PageWanted, gathered: Gathered, assessor: Assessor, limits: Limits) -> None:
    """Read the pictures, explain the ends, and write the report.

    Raises:
        OutputError: it cannot be written.
    """
    from foveal.cli.progress import progress
    from foveal.report.page import PAGE_BYTES, ROW_BYTES
    from foveal.report.score_page import Content, score_page
    from foveal.report.thumbnails import read_pictures

    content, budget = Content.of(assessor.card, gathered), PAGE_BYTES - ROW_BYTES
    shown = sys.stderr.isatty()
    explained = content.sources(page.details)
    with progress(shown, len(explained), "explaining") as advance:
        details = _explained(explained, assessor, limits, budget, advance)
    wanted = content.sources(page.thumbnails)
    with progress(shown, len(wanted), "thumbnails") as advance:
        album = read_pictures(
            wanted,
            limits=limits,
            budget=budget - details.size,
            workers=assessor.engine.threads,
            advance=advance,
        )
    write(page, score_page(content, album, details))


def write(page: PageWanted, html: str) -> None:
    """Write a page and say so on a terminal.

    Raises:
        OutputError: it cannot be written.
    """
    from foveal.cli.text import one_line
    from foveal.report.file import write_page

    size = write_page(page.path, html)
    if sys.stderr.isatty():
        click.echo(f"foveal: {one_line(page.path)}: a report of {size / 1e6:.1f} MB", err=True)


def _explained(
    wanted: list[tuple[int, str]],
    assessor: Assessor,
    limits: Limits,
    budget: int,
    advance: Callable[[], None],
) -> Details:
    """Explain images; without an explainer that works there are no explanations, and the page says why."""
    from foveal.errors import FovealError
    from foveal.explanation.explainer import load_explainer
    from foveal.report.details import Details, explain_all

    if not wanted:
        return Details()
    # An explainer asks its assessor about images alone, without prompts.
    own = assessor if assessor.card.prompt is None else None
    try:
        explainer = load_explainer(assessor=own, limits=limits)
    except FovealError as error:
        return Details(problem=str(error))
    return explain_all(explainer, wanted, limits=limits, budget=budget, advance=advance)
