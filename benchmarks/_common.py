"""What the benchmarks share: options, loading, folders, and how figures are printed."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import foveal
from foveal.assessor import Assessor
from foveal.errors import FovealError
from foveal.evaluation.tables import Table
from foveal.pipeline.discover import discover
from foveal.runtime.engine import available_cpus
from foveal.weights import available

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = REPOSITORY / "examples"
FAILED = 2


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        default=foveal.DEFAULT_MODEL,
        metavar="NAME|PATH",
        help="a shipped assessor or a model file (default: %(default)s)",
    )
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument(
        "--quick", action="store_true", help="try the script out: tiny sizes, figures mean nothing"
    )
    return parser


def run(main: Callable[[], None]) -> None:
    """Run a benchmark; an error that the user can mend becomes one line instead of a traceback."""
    try:
        main()
    except (FovealError, ValueError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        raise SystemExit(FAILED) from None


def load(model: str, *, engine: str = "auto", threads: int | None = None) -> Assessor:
    """The assessor on the CPU."""
    return foveal.load(model, engine=engine, device="cpu", threads=threads)


def model_path(model: str) -> Path:
    """The file of a shipped assessor or the file that is named."""
    return available().get(model, Path(model))


def positive(text: str) -> int:
    """A whole number of at least 1, for options."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def find_images(folder: Path) -> list[str]:
    """All images in a folder, to any depth, in a fixed order."""
    return list(discover([str(folder)]))


def shared_data(name: str) -> Path:
    """Where a data set lies by default: in ``FOVEAL_SHARED``, or in ``shared`` beside the repository."""
    shared = os.environ.get("FOVEAL_SHARED")
    return (Path(shared) if shared else REPOSITORY.parent / "shared") / "data" / name


def show(table: Table, notes: Sequence[str] = (), *, markdown: bool) -> None:
    """Print a table and what must be known to read it."""
    print(table.to_markdown() if markdown else table.to_text())
    for note in notes:
        print(f"- {note}" if markdown else note)
    if notes:
        print()


def progress(message: str) -> None:
    """Tell on standard error what is going on."""
    print(message, file=sys.stderr, flush=True)


def environment(*packages: str) -> str:
    """Machine and versions in one line: a figure without them cannot be compared with another."""
    found = [f"{package} {installed}" for package in packages if (installed := _version_of(package))]
    parts = [_processor(), f"{available_cpus()} CPUs", f"Python {platform.python_version()}", *found]
    return ", ".join(parts)


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
