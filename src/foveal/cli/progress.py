"""Progress bars on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn


def make_bar(*more: ProgressColumn, transient: bool = True) -> Progress:
    """What is done, a bar, how much of it, time left, and further columns; on standard error.

    Args:
        more: columns behind the others.
        transient: the bar goes away at the end.
    """
    from rich import progress as rich_progress
    from rich.console import Console

    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeRemainingColumn(),
        *more,
        console=Console(stderr=True),
        transient=transient,
        redirect_stdout=False,  # the rows of a pipe must not be drawn above the bar
    )


@contextmanager
def progress(shown: bool, total: int | None, doing: str = "scoring") -> Iterator[Callable[[], None]]:
    """Show a bar while the context lasts.

    Args:
        shown: False makes everything here do nothing.
        total: images to come; None if unknown, then there is no time left.
        doing: what is done with them, in a word.

    Yields:
        A function to call after each image.
    """
    if not shown:
        yield lambda: None
        return
    from rich import progress as rich_progress
    from rich.text import Text

    class Rate(rich_progress.ProgressColumn):
        def render(self, task: rich_progress.Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.1f} images/s")

    bar = make_bar(Rate())
    with bar:
        task = bar.add_task(doing, total=total)
        yield lambda: bar.advance(task)
