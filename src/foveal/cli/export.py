"""``foveal export``: turn a trained model into a file that scores without torch, or for other runtimes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foveal.errors import FovealError

if TYPE_CHECKING:
    from foveal.runtime.convert import Difference

EXAMPLES = """\b
Examples:
  foveal export runs/mine/model mine.foveal.safetensors
  foveal export glia-vit-tiny glia.foveal.safetensors --backbone FOLDER --draws 3
  foveal score photos/ --model mine.foveal.safetensors
  foveal export foveal-compact --onnx compact.onnx --openvino compact.xml
"""


@dataclass(frozen=True)
class Training:
    """Options that say how a trained model becomes an artifact; see the options of the same names."""

    backbone: str | None
    fine_backbone: str | None
    text_backbone: str | None
    draws: int
    half: bool

    def given(self) -> str | None:
        """The first of them that was given, or None."""
        options = {
            "--backbone": self.backbone,
            "--fine-backbone": self.fine_backbone,
            "--text-backbone": self.text_backbone,
            "--draws": self.draws != 1,
            "--half": self.half,
        }
        return next((name for name, value in options.items() if value), None)


@dataclass(frozen=True)
class Check:
    """How scores are compared; see the options of the same names."""

    images: tuple[str, ...]
    tolerance: float


@click.command(epilog=EXAMPLES)
@click.argument("model", type=click.Path())
@click.argument("artifact", type=click.Path(dir_okay=False), required=False)
@click.option(
    "--onnx", type=click.Path(dir_okay=False), metavar="FILE.onnx", help="Write ONNX for other runtimes."
)
@click.option(
    "--openvino", type=click.Path(dir_okay=False), metavar="FILE.xml", help="Write OpenVINO's IR: .xml, .bin."
)
@click.option(
    "--backbone",
    metavar="NAME|FOLDER",
    help="The backbone that the model stands on, if not found by the name it was trained with.",
)
@click.option("--fine-backbone", metavar="NAME|FOLDER", help="Likewise, of a second stream with its own.")
@click.option("--text-backbone", metavar="NAME|FOLDER", help="Likewise, of the text encoder.")
@click.option(
    "--draws",
    type=click.IntRange(min=1, max=20),
    default=1,
    help="Average over several sets of fragments: steadier, and as many times as slow.",
)
@click.option("--half", is_flag=True, help="Store weights in half precision: half the size.")
@click.option(
    "--check",
    "images",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    metavar="IMAGE",
    help="Compare scores on this image; by default on pictures made for the purpose.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-3,
    help="Largest difference of quality that is accepted.",
    show_default=True,
)
def export(
    model: str,
    artifact: str | None,
    *,
    onnx: str | None,
    openvino: str | None,
    backbone: str | None,
    fine_backbone: str | None,
    text_backbone: str | None,
    draws: int,
    half: bool,
    images: tuple[str, ...],
    tolerance: float,
) -> None:
    """Make a file that scores without torch.

    ARTIFACT is the file to write; it is run by 'foveal score --model'. MODEL is the folder that 'foveal
    train' has written, a shipped model (glia-vit-tiny), or a Hub id. The file holds the backbone's weights:
    its licence applies to it too.

    --onnx and --openvino write files for other programs, which must cut views as foveal does. For these,
    MODEL may also be an ARTIFACT or a shipped assessor (foveal-compact), and torch is not needed.

    Scores of MODEL and of what is written are compared.
    """
    if not (artifact or onnx or openvino):
        raise click.UsageError("nothing to write: give ARTIFACT, --onnx FILE or --openvino FILE")
    training, check = Training(backbone, fine_backbone, text_backbone, draws, half), Check(images, tolerance)
    with _artifact_of(model, artifact, training, check) as source:
        if onnx or openvino:
            _convert(source, onnx, openvino, check)


@contextmanager
def _artifact_of(model: str, path: str | None, training: Training, check: Check) -> Iterator[Path]:
    """The artifact's file: the one that is named, or the one that a trained model has become."""
    import tempfile

    from foveal.weights import available

    named = available().get(model) or (Path(model) if Path(model).is_file() else None)
    if named is not None:
        if path:
            raise FovealError(f"{model}: is a model file already; leave ARTIFACT out, or copy the file")
        if option := training.given():
            raise FovealError(f"{model}: {option} is for trained models, but this is a model file")
        yield named
        return
    with tempfile.TemporaryDirectory() as folder:
        written = path or str(Path(folder) / "artifact")
        _export_trained(model, written, path is not None, training, check)
        yield Path(written)


def _export_trained(model: str, path: str, shown: bool, training: Training, check: Check) -> None:
    """Write the artifact of a trained model, and what came out if the user asked for the file."""
    try:
        from foveal.lab.export_trained import export_model
        from foveal.lab.trained import TrainedModelError, load_trained
    except ModuleNotFoundError as error:
        from foveal.errors import MissingExtraError

        raise MissingExtraError(f"{model}: no model file, and to export trained models", "lab") from error

    from foveal.weights import available

    try:
        trained = load_trained(
            model,
            backbone=training.backbone,
            fine_backbone=training.fine_backbone,
            text_backbone=training.text_backbone,
        )
    except TrainedModelError as error:
        if Path(model).exists():
            raise
        names = ", ".join(available())
        raise FovealError(f"{error}; nor is it a model file or a shipped assessor ({names})") from error
    try:
        agreement = export_model(
            trained,
            path,
            draws=training.draws,
            store_float16=training.half,
            images=check.images or None,
            tolerance=check.tolerance,
        )
    except ValueError as error:
        raise FovealError(str(error)) from error
    if not shown:
        return
    size = Path(path).stat().st_size / 1e6
    click.echo(
        f"{path}: {size:.1f} MB; largest difference from the model on {agreement.images} images: "
        f"quality {agreement.quality:.1e}, half width of the interval {agreement.spread:.1e}"
        + (f", other aspects {agreement.aspects:.1e}" if trained.network.targets[1:] else "")
    )


def _convert(source: Path, onnx: str | None, openvino: str | None, check: Check) -> None:
    from foveal.artifact.file import read_artifact
    from foveal.runtime.convert import contract, write_onnx, write_openvino

    artifact = read_artifact(source)
    for path, write in ((onnx, write_onnx), (openvino, write_openvino)):
        if path:
            found = write(artifact, path, images=check.images or None, tolerance=check.tolerance)
            _show(path, found)
            if path == onnx and len(found) == 1:
                click.echo("  ONNX Runtime is not installed here: checked with OpenVINO alone")
    click.echo(contract(artifact.card))


def _show(path: str, found: list[Difference]) -> None:
    size = Path(path).stat().st_size
    weights = Path(path).with_suffix(".bin")
    if Path(path).suffix == ".xml":
        size += weights.stat().st_size
    click.echo(f"{path}: {size / 1e6:.1f} MB; largest difference from the artifact:")
    for one in found:
        default = f"; {one.default:.1e} from Foveal's default engine" if one.default > one.quality else ""
        click.echo(
            f"  in {one.runtime} on {one.images} images: quality {one.quality:.1e}, "
            f"other outputs {one.others:.1e}{default}"
        )
