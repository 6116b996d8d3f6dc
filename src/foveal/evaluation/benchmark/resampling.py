"""Bootstrap over test parts that share images: what is drawn are groups, and each part sees the same draw.

A set of ten splits has ten test parts, and an image is in several of them. So groups of the whole set are
drawn with replacement, a figure is computed on every part with each image counted as often as its group was
drawn, and its mean over the parts is the figure of that resample. Assessors are compared on the same
resamples. With one part and without groups this is the usual bootstrap of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foveal.evaluation.benchmark.weighted import FIGURES, agreement
from foveal.evaluation.bootstrap import bca_probabilities, drawn_counts
from foveal.evaluation.pairs import Floats

_CELLS = 1 << 19
"""Resamples times images handled at once: 4 MB an array, which stays in cache."""
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ScoredPart:
    """One assessor on one test part.

    Attributes:
        rows: int64 [n], positions of the images in the whole set.
        predicted: float64 [n], its scores, higher is better.
        rated: float64 [n], on the 1-5 scale.
    """

    rows: Rows
    predicted: Floats
    rated: Floats


@dataclass(frozen=True, eq=False)
class Draws:
    """Figures of one assessor on all test parts of a set, and on resamples of the set.

    Attributes:
        values: float64 [parts, figures], on each part, in the order of :data:`FIGURES`.
        draws: float64 [resamples, figures], mean over the parts in each resample.
        left_out: float64 [groups, figures], the same with one group left out.
    """

    values: Floats
    draws: Floats
    left_out: Floats

    @property
    def mean(self) -> Floats:
        """Mean over the parts, float64 [figures]; NaN where a part has none."""
        return np.asarray(self.values.mean(axis=0))


def draw(parts: Sequence[ScoredPart], groups: Sequence[str], *, resamples: int, seed: int) -> Draws:
    """Compute the figures of each part, and their means on resamples.

    Args:
        parts: at least one.
        groups: label of each image of the set. Groups of which no part has an image are not drawn.
        resamples: how many.
        seed: of the drawing; with the same parts, groups and seed the same groups are drawn.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    tested = np.unique(np.concatenate([part.rows for part in parts]))
    # Numbered as they come, so that it does not matter what groups are called.
    labels = {group: number for number, group in enumerate(dict.fromkeys(groups[row] for row in tested))}
    group_of = np.full(len(groups), -1)
    group_of[tested] = [labels[groups[row]] for row in tested]
    rows = max(1, _CELLS // len(tested))
    values, drawn = [], np.zeros((resamples, len(FIGURES)))
    left_out = np.zeros((len(labels), len(FIGURES)))
    for part in parts:
        figures = agreement(part.predicted, part.rated)
        values.append(figures.values)
        inside = group_of[part.rows]
        drawn += np.concatenate(
            [
                figures.resampled(counts[:, inside].astype(np.float64))
                for counts in drawn_counts(len(labels), resamples, seed, rows)
            ]
        )
        # Without a group that the part has nothing of, its figures stay as they are.
        without = np.tile(figures.values, (len(labels), 1))
        touched = np.unique(inside)
        without[touched] = np.concatenate(
            [
                figures.resampled((inside != touched[start : start + rows, None]).astype(np.float64))
                for start in range(0, len(touched), rows)
            ]
        )
        left_out += without
    return Draws(np.stack(values), drawn / len(parts), left_out / len(parts))


def bca(value: float, draws: Floats, left_out: Floats, coverage: float) -> tuple[float, float]:
    """BCa interval (Efron, Better bootstrap confidence intervals, JASA 82, 1987).

    Args:
        value: the figure on the images at hand.
        draws: float64 [resamples], the figure on resamples; NaN where it is undefined.
        left_out: float64 [groups], the figure with one group left out.
        coverage: how often the interval is meant to hold the true figure.

    Returns:
        Both ends; NaN if the figure is undefined, here or in more than half of the resamples.
    """
    count = len(draws)
    draws, left_out = draws[np.isfinite(draws)], left_out[np.isfinite(left_out)]
    if not np.isfinite(value) or not len(left_out) or 2 * len(draws) < count:
        return np.nan, np.nan
    low, high = np.quantile(draws, bca_probabilities(value, draws, left_out, (1 - coverage) / 2))
    return float(low), float(high)
