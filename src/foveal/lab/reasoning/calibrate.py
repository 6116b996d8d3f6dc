"""Make an explainer's verdicts mean what they say: ``python -m foveal.lab.reasoning.calibrate --help``.

Two things, on images that it did not learn from. Its level words are worth the middles of the ranges that
they stand for. And its judge, which learns what a rule says of a description, knows nothing of how far the
rule is from the one image's rating: so its probabilities are softened by one temperature (Guo et al., "On
calibration of modern neural networks", ICML 2017, section 4.2), the one under which the levels of people's
ratings are likeliest. Neither changes which level is likeliest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from foveal.evaluation.correlation import plcc, srcc
from foveal.explanation.decoder import Decoder
from foveal.explanation.describer import Describer
from foveal.explanation.eyes import Eyes
from foveal.explanation.file import ExplainerModel, read_explainer_file, write_explainer_file
from foveal.explanation.judge import Judge
from foveal.imaging.decode import decode
from foveal.lab.reasoning.levels import Floats, LevelSet
from foveal.lab.reasoning.prepare import read_parts
from foveal.lab.reasoning.recipe import read_reasoning_recipe
from foveal.lab.training.changes import parse_changes

_COLDEST, _HOTTEST = 0.05, 50.0
_LEAST = 1e-12
"""Smallest probability: the logarithm of zero is none."""


@dataclass(frozen=True)
class Calibration:
    """What was found.

    Attributes:
        temperature: that the judge's logits are to be divided by.
        figures: on the images it was found on: agreement with people, root mean square error on 1-5, mean
            probability of the likeliest level and how often it is right, before and after.
    """

    temperature: float
    figures: Mapping[str, float]


def fit_temperature(probabilities: ArrayLike, levels: ArrayLike) -> float:
    """The temperature under which given levels are likeliest.

    Args:
        probabilities: (images, levels), at temperature 1.
        levels: (images,) the level of each image's rating, as a place.

    Raises:
        ValueError: there are no images, or shapes do not fit.
    """
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), _LEAST))
    right = np.asarray(levels, np.int64)
    if logits.ndim != 2 or not len(logits) or right.shape != logits.shape[:1]:
        raise ValueError(f"probabilities {logits.shape} and levels {right.shape} do not fit together")

    def surprise(log_temperature: float) -> float:
        warmed = logits / np.exp(log_temperature)
        normal = np.logaddexp.reduce(warmed, axis=1)
        return float((normal - warmed[np.arange(len(right)), right]).mean())

    bounds = float(np.log(_COLDEST)), float(np.log(_HOTTEST))
    return float(np.exp(minimize_scalar(surprise, bounds=bounds, method="bounded").x))


def soften(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities at another temperature: (images, levels) -> (images, levels)."""
    logits = np.log(np.maximum(probabilities, _LEAST)) / temperature
    weights: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = weights / weights.sum(axis=1, keepdims=True)
    return shares


def calibrate(
    model: ExplainerModel,
    images: Sequence[Path],
    mos: Floats,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[ExplainerModel, Calibration]:
    """An explainer whose words are worth the middles of their ranges, at the fitted temperature.

    Args:
        model: which explainer; its own temperature is replaced.
        images: rated images that it did not learn from.
        mos: their ratings on 1-5, (images,).
        tell: called with how many images are described, of how many.

    Raises:
        ImageError: an image cannot be read.
    """
    settings = replace(model.settings, temperature=1.0)
    levels = LevelSet(tuple(settings.levels), tuple(settings.levels.values()))
    chances = _judged(replace(model, settings=settings), images, tell)
    right = levels.level_of(mos)
    temperature = fit_temperature(chances, right)
    softened = soften(chances, temperature)
    before, after = chances @ np.asarray(levels.values), softened @ np.asarray(levels.middles)
    figures = {
        "images": float(len(images)),
        "srcc before": _correlation(srcc, before, mos),
        "srcc": _correlation(srcc, after, mos),
        "plcc before": _correlation(plcc, before, mos),
        "plcc": _correlation(plcc, after, mos),
        "rmse before": float(np.sqrt(((before - mos) ** 2).mean())),
        "rmse": float(np.sqrt(((after - mos) ** 2).mean())),
        "confidence before": float(chances.max(axis=1).mean()),
        "confidence": float(softened.max(axis=1).mean()),
        "accuracy": float((chances.argmax(axis=1) == right).mean()),
    }
    worth = dict(zip(levels.words, levels.middles, strict=True))
    calibrated = replace(model, settings=replace(settings, levels=worth, temperature=temperature))
    return calibrated, Calibration(temperature, figures)


def _correlation(kind: Callable[[Floats, Floats], float], scores: Floats, mos: Floats) -> float:
    """NaN where it is undefined: hardly trained models say the same of every image."""
    return kind(scores, mos) if np.ptp(scores) > 0 and np.ptp(mos) > 0 else math.nan


def _judged(model: ExplainerModel, images: Sequence[Path], tell: Callable[[int, int], None]) -> Floats:
    """Level probabilities of each image, from what is said of it: float64 (images, levels)."""
    settings = model.settings
    eyes = Eyes(model.eyes, model.card.model, callers=1)
    describing = Decoder(model.describer, settings.describer)
    describer = Describer(describing, settings.vocabulary, settings.conversation)
    judge = Judge(Decoder(model.judge, settings.judge), settings)
    rows = []
    for path in images:
        rows.append(judge.judge([describer.describe(eyes.look(decode(path).pixels)[0]).text])[0])
        tell(len(rows), len(images))
    return np.stack(rows)


@click.command()
@click.argument("recipe", type=click.Path(dir_okay=False, exists=True))
@click.option(
    "--explainer", required=True, type=click.Path(dir_okay=False, exists=True), help="Of the recipe."
)
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="As they were given to the run.")
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="File to write.")
@click.option("--version", required=True, help="Of the result.")
def main(recipe: str, *, explainer: str, changes: tuple[str, ...], out: str, version: str) -> None:
    """Calibrate an explainer on the validation part of its recipe."""
    held_out = read_parts(read_reasoning_recipe(recipe, parse_changes(changes))).validation
    model = read_explainer_file(explainer)
    calibrated, found = calibrate(model, held_out.images, held_out.quality())
    write_explainer_file(out, replace(calibrated, card=replace(model.card, version=version)))
    click.echo(f"temperature {found.temperature:.4f}")
    for name, value in found.figures.items():
        click.echo(f"{name} {value:.4f}")


if __name__ == "__main__":
    main()
