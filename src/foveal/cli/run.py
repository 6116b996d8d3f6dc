"""The ``foveal`` group, and how every command ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence

import click

from foveal.cli.lazy import CommandAt, LazyGroup
from foveal.cli.text import one_line
from foveal.errors import FovealError

COMMANDS = {
    "score": CommandAt("foveal.cli.score:score", "Score how good images look to people."),
    "compare": CommandAt("foveal.cli.compare:compare", "Compare two folders of images, or two models."),
    "report": CommandAt(
        "foveal.cli.results_report:report", "Write a page about scores that are there already."
    ),
    "attributes": CommandAt("foveal.cli.attributes:attributes", "Measure what can be seen in images."),
    "explain": CommandAt("foveal.cli.explain:explain", "Explain how good images look."),
    "serve": CommandAt("foveal.cli.serve:serve", "Serve scores and explanations over HTTP, and a page at /."),
    "train": CommandAt("foveal.cli.train:train", "Train an assessor on people's ratings of images."),
    "export": CommandAt("foveal.cli.export:export", "Make a file that scores without torch."),
    "compress": CommandAt("foveal.cli.compress:compress", "Make a model small on disk and fast on a CPU."),
    "models": CommandAt("foveal.cli.models:models", "List the assessors that are shipped."),
    "ratings": CommandAt("foveal.cli.ratings:ratings", "Check copies of known sets, audit ratings."),
    "evaluate": CommandAt("foveal.cli.evaluate:evaluate", "Measure how well an assessor agrees with people."),
    "benchmark": CommandAt("foveal.cli.benchmark:benchmark", "Compare assessors on rated sets, by a file."),
    "diagnose": CommandAt(
        "foveal.cli.diagnose:diagnose", "Diagnose how a vision-language model reasons about quality."
    ),
    "completion": CommandAt(
        "foveal.cli.completion:completion", "Print a script that completes commands in a shell."
    ),
}

EXAMPLES = """\b
Examples:
  foveal score photo.jpg
  foveal score photos/ --out scores.csv
  foveal score --help
"""
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it."""
REFUSED = 2
"""Exit code for wrong usage and for every error of this package."""

_FULL = {errno.EDQUOT, errno.EFBIG, errno.ENOSPC}


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        import foveal

        click.echo(f"foveal {foveal.__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    at=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXAMPLES,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def group() -> None:
    """Judge how good images look to people, offline.

    Quality is a number from 1 (bad) to 5 (excellent), as people would give it on average, with an interval
    around it.
    """


def run(args: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        args: arguments without the program's name; by default those of the process.

    Returns:
        The exit code: 0, or 1 where images failed, 2 for wrong usage and errors, 130 after Ctrl-C.
    """
    try:
        code = group.main(None if args is None else list(args), prog_name="foveal", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except FovealError as error:
        click.echo(f"foveal: {one_line(str(error))}", err=True)
        return REFUSED
    except OSError as error:
        if error.errno not in _FULL:
            raise
        click.echo(f"foveal: cannot write any more ({error.strerror}); make room and run again", err=True)
        _drop_output()
        return REFUSED
    return code if isinstance(code, int) else 0


def _drop_output() -> None:
    """Send what is left of the output nowhere, or Python would fail once more while it ends."""
    with contextlib.suppress(OSError, ValueError):  # tests give it no descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
