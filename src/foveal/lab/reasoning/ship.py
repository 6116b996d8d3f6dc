"""From a finished run to the file of ``foveal explain``: ``python -m foveal.lab.reasoning.ship --help``."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from foveal.errors import FovealError
from foveal.explanation.card import ExplainerCard
from foveal.lab.reasoning.degraded import Sight
from foveal.lab.reasoning.explainer_file import write_explainer
from foveal.lab.reasoning.levels import LEVELS
from foveal.lab.reasoning.place_map import fit_place_map
from foveal.lab.reasoning.prepare import prepare, read_parts
from foveal.lab.reasoning.question import StoredFeatures
from foveal.lab.reasoning.recipe import read_reasoning_recipe
from foveal.lab.reasoning.stamps import DESCRIBE_PART, JUDGE_PART
from foveal.lab.training.changes import parse_changes

_COMPARED = 12


@click.command()
@click.argument("recipe", type=click.Path(dir_okay=False, exists=True))
@click.option(
    "--run", "run", required=True, type=click.Path(file_okay=False, exists=True), help="Of the recipe."
)
@click.option("--cache", type=click.Path(file_okay=False), help="Of that run, if not within it.")
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="As they were given to the run.")
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="File to write.")
@click.option("--version", required=True, help="Of the weights.")
def ship(
    recipe: str, *, run: str, cache: str | None, changes: tuple[str, ...], out: str, version: str
) -> None:
    """Write the explainer of a run, with a map of local quality fitted to the same ratings."""
    read = read_reasoning_recipe(recipe, parse_changes(changes))
    prepared = prepare(read, Path(cache) if cache else Path(run) / "cache")
    tokens = np.stack([_tokens(prepared.rated.picture(image)) for image in range(len(prepared.rated))])
    card = ExplainerCard(
        name="foveal-explain",
        version=version,
        licence="Apache-2.0",
        summary="Describes a photograph, and judges it from the description alone.",
        training_data=f"{len(prepared.rated):,} rated images of {read.ratings.dataset or read.ratings.path}",
        recipe=Path(recipe).name,
    )
    compared = [Sight(path).pixels() for path in read_parts(read).validation.images[:_COMPARED]]
    agreement = write_explainer(
        Path(run) / DESCRIBE_PART,
        Path(run) / JUDGE_PART,
        fit_place_map(tokens, prepared.rated.mos),
        out,
        card=card,
        images=compared,
        levels=LEVELS[read.verdict.levels],
    )
    click.echo(f"{out}: {Path(out).stat().st_size / 1e6:.2f} MB; {agreement}")


def _tokens(picture: object) -> np.ndarray:
    if not isinstance(picture, StoredFeatures):
        raise FovealError("only small models, which are made here, can be shipped")
    return picture.tokens


if __name__ == "__main__":
    ship()
