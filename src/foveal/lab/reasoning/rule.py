"""A rule that judges an image from the degrees of its attributes: additive, and monotone where merit says so.

Stage 2 is taught with it: what people's ratings say on average of images that are described alike, not what
they said of one image. The rule is learnt from ratings by least squares; that sharper is never worse, nor
noisier better, is not left to chance: an attribute with merit can only move the score its way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import lsq_linear

from foveal.assessment import HIGHEST, LOWEST
from foveal.explanation.wordings import WORDINGS
from foveal.lab.reasoning.levels import Floats, LevelSet

Degrees = Mapping[str, int]
"""Degree by attribute, 0 the least."""


@dataclass(frozen=True, eq=False)
class Rule:
    """Score of a description.

    Attributes:
        base: score of a description that tells nothing.
        effects: for each attribute what each degree adds, float64 (degrees,), on the 1-5 scale.
    """

    base: float
    effects: Mapping[str, Floats]

    def score(self, degrees: Degrees) -> float:
        """Score on 1-5 of a description, of whichever attributes it tells."""
        total = self.base + sum(
            float(self.effects[name][degree]) for name, degree in degrees.items() if name in self.effects
        )
        return float(np.clip(total, LOWEST, HIGHEST))

    def scores(self, described: Sequence[Degrees]) -> Floats:
        """Scores on 1-5 of several descriptions, float64 (descriptions,)."""
        return np.array([self.score(degrees) for degrees in described], np.float64)


def fit_rule(described: Sequence[Degrees], mos: ArrayLike, *, ridge: float = 10.0) -> Rule:
    """Learn the rule from described and rated images.

    Args:
        described: degrees of each image; all tell the same attributes.
        mos: (images,) on 1-5.
        ridge: penalty on the steps between degrees, in images: what fewer images than this say counts little.

    Returns:
        Effects are centred: over the given images each attribute adds 0 on average.

    Raises:
        ValueError: fewer images than two, or they do not tell the same attributes.
    """
    ratings = np.asarray(mos, np.float64)
    names = tuple(described[0]) if len(described) else ()
    if len(described) < 2 or len(described) != len(ratings):
        raise ValueError(
            f"{len(described)} descriptions and {len(ratings)} ratings: two or more of each needed"
        )
    if any(set(degrees) != set(names) for degrees in described):
        raise ValueError("all descriptions must tell the same attributes")
    table = np.array([[degrees[name] for name in names] for degrees in described])
    climbs = [WORDINGS[name].degrees - 1 for name in names]
    steps = np.concatenate(
        [table[:, [column]] >= np.arange(1, climb + 1) for column, climb in enumerate(climbs)], axis=1
    )
    design = steps - steps.mean(axis=0)
    middle = float(ratings.mean())
    merits = np.repeat([WORDINGS[name].merit for name in names], climbs)
    bounds = np.where(merits > 0, 0.0, -np.inf), np.where(merits < 0, 0.0, np.inf)
    penalised = np.vstack([design, np.sqrt(ridge) * np.eye(design.shape[1])])
    target = np.concatenate([ratings - middle, np.zeros(design.shape[1])])
    # Bounds are kept up to the solver's tolerance only.
    sizes = np.clip(lsq_linear(penalised, target, bounds=bounds).x, *bounds)
    effects = {}
    of_attribute = np.split(sizes, np.cumsum(climbs)[:-1])
    for column, name in enumerate(names):
        curve = np.concatenate([[0.0], np.cumsum(of_attribute[column])])
        effects[name] = curve - curve[table[:, column]].mean()
    return Rule(middle, effects)


def level_weights(scores: ArrayLike, levels: LevelSet, width: float) -> Floats:
    """Share scores out over level words: Gaussian weights around the middles of equal ranges.

    The heaviest word is always that of the equal-range rule (:meth:`LevelSet.level_of`).

    Args:
        scores: (n,) on 1-5.
        levels: words.
        width: of the Gaussian on the same scale; 0 gives all to one word.

    Returns:
        float64 (n, words); rows add up to 1.
    """
    values = np.asarray(scores, np.float64)
    count = len(levels.words)
    if width == 0:
        weights: NDArray[np.float64] = np.eye(count)[levels.level_of(values)]
        return weights
    step = (HIGHEST - LOWEST) / count
    middles = HIGHEST - step * (np.arange(count) + 0.5)
    logits = -((values[:, None] - middles) ** 2) / (2 * width**2)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = weights / weights.sum(axis=1, keepdims=True)
    return shares
