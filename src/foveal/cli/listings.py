"""What ``foveal score`` writes to a pipe: JSON or plain lines, as results come."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import click

from foveal.assessment import Assessment, Failure
from foveal.cli.text import one_line
from foveal.pipeline.rows import Row, error_text
from foveal.pipeline.summary import Extremes

_T = TypeVar("_T")


class Listing(Protocol):
    """Shows results somewhere."""

    def add(self, row: Row, result: Assessment | Failure | None) -> None:
        """Take one row; ``result`` is None for a row that an earlier run wrote."""

    def close(self) -> None:
        """Show what has been held back."""


class Selection(Generic[_T]):
    """Pass on what ``--below`` and ``--top`` let through: at once, or the best ones at the end."""

    def __init__(self, below: float | None, top: int | None, show: Callable[[_T], None]) -> None:
        self._below = below
        self._best = None if top is None else Extremes[_T](top)
        self._show = show

    def offer(self, quality: float, item: _T) -> None:
        """Take one scored item."""
        if self._below is not None and quality >= self._below:
            return
        if self._best is None:
            self._show(item)
        else:
            self._best.offer(quality, item)

    def close(self) -> None:
        """Show the best ones, best first."""
        for item in self._best.items() if self._best is not None else ():
            self._show(item)


class Lines:
    """``quality<TAB>low<TAB>high<TAB>path``, aspects before the path; failures go to standard error."""

    def __init__(self, below: float | None, top: int | None) -> None:
        self._selection = Selection[Row](below, top, _echo_line)

    def add(self, row: Row, result: Assessment | Failure | None) -> None:
        """Write one line, or hold it back for ``--top``."""
        if row.quality is not None:
            self._selection.offer(row.quality, row)
        elif result is not None:
            _complain(row)

    def close(self) -> None:
        """Write what was held back."""
        self._selection.close()


class JsonArray:
    """One JSON array, written element by element."""

    def __init__(self, below: float | None, top: int | None) -> None:
        self._selection = Selection[dict[str, Any]](below, top, self._write)
        self._separator = ""
        click.echo("[")

    def add(self, row: Row, result: Assessment | Failure | None) -> None:
        """Write one element, or hold it back for ``--top``."""
        if isinstance(result, Assessment):
            self._selection.offer(result.quality, result.to_dict())
        elif result is not None:
            self._write({"source": result.source, "quality": None, "error": error_text(result.error)})

    def close(self) -> None:
        """Write what was held back and end the array."""
        self._selection.close()
        click.echo("\n]")

    def _write(self, element: dict[str, Any]) -> None:
        # In this order Ctrl-C at any moment leaves an array that is valid.
        text, self._separator = self._separator + json.dumps(element, allow_nan=False), ",\n"
        click.echo(text, nl=False)


class Errors:
    """Nothing but failures, on standard error: the rows go to a file."""

    def add(self, row: Row, result: Assessment | Failure | None) -> None:
        """Complain of a failure."""
        if isinstance(result, Failure):
            _complain(row)

    def close(self) -> None:
        """Nothing is held back."""


def _complain(row: Row) -> None:
    click.echo(f"foveal: {one_line(row.source)}: {one_line(row.error or '')}", err=True)


def _echo_line(row: Row) -> None:
    # The name's own bytes, except that a line break must not look like the end of the row.
    name = row.source.replace("\n", "\\n").encode("utf-8", sys.getfilesystemencodeerrors())
    aspects = "".join("\t" if score is None else f"{score!r}\t" for score in row.aspects.values())
    click.echo(f"{row.quality!r}\t{row.low!r}\t{row.high!r}\t{aspects}".encode() + name)
