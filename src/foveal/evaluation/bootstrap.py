"""What every bootstrap here is made of: how often each item is drawn, and BCa's correction of the ends."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
_NORMAL = NormalDist()


def drawn_counts(items: int, resamples: int, seed: int, rows: int) -> Iterator[Counts]:
    """How often each item is drawn, int64 [b, items], at most ``rows`` resamples at a time."""
    generator = np.random.Generator(np.random.PCG64(seed))
    for start in range(0, resamples, rows):
        b = min(rows, resamples - start)
        drawn = generator.integers(0, items, (b, items)) + np.arange(b)[:, None] * items
        yield np.bincount(drawn.ravel(), minlength=b * items).reshape(b, items)


def bca_probabilities(value: float, draws: Floats, left_out: Floats, tail: float) -> tuple[float, float]:
    """Which quantiles of the resamples are the ends of a BCa interval (Efron, JASA 82, 1987).

    Args:
        value: the figure on the images at hand.
        draws: float64 [resamples], finite.
        left_out: float64 [items], the figure with one item left out, finite.
        tail: probability beyond each end, 0 to 0.5.
    """
    below = float(np.mean(draws < value) + 0.5 * np.mean(draws == value))
    bias = _NORMAL.inv_cdf(min(max(below, 0.5 / len(draws)), 1 - 0.5 / len(draws)))
    deviations = left_out.mean() - left_out
    spread = float(np.sum(deviations**2))
    acceleration = float(np.sum(deviations**3)) / (6 * spread**1.5) if spread > 0 else 0.0

    def adjusted(probability: float) -> float:
        z = bias + _NORMAL.inv_cdf(probability)
        return _NORMAL.cdf(bias + z / (1 - acceleration * z))

    return adjusted(tail), adjusted(1 - tail)
