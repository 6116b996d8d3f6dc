"""Figures of agreement on resamples: from how often each image was drawn, hundreds of resamples at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foveal.evaluation.correlation import krcc, plcc, srcc
from foveal.evaluation.logistic import LogisticFitError, fit_logistic
from foveal.evaluation.pairs import LEAST, Floats

FIGURES = ("srcc", "krcc", "plcc", "plcc_4", "rmse_4")
"""Figures of a benchmark; see :class:`foveal.evaluation.correlation.Correlations`."""

_ROUNDING = 1e-12
_BLOCK = 1024

Evaluate = Callable[[Floats], Floats]
"""Weights [b, n] of each image in b resamples -> a figure of each, NaN where it is undefined."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """One assessor on one test part.

    Attributes:
        values: float64 [5], the figures in the order of :data:`FIGURES`; NaN for one that is undefined: all
            of them where a column is constant or shorter than three, those after the mapping where that
            cannot be fitted.
        resampled: weights [b, n] -> figures [b, 5]. The logistic curve stays that of the whole part, so that
            intervals after the mapping do not hold the uncertainty of its four parameters.
    """

    values: Floats
    resampled: Evaluate


def agreement(predicted: Floats, rated: Floats) -> Agreement:
    """Figures of one test part, and what gives them on resamples of it.

    Args:
        predicted: float64 [n], finite, higher is better, in any unit.
        rated: float64 [n], finite, on the 1-5 scale.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    undefined = np.full(len(FIGURES), np.nan)
    if len(rated) < LEAST or any(column.min() == column.max() for column in (predicted, rated)):
        return Agreement(undefined, lambda weights: np.full((len(weights), len(FIGURES)), np.nan))
    values = undefined.copy()
    values[:3] = srcc(predicted, rated), krcc(predicted, rated), plcc(predicted, rated)
    x, y = ((column - column.mean()) / column.std() for column in (predicted, rated))
    parts: list[Evaluate] = [_srcc(x, y), _krcc(x, y), lambda weights: _correlation(weights, x, y)]
    try:
        fit = fit_logistic(predicted, rated)
    except LogisticFitError:
        parts += [lambda weights: np.full(len(weights), np.nan)] * 2
    else:
        values[3:] = fit.plcc, fit.rmse
        curve, errors = (fit.mapped - rated.mean()) / rated.std(), (fit.mapped - rated) ** 2
        # A falling curve agrees with the ratings, but the scores do not.
        sign = float(np.sign(fit.plcc))
        parts.append(lambda weights: sign * _correlation(weights, curve, y))
        parts.append(lambda weights: np.sqrt(weights @ errors / _total(weights)))
    return Agreement(values, lambda weights: np.stack([part(weights) for part in parts], axis=1))


def _correlation(weights: Floats, x: Floats, y: Floats) -> Floats:
    """Pearson's correlation of each row; x and y are [n] or [b, n], of a scale about 1."""
    total = _total(weights)

    def mean(column: Floats) -> Floats:
        return np.asarray(np.einsum("bn,bn->b", weights, np.broadcast_to(column, weights.shape)) / total)

    mean_x, mean_y = mean(x), mean(y)
    dx, dy = x - mean_x[:, None], y - mean_y[:, None]
    variance = mean(dx * dx) * mean(dy * dy)
    # Rounding leaves a trace of variance in a resample of equal values.
    undefined = ~(variance > _ROUNDING**2)
    return np.where(undefined, np.nan, mean(dx * dy) / np.sqrt(np.where(undefined, 1.0, variance)))


def _total(weights: Floats) -> Floats:
    """Images in each resample; NaN where a part has none, which makes every figure of it NaN."""
    total = weights.sum(axis=1)
    return np.where(total > 0, total, np.nan)


def _srcc(x: Floats, y: Floats) -> Evaluate:
    ranks_x, ranks_y = _ranker(x), _ranker(y)
    return lambda weights: _correlation(weights, ranks_x(weights), ranks_y(weights))


def _ranker(values: Floats) -> Evaluate:
    """Mean ranks of each image in resamples, divided by the number of images: [b, n]."""
    levels, sums = _levels(values)

    def ranks(weights: Floats) -> Floats:
        ties = sums(weights)
        middle = np.cumsum(ties, axis=1) - (ties - 1) / 2
        return np.asarray(middle[:, levels] / len(values))

    return ranks


def _krcc(x: Floats, y: Floats) -> Evaluate:
    """Kendall's tau-b: of all pairs of images, how often each pair was drawn times how it is ordered."""
    (_, ties_x), (_, ties_y) = _levels(x), _levels(y)
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(x), _BLOCK)]
    # One byte a pair: 144 MB for 12,000 images.
    orders = [_signs(x, block) * _signs(y, block) for block in blocks]

    def tau(weights: Floats) -> Floats:
        counts = weights.astype(np.float32)  # sums of whole numbers below 2^24: exact
        agreeing = np.zeros(len(weights))
        for block, order in zip(blocks, orders, strict=True):
            agreeing += np.einsum(
                "bn,bn->b", counts @ order.astype(np.float32), counts[:, block], dtype=np.float64
            )
        squared = weights.sum(axis=1) ** 2
        untied = [squared - (ties(weights) ** 2).sum(axis=1) for ties in (ties_x, ties_y)]
        product = untied[0] * untied[1]
        return np.where(product > 0, agreeing / np.sqrt(np.where(product > 0, product, 1.0)), np.nan)

    return tau


def _signs(values: Floats, block: slice) -> NDArray[np.int8]:
    """Whether each value lies above (1) or below (-1) each one of a block: [n, block]."""
    above, below = (compare(values[:, None], values[block]) for compare in (np.greater, np.less))
    return above.astype(np.int8) - below.astype(np.int8)


def _levels(values: Floats) -> tuple[NDArray[np.intp], Evaluate]:
    """Number of each image's value among the distinct ones, and what sums weights by them: [b, levels]."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    _, inverse = np.unique(values, return_inverse=True)
    return inverse, lambda weights: np.add.reduceat(weights[:, order], starts, axis=1)
