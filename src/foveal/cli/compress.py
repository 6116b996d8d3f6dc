"""``foveal compress``: make a model small on disk and fast on a CPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from foveal.errors import FovealError

if TYPE_CHECKING:
    from foveal.lab.compression.compress import Compressed, CompressionConfig, Compressor
    from foveal.lab.compression.rated_views import RatedViews
    from foveal.lab.compression.subject import Subject

    _ParamType = click.ParamType[int]
else:
    _ParamType = click.ParamType  # generic in recent versions of click only

EXAMPLES = """\b
Examples:
  foveal compress runs/mine/model --target-size 3MB
  foveal compress runs/mine/model --max-drop 0.005 --out mine-small.foveal.safetensors
  foveal compress runs/mine/model --target-size 1.5MB --finetune 2
  foveal compress mine.foveal.safetensors --target-size 5MB --pictures photos/
"""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG]?)i?B?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


class SizeType(_ParamType):
    """A size in bytes, such as ``3MB``, ``900 kB`` or ``2500000``; k, M and G are powers of ten."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Text to bytes."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        if match is None or not float(match[1]):
            self.fail(f"{value!r} is no size; write 3MB, 900kB or a number of bytes", param, ctx)
        return int(float(match[1]) * _UNITS[match[2].lower()])


@click.command(epilog=EXAMPLES)
@click.argument("model", type=click.Path())
@click.option(
    "--target-size",
    type=SizeType(),
    metavar="SIZE",
    help="The file has at most so many bytes, such as 3MB, and agrees with people as well as it can.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0, max=1, min_open=True),
    metavar="X",
    help="The smallest file whose SRCC on the validation part falls by at most X, such as 0.005.",
)
@click.option(
    "--lossless",
    is_flag=True,
    help="Only code the weights of a finished file: every score stays what it was, to the last bit.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The artifact; by default its name and '-compressed.foveal.safetensors'.",
)
@click.option("--version", metavar="TEXT", help="Version in the file's card; by default the one it had.")
@click.option(
    "--recipe",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Whose [ratings] and [split] say what to compress on; by default what 'foveal train' noted beside "
    "the model. The test part is never looked at.",
)
@click.option(
    "--pictures",
    type=click.Path(exists=True),
    metavar="DIR",
    help="Images without ratings to calibrate on, in place of a recipe; then the head stays as it is.",
)
@click.option("--weights-only", is_flag=True, help="Keep activations in floating point: not faster, exacter.")
@click.option(
    "--finetune",
    type=click.IntRange(min=0),
    default=0,
    metavar="EPOCHS",
    help="Let the compressed backbone learn to give the features it gave before; for 3 bits and fewer.",
)
@click.option(
    "--prune-mlp",
    type=click.FloatRange(min=0, max=1, max_open=True),
    default=0.0,
    metavar="SHARE",
    help="Take this share of the hidden units of a transformer's MLPs out first: faster, and less exact.",
)
@click.option(
    "--prune-heads",
    type=click.FloatRange(min=0, max=1, max_open=True),
    default=0.0,
    metavar="SHARE",
    help="Likewise of its attention heads.",
)
@click.option(
    "--calibration",
    type=click.IntRange(min=2),
    metavar="N",
    help="Images of the training part that layers are fitted on; by default 64.",
)
@click.option(
    "--backbone",
    metavar="NAME|FOLDER",
    help="The backbone that the model stands on, if not found by its name.",
)
@click.option("--fine-backbone", metavar="NAME|FOLDER", help="Likewise, of a second stream with its own.")
@click.option("--text-backbone", metavar="NAME|FOLDER", help="Likewise, of the text encoder.")
def compress(
    model: str,
    *,
    target_size: int | None,
    max_drop: float | None,
    lossless: bool,
    out: str | None,
    version: str | None,
    recipe: str | None,
    pictures: str | None,
    weights_only: bool,
    finetune: int,
    prune_mlp: float,
    prune_heads: float,
    calibration: int | None,
    **backbones: str | None,
) -> None:
    """Make a model small on disk and fast on a CPU.

    MODEL is the folder that 'foveal train' has written, a model file, or the name of a shipped assessor.
    Its weights go onto coarse grids, each layer as coarse as it can bear, and are entropy-coded; weights
    and activations run in int8. A head on a frozen backbone is fitted anew to what the compressed backbone
    gives. The file is run by 'foveal score --model'.

    All choices are made on the training and validation parts.
    """
    if [target_size is not None, max_drop is not None, lossless].count(True) != 1:
        raise click.UsageError("say how far to go with one of --target-size, --max-drop and --lossless")
    if recipe is not None and pictures is not None:
        raise click.UsageError("--recipe and --pictures exclude each other")
    if pictures is not None and max_drop is not None:
        raise click.UsageError("--max-drop needs ratings: give --recipe, or --target-size instead")
    from foveal.artifact.file import SUFFIX, write_artifact

    if lossless:
        click.echo(_code(model, out))
        return
    subject = _subject(model, backbones)
    out = out or f"{subject.card.name}-compressed{SUFFIX}"
    with _explained(), _progress() as tell:
        config = _config(weights_only, finetune, calibration, (prune_mlp, prune_heads))
        train, validation = _images(subject, model, recipe, pictures)
        compressed = _run(_compressor(subject, train, validation, config, tell), target_size, max_drop)
    artifact = compressed.artifact
    if version is not None:
        with _explained():
            artifact = replace(artifact, card=replace(artifact.card, version=version))
    write_artifact(out, artifact, store_float16=True, compact=True)
    click.echo(f"{out}: {_summary(compressed)}")


