"""``foveal export``: turn a trained model into a file that scores without torch."""

from __future__ import annotations

import click

from foveal.errors import FovealError

EXAMPLES = """\b
Examples:
  foveal export runs/mine/model mine.foveal.safetensors
  foveal export glia-vit-tiny glia.foveal.safetensors --backbone FOLDER --draws 3
  foveal score photos/ --model mine.foveal.safetensors
"""


@click.command(epilog=EXAMPLES)
@click.argument("model", type=click.Path())
@click.argument("artifact", type=click.Path(dir_okay=False))
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
    artifact: str,
    *,
    backbone: str | None,
    fine_backbone: str | None,
    text_backbone: str | None,
    draws: int,
    half: bool,
    images: tuple[str, ...],
    tolerance: float,
) -> None:
    """Make a file that scores without torch.

    The file is run by 'foveal score --model'. MODEL is the folder that 'foveal train' has written, a
    shipped model (glia-vit-tiny), or a Hub id. The file holds the backbone's weights: its licence applies
    to it too. Scores of model and file are compared.
    """
    from pathlib import Path

    from foveal.lab.export_trained import export_model
    from foveal.lab.trained import load_trained

    trained = load_trained(model, backbone=backbone, fine_backbone=fine_backbone, text_backbone=text_backbone)
    try:
        agreement = export_model(
            trained,
            artifact,
            draws=draws,
            store_float16=half,
            images=images or None,
            tolerance=tolerance,
        )
    except ValueError as error:
        raise FovealError(str(error)) from error
    size = Path(artifact).stat().st_size / 1e6
    click.echo(
        f"{artifact}: {size:.1f} MB; largest difference from the model on {agreement.images} images: "
        f"quality {agreement.quality:.1e}, half width of the interval {agreement.spread:.1e}"
        + (f", other aspects {agreement.aspects:.1e}" if trained.network.targets[1:] else "")
    )
