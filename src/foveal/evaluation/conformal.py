"""Split-conformal calibration: intervals that hold people's mean opinion as often as they say.

Given a held-out calibration part, the interval is ``predicted -/+ factor * spread`` with the factor at the
finite-sample quantile of the normalised errors. If calibration and new images are exchangeable, at least the
stated share of new mean opinion scores lies inside, whatever the model (Lei, G'Sell, Rinaldo, Tibshirani and
Wasserman, Distribution-free predictive inference for regression, JASA 113, 2018, sections 2.2 and 5.2).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from foveal.assessment import HIGHEST, LOWEST
from foveal.evaluation.pairs import Floats, checked_column


def calibration_factor(
    predicted: ArrayLike, spread: ArrayLike, rated: ArrayLike, *, coverage: float = 0.9
) -> float:
    """Factor on the spread that gives intervals the wanted coverage.

    It is the k-th smallest of ``|rated - predicted| / spread`` with ``k = ceil((n + 1) coverage)``.

    Args:
        predicted: float [n], quality of images that training has not seen.
        spread: float [n], > 0, the model's idea of its own error; any scale.
        rated: float [n], human scores in the same unit as ``predicted``.
        coverage: wanted share of new images inside, between 0 and 1.

    Returns:
        The factor, >= 0.

    Raises:
        ValueError: unfit columns, coverage out of range, or too few images for this coverage (0.9 needs 9).
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage is {coverage}, expected a number between 0 and 1")
    predicted, spread = _checked(predicted, spread)
    rated = _checked_rated(rated, len(predicted))
    n = len(rated)
    # The small term keeps 0.9 * 10 from becoming 10 by rounding.
    k = math.ceil((n + 1) * coverage - 1e-9)
    if k > n:
        least = math.ceil(coverage / (1 - coverage) - 1e-9)
        raise ValueError(f"{n} images cannot guarantee a coverage of {coverage:g}; at least {least} can")
    errors = np.abs(rated - predicted) / spread
    return float(np.partition(errors, k - 1)[k - 1])


def intervals(predicted: ArrayLike, spread: ArrayLike, factor: float) -> tuple[Floats, Floats]:
    """Prediction intervals on the 1-5 scale.

    Clipping to the scale loses no coverage, as no mean opinion lies outside it.

    Args:
        predicted: float [n], quality.
        spread: float [n], > 0.
        factor: from :func:`calibration_factor`.

    Returns:
        Lower and upper ends, float64 [n] each, in [1, 5].

    Raises:
        ValueError: unfit columns, or a factor that is negative or not finite.
    """
    if not (factor >= 0 and math.isfinite(factor)):
        raise ValueError(f"factor is {factor}, expected a number >= 0")
    predicted, spread = _checked(predicted, spread)
    low = np.clip(predicted - factor * spread, LOWEST, HIGHEST)
    high = np.clip(predicted + factor * spread, LOWEST, HIGHEST)
    return low, high


def coverage(predicted: ArrayLike, spread: ArrayLike, rated: ArrayLike, factor: float) -> float:
    """Share of human scores that lie inside their clipped intervals, ends included.

    Args:
        predicted: float [n], quality.
        spread: float [n], > 0.
        rated: float [n], human scores on the 1-5 scale.
        factor: from :func:`calibration_factor`, found on other images.

    Returns:
        A share in 0 to 1.

    Raises:
        ValueError: unfit columns or factor, or human scores outside 1 to 5.
    """
    low, high = intervals(predicted, spread, factor)
    rated = _checked_rated(rated, len(low))
    if rated.min() < LOWEST or rated.max() > HIGHEST:
        raise ValueError(f"human scores run from {rated.min():g} to {rated.max():g}, expected the 1-5 scale")
    return float(np.mean((low <= rated) & (rated <= high)))


def _checked(predicted: ArrayLike, spread: ArrayLike) -> tuple[Floats, Floats]:
    predicted, spread = checked_column(predicted, "predicted"), checked_column(spread, "spread")
    if len(predicted) != len(spread):
        raise ValueError(f"{len(predicted)} predicted scores but {len(spread)} spreads")
    if not len(predicted):
        raise ValueError("there are no scores")
    if spread.min() <= 0:
        raise ValueError(f"spread {spread.min():g} at {int(spread.argmin())} is not positive")
    return predicted, spread


def _checked_rated(rated: ArrayLike, n: int) -> Floats:
    column = checked_column(rated, "rated")
    if len(column) != n:
        raise ValueError(f"{n} predicted scores but {len(column)} rated")
    return column