def _code(model: str, out: str | None) -> str:
    """Write a finished file anew, as small as its weights can be without changing any; needs no torch."""
    from pathlib import Path

    import numpy as np

    from foveal.artifact.file import SUFFIX, read_artifact, write_artifact
    from foveal.artifact.layout import LEAST_LARGE
    from foveal.weights import available

    path = Path(model)
    if not path.exists() and model in available():
        path = available()[model]
    if path.is_dir():
        raise FovealError(f"{model}: --lossless is for model files; 'foveal export' makes one of a folder")
    artifact = read_artifact(path)
    with np.errstate(over="ignore"):
        halves = all(
            value.dtype != np.float32 or np.array_equal(value.astype(np.float16).astype(np.float32), value)
            for value in artifact.weights.values()
            if value.size >= LEAST_LARGE
        )
    out = out or f"{artifact.card.name}-compressed{SUFFIX}"
    write_artifact(out, artifact, store_float16=halves, compact=True)
    before, after = path.stat().st_size, Path(out).stat().st_size
    return f"{out}: {after / 1e6:.2f} MB of {before / 1e6:.2f} MB, {before / after:.2f} x; no score changes"


def _subject(model: str, backbones: dict[str, str | None]) -> Subject:
    from pathlib import Path

    from foveal.lab.compression.subject import subject_of_artifact, subject_of_model
    from foveal.lab.trained import load_trained
    from foveal.weights import available

    path = Path(model)
    if path.is_file():
        return subject_of_artifact(path)
    if model in available() and not path.exists():
        return subject_of_artifact(available()[model])
    return subject_of_model(load_trained(model, **backbones))


def _config(
    weights_only: bool, finetune: int, calibration: int | None, pruned: tuple[float, float]
) -> CompressionConfig:
    from foveal.lab.compression.compress import CompressionConfig
    from foveal.lab.compression.finetune import FinetuneConfig
    from foveal.lab.compression.structured import StructuredConfig

    given: dict[str, Any] = {} if calibration is None else {"calibration": calibration}
    if finetune:
        given["finetune"] = FinetuneConfig(epochs=finetune)
    if any(pruned):
        given["structured"] = StructuredConfig(mlp=pruned[0], heads=pruned[1])
    return CompressionConfig(integer=not weights_only, **given)


def _images(
    subject: Subject, model: str, recipe: str | None, pictures: str | None
) -> tuple[RatedViews, RatedViews | None]:
    from foveal.lab.compression.data import find_data, rated_views, read_parts
    from foveal.lab.compression.rated_views import RatedViews
    from foveal.pipeline.discover import discover

    if pictures is not None:
        return RatedViews(list(discover([pictures])), subject.views), None
    source = recipe or find_data(model)
    if source is None:
        raise FovealError(
            f"{model}: there is no note of what it was trained on beside it; give --recipe FILE with its "
            "[ratings] and [split], or --pictures DIR"
        )
    parts = read_parts(source)
    targets = ("quality",) if subject.trained is None else subject.trained.network.targets
    train, validation = (
        rated_views(part, subject.views, targets) for part in (parts.train, parts.validation)
    )
    return train, validation


def _compressor(
    subject: Subject,
    train: RatedViews,
    validation: RatedViews | None,
    config: CompressionConfig,
    tell: Callable[[str, int, int], None],
) -> Compressor:
    from foveal.lab.compression.compress import Compressor

    return Compressor(subject, train, validation, config, tell)


def _run(compressor: Compressor, target_size: int | None, max_drop: float | None) -> Compressed:
    from foveal.lab.compression.search import compress_to_drop, compress_to_size

    if target_size is not None:
        return compress_to_size(compressor, target_size)
    return compress_to_drop(compressor, max_drop or 0.0)


def _summary(compressed: Compressed) -> str:
    text = (
        f"{compressed.size / 1e6:.2f} MB of {compressed.original_size / 1e6:.2f} MB, "
        f"CR_file {compressed.file_ratio:.1f} x; {compressed.bits:.2f} bits a weight, "
        f"CR_paper {compressed.paper_ratio:.1f} x"
    )
    if compressed.srcc is None or compressed.original_srcc is None:
        return text
    return f"{text}; validation SRCC {compressed.srcc:.4f}, before {compressed.original_srcc:.4f}"


@contextmanager
def _explained() -> Iterator[None]:
    """Make what a user can do wrong an error of one line."""
    try:
        yield
    except ValueError as error:
        raise FovealError(str(error)) from error


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Bars on standard error where it is a terminal."""
    import sys

    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from foveal.cli.progress import make_bar

    bar = make_bar(transient=False)
    tasks: dict[str, Any] = {}

    def tell(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done, total=total)

    with bar:
        yield tell
