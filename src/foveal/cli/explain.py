"""``foveal explain``: why images look as good as they do."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foveal.cli.options import max_pixels_option

if TYPE_CHECKING:
    from rich.console import Console

    from foveal.explanation.explainer import Explainer
    from foveal.explanation.explanation import Explanation
    from foveal.imaging.limits import Limits
    from foveal.imaging.views import Pixels

SOME_FAILED = 1
"""Exit code when images could not be explained, unless ``--keep-going``."""

EXAMPLES = """\b
Examples:
  foveal explain photo.jpg
  foveal explain photo.jpg --map map.png --html why.html
  foveal explain photos/ --json > why.jsonl
"""

_PIPE_WIDTH = 120


@click.command(epilog=EXAMPLES)
@click.argument("paths", nargs=-1, required=True, type=click.Path(allow_dash=True), metavar="IMAGES...")
@click.option(
    "--json", "as_json", is_flag=True, help='Print JSON lines: one object an image, failures with "error".'
)
@click.option(
    "--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write a page about all images to FILE."
)
@click.option(
    "--map",
    "map_path",
    type=click.Path(dir_okay=False),
    metavar="FILE.png",
    help="Write the map of local quality over the image; of one image only.",
)
@click.option("--model", type=click.Path(), metavar="FILE", help="An explainer; by default the shipped one.")
@click.option("--keep-going", is_flag=True, help="Exit with 0 even if images could not be explained.")
@max_pixels_option
@click.pass_context
def explain(
    ctx: click.Context,
    *,
    paths: tuple[str, ...],
    as_json: bool,
    html: str | None,
    map_path: str | None,
    model: str | None,
    keep_going: bool,
    max_pixels: int | None,
) -> None:
    """Explain how good images look.

    Says the score, what is seen, the verdict that follows from it, and what would change it.

    IMAGES are files, folders (searched to any depth), patterns such as 'shots/*.jpg', or - for a
    list on standard input, one file a line.

    Score and interval come from an assessor that looks at the image. Beside it one model describes
    what it sees, and another draws a verdict from these words alone; each attribute is then said
    otherwise, to see what the verdict rests on, and compared with what is measured. Where score,
    words, verdict and measurements do not fit together, that is said.

    An image that cannot be read is named with its error. Exit code: 0, or 1 if there were such
    images, 2 if the command could not run, 130 after Ctrl-C.
    """
    if map_path is not None and Path(map_path).suffix.lower() != ".png":
        raise click.UsageError(f"--map writes PNG: {map_path} should end in .png")
    if html is not None:
        from foveal.report.file import check_target

        check_target(html)
    # Threads of linear algebra gain nothing on products this small and wait for each other where CPUs are
    # busy; with one, sums do not depend on how many there are. NumPy reads this when it is first imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from foveal.explanation.explainer import load_explainer
    from foveal.imaging.limits import Limits
    from foveal.pipeline.discover import discover, unique

    limits = Limits() if max_pixels is None else Limits(max_pixels=max_pixels)
    found = unique(discover(paths, stdin=sys.stdin.buffer if "-" in paths else None))
    if map_path is not None:
        found = iter(listed := list(found))
        if len(listed) != 1:
            raise click.UsageError(f"--map is of one image, these are {len(listed)}")
    run = _Run(load_explainer(model, limits=limits), limits, as_json=as_json, keep=html is not None)
    for path in found:
        run.explain(path, map_path)
    if html is not None:
        from foveal.explanation.page import to_html
        from foveal.report.file import write_page

        if run.kept:
            write_page(html, to_html(run.kept, run.failures))
        else:
            click.echo("foveal: no image could be explained, so there is no page", err=True)
    ctx.exit(SOME_FAILED if run.failures and not keep_going else 0)


class _Run:
    """Explains images and shows each at once; those of a page are kept until its end, as thumbnails.

    Attributes:
        failures: images that could not be explained, and why.
        kept: explanations and small pictures, for the page.
    """

    def __init__(self, explainer: Explainer, limits: Limits, *, as_json: bool, keep: bool) -> None:
        self._explainer = explainer
        self._limits = limits
        self._as_json = as_json
        self._keep = keep
        self._console = None if as_json else _console()
        self.failures: list[tuple[str, str]] = []
        self.kept: list[tuple[Explanation, Pixels]] = []

    def explain(self, path: str, map_path: str | None) -> None:
        """Explain one image and show it, or its error."""
        from foveal.errors import ImageError
        from foveal.imaging.decode import decode

        try:
            decoded = decode(path, limits=self._limits)
            explanation = self._explainer(decoded, name=path)
        except ImageError as error:
            self._fail(path, str(error).removeprefix(f"{path}: "))
            return
        self._show(explanation)
        if map_path is not None:
            from foveal.explanation.picture import map_picture

            _write(map_path, map_picture(decoded.pixels, explanation.quality_map))
        if self._keep:
            import numpy as np

            from foveal.explanation.picture import thumbnail

            self.kept.append((explanation, np.asarray(thumbnail(decoded.pixels))))

    def _show(self, explanation: Explanation) -> None:
        if self._console is None:
            click.echo(json.dumps(explanation.to_dict(), allow_nan=False))
            return
        from foveal.explanation.terminal import show

        show(explanation, self._console)

    def _fail(self, path: str, reason: str) -> None:
        from foveal.cli.text import one_line

        self.failures.append((path, reason))
        if self._as_json:
            click.echo(json.dumps({"source": path, "quality": None, "error": reason}))
        else:
            click.echo(f"foveal: {one_line(path)}: {one_line(reason)}", err=True)


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def _write(path: str, content: bytes) -> None:
    from foveal.errors import OutputError

    try:
        Path(path).write_bytes(content)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
