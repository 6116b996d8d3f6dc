"""``foveal attributes``: what can be seen in images, in words and numbers."""

from __future__ import annotations

import csv
import io
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from foveal.cli.options import max_pixels_option

if TYPE_CHECKING:
    from foveal.attributes import Reading
    from foveal.imaging.limits import Limits

SOME_FAILED = 1
"""Exit code when images could not be measured, unless ``--keep-going``."""

COLUMNS = ("image", "attribute", "phrase", "degree", "value", "place", "error")
"""Of ``--csv``."""

EXAMPLES = """\b
Examples:
  foveal attributes photo.jpg
  foveal attributes photos/ --json > attributes.jsonl
  foveal attributes 'shots/*.jpg' --csv > attributes.csv
"""


NOTE = (
    "Words compare with ordinary photographs: the outermost stand for the outer tenths of these. What is "
    "noisier than most may still be too faint to see."
)
"""Below the tables: a word such as "noisy" says less than it seems to."""


@click.command(epilog=EXAMPLES)
@click.argument("paths", nargs=-1, required=True, type=click.Path(allow_dash=True), metavar="PATHS...")
@click.option(
    "--json", "as_json", is_flag=True, help='Print JSON lines: one object an image, failures with "error".'
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: a row for each attribute of each image.")
@click.option("--keep-going", is_flag=True, help="Exit with 0 even if images could not be measured.")
@max_pixels_option
@click.pass_context
def attributes(
    ctx: click.Context,
    *,
    paths: tuple[str, ...],
    as_json: bool,
    as_csv: bool,
    keep_going: bool,
    max_pixels: int | None,
) -> None:
    """Measure what can be seen in images.

    Sharpness, noise, blocking, light, colour and more, each in words and as a number.

    PATHS are images, folders (searched to any depth), patterns such as 'shots/*.jpg', or - for a
    list on standard input, one file a line.

    Each attribute gets one of five phrases, a number, and the place where it stands out, if there
    is one. The phrases say how an image compares with ordinary photographs, not how good it is.

    An image that cannot be read becomes a row with an error. Exit code: 0, or 1 if there were such
    images, 2 if the command could not run, 130 after Ctrl-C.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    from foveal.imaging.limits import Limits

    limits = Limits() if max_pixels is None else Limits(max_pixels=max_pixels)
    show = _JsonLines() if as_json else _Csv() if as_csv else _Tables()
    failed = _measure(paths, limits, show)
    ctx.exit(SOME_FAILED if failed and not keep_going else 0)


def _measure(paths: tuple[str, ...], limits: Limits, show: _Shown) -> int:
    """Measure and show everything; give the number of failures."""
    from foveal.attributes import measure
    from foveal.errors import FovealError
    from foveal.imaging.decode import decode
    from foveal.pipeline.discover import discover, unique

    failed = 0
    for path in unique(discover(paths, stdin=sys.stdin.buffer if "-" in paths else None)):
        try:
            readings = measure(decode(path, limits=limits).pixels)
        except FovealError as error:
            failed += 1
            show.failure(path, str(error).removeprefix(f"{path}: "))
        else:
            show.readings(path, readings)
    show.end()
    return failed


class _Shown(ABC):
    """Prints results as they come."""

    @abstractmethod
    def readings(self, path: str, readings: Mapping[str, Reading]) -> None:
        """Show the attributes of one image."""

    @abstractmethod
    def failure(self, path: str, reason: str) -> None:
        """Show that an image could not be measured."""

    def end(self) -> None:  # noqa: B027
        """Say what there is to say once all is shown."""


class _Tables(_Shown):
    """A small table for each image; failures go to standard error."""

    def __init__(self) -> None:
        self._shown = False

    def readings(self, path: str, readings: Mapping[str, Reading]) -> None:
        from foveal.cli.text import one_line

        rows = [
            (name, reading.phrase, f"{reading.value:.2f}", reading.place or "")
            for name, reading in readings.items()
        ]
        self._shown = True
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        click.secho(one_line(path), bold=True)
        for name, phrase, value, place in rows:
            line = f"  {name:<{widths[0]}}  {phrase:<{widths[1]}}  {value:>{widths[2]}}  {place}"
            click.echo(line.rstrip())

    def failure(self, path: str, reason: str) -> None:
        from foveal.cli.text import one_line

        click.echo(f"foveal: {one_line(path)}: {one_line(reason)}", err=True)

    def end(self) -> None:
        if self._shown:
            click.secho(NOTE, dim=True)


class _JsonLines(_Shown):
    """An object a line; failures are objects with an error."""

    def readings(self, path: str, readings: Mapping[str, Reading]) -> None:
        told = {name: _plain(reading) for name, reading in readings.items()}
        click.echo(json.dumps({"source": path, "attributes": told}, allow_nan=False))

    def failure(self, path: str, reason: str) -> None:
        click.echo(json.dumps({"source": path, "attributes": None, "error": reason}))


class _Csv(_Shown):
    """A row for each attribute; a failure is a single row."""

    def __init__(self) -> None:
        self._row(COLUMNS)

    def readings(self, path: str, readings: Mapping[str, Reading]) -> None:
        for name, reading in readings.items():
            self._row(
                (path, name, reading.phrase, reading.degree, repr(reading.value), reading.place or "", "")
            )

    def failure(self, path: str, reason: str) -> None:
        self._row((path, "", "", "", "", "", reason))

    def _row(self, cells: tuple[str | int, ...]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        # A name's own bytes: it need not be valid text.
        click.echo(line.getvalue().encode("utf-8", sys.getfilesystemencodeerrors()), nl=False)


def _plain(reading: Reading) -> dict[str, Any]:
    local = None if reading.local is None else reading.local.tolist()
    return {
        "phrase": reading.phrase,
        "degree": reading.degree,
        "value": reading.value,
        "place": reading.place,
        "local": local,
    }
