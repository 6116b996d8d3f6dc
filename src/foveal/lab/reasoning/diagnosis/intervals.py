"""Means over images with bootstrap intervals, and two ways to a verdict compared on the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from foveal.evaluation.bootstrap import drawn_counts
from foveal.evaluation.significance import Estimate
from foveal.lab.reasoning.levels import Floats

RESAMPLES = 2000
LEVEL = 0.95
_ROWS = 256


@dataclass(frozen=True, slots=True)
class Paired:
    """A figure of one reasoner beside that of another on the same images.

    Attributes:
        ratio: second over first; NaN where the first is 0.
        difference: second minus first.
    """

    ratio: Estimate
    difference: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Both with their intervals."""
        return {"ratio": shown(self.ratio), "difference": shown(self.difference)}


def mean_interval(values: ArrayLike, *, seed: int = 0) -> Estimate:
    """Mean over images with a percentile interval; images are drawn with replacement.

    Args:
        values: float (images,); NaN stands for an image that has no value and does not count.
        seed: of the drawing.

    Returns:
        NaN throughout where no image has a value. Where all have the same, the interval has no width.
    """
    column = np.asarray(values, np.float64)
    there = np.isfinite(column)
    return quotient_interval(np.where(there, column, 0.0), there.astype(np.float64), seed=seed)


def quotient_interval(above: ArrayLike, below: ArrayLike, *, seed: int = 0) -> Estimate:
    """Sum over images divided by another sum over images, with a percentile interval.

    Args:
        above: float (images,), summed in the numerator.
        below: float (images,), summed in the denominator.
        seed: of the drawing.

    Returns:
        NaN throughout where the denominator is 0.
    """
    numerator, denominator = np.asarray(above, np.float64), np.asarray(below, np.float64)
    if not denominator.sum():
        return Estimate(math.nan, math.nan, math.nan, LEVEL)
    draws = _sums(np.stack([numerator, denominator], axis=1), seed)
    return _estimate(numerator.sum() / denominator.sum(), _divided(draws[:, 0], draws[:, 1]))


def compare_means(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> Paired:
    """Compare the means of two reasoners on the same images: what is hard for both cancels.

    Args:
        first: float (images,), such as of the one-stage model.
        second: float (images,), of the other.
        seed: of the drawing.

    Raises:
        ValueError: lengths differ.
    """
    pair = [np.asarray(column, np.float64) for column in (first, second)]
    if pair[0].shape != pair[1].shape:
        raise ValueError(f"{len(pair[0])} images of the first but {len(pair[1])} of the second")
    draws = _sums(np.stack(pair, axis=1), seed) / len(pair[0])
    one, two = (float(column.mean()) for column in pair)
    ratio = two / one if one else math.nan
    return Paired(
        ratio=_estimate(ratio, _divided(draws[:, 1], draws[:, 0])),
        difference=_estimate(two - one, draws[:, 1] - draws[:, 0]),
    )


def shown(estimate: Estimate) -> dict[str, float | None]:
    """An estimate for JSON, which has no NaN: value and ends of the interval."""
    return {
        "value": finite(estimate.value),
        "low": finite(estimate.low),
        "high": finite(estimate.high),
    }


def finite(value: float) -> float | None:
    """The number, or None where there is none."""
    return float(value) if math.isfinite(value) else None


def _sums(columns: Floats, seed: int) -> Floats:
    """float64 (resamples, columns): sums over drawn images."""
    counts = drawn_counts(len(columns), RESAMPLES, seed, _ROWS)
    return np.concatenate([part @ columns for part in counts])


def _divided(above: Floats, below: Floats) -> Floats:
    out = np.full(len(above), math.nan)
    np.divide(above, below, out=out, where=below != 0)
    return out


def _estimate(value: float, draws: Floats) -> Estimate:
    known = draws[np.isfinite(draws)]
    if not math.isfinite(value) or not len(known):
        return Estimate(math.nan, math.nan, math.nan, LEVEL)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high), LEVEL)
