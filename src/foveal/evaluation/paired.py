"""Whether paired scores differ: mean with its interval, sign test and Wilcoxon's test, with NumPy alone.

Neither of the tests needs SciPy, so that their results are the same wherever they run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from foveal.evaluation.bootstrap import Floats, bca_probabilities, drawn_counts
from foveal.evaluation.pairs import checked_column

FEWEST = 5
"""Pairs below which there is no interval: resamples of so few are far too much alike."""
EXACT_UP_TO = 50
"""Pairs with a difference up to which Wilcoxon's test is exact; above it is normal."""
RESAMPLES = 2000

_CELLS = 1 << 20


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """What differences of pairs say together.

    Attributes:
        pairs: how many.
        mean: of all differences.
        median: of all differences.
        low: lower end of the mean's interval; None for fewer than :data:`FEWEST` pairs.
        high: its upper end.
        level: confidence of the interval, such as 0.95.
        higher: pairs whose difference is above zero.
        lower: pairs whose difference is below zero.
        equal: pairs without a difference.
        sign_p: two-sided p value of the sign test.
        wilcoxon_p: two-sided p value of Wilcoxon's signed-rank test.
    """

    pairs: int
    mean: float
    median: float
    low: float | None
    high: float | None
    level: float
    higher: int
    lower: int
    equal: int
    sign_p: float
    wilcoxon_p: float


def paired_difference(
    differences: ArrayLike, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> PairedDifference:
    """Summarise and test differences of pairs.

    The interval of the mean is a BCa bootstrap over pairs (Efron, Better bootstrap confidence intervals,
    JASA 82, 1987).

    Args:
        differences: float [n], second less first; n is 1 or more.
        level: confidence of the interval, between 0 and 1.
        resamples: of the bootstrap.
        seed: of the bootstrap; the same seed gives the same interval.

    Raises:
        ValueError: there is no difference, one is not finite, or the level is out of range.
    """
    values = checked_column(differences, "differences")
    if not len(values):
        raise ValueError("there are no differences")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a number between 0 and 1")
    higher, lower = int((values > 0).sum()), int((values < 0).sum())
    low, high = _mean_interval(values, level, resamples, seed) if len(values) >= FEWEST else (None, None)
    return PairedDifference(
        pairs=len(values),
        mean=float(values.mean()),
        median=float(np.median(values)),
        low=low,
        high=high,
        level=level,
        higher=higher,
        lower=lower,
        equal=len(values) - higher - lower,
        sign_p=sign_test(higher, lower),
        wilcoxon_p=signed_rank_test(values),
    )


def sign_test(higher: int, lower: int) -> float:
    """Two-sided p value of the hypothesis that either sign is as likely; exact for any count.

    Args:
        higher: differences above zero.
        lower: differences below zero; those without a sign do not count.
    """
    n, fewer = higher + lower, min(higher, lower)
    # Sums of logarithms: n choose k of thousands is beyond any float.
    steps = np.log(np.arange(n, n - fewer, -1, dtype=np.float64)) - np.log(np.arange(1.0, fewer + 1))
    terms = np.concatenate(([0.0], np.cumsum(steps))) - n * math.log(2)
    return min(1.0, 2 * float(np.exp(terms).sum()))


def signed_rank_test(differences: ArrayLike) -> float:
    """Two-sided p value of Wilcoxon's signed-rank test (Individual comparisons by ranking methods, 1945).

    Differences of zero are left out, equal ones share their mean rank. Up to :data:`EXACT_UP_TO` of them all
    signs are weighed, with ties too; of more, the sum of ranks is taken as normal, its variance corrected for
    ties, without correction for continuity.

    Args:
        differences: float [n].
    """
    values = checked_column(differences, "differences")
    values = values[values != 0]
    n = len(values)
    if not n:
        return 1.0
    _, inverse, ties = np.unique(np.abs(values), return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(ties) - ties + 1)[inverse]  # twice the mean ranks, which are whole
    positive = int(doubled[values > 0].sum())
    if n <= EXACT_UP_TO:
        return _exact(doubled.tolist(), positive)
    variance = n * (n + 1) * (2 * n + 1) / 24 - float((ties.astype(np.float64) ** 3 - ties).sum()) / 48
    distance = abs(positive / 2 - n * (n + 1) / 4)
    return math.erfc(distance / math.sqrt(2 * variance))


def _exact(doubled: list[int], positive: int) -> float:
    """Count the choices of signs that put the sum of ranks as far out; doubles hold the counts exactly."""
    ways = np.zeros(sum(doubled) + 1)
    ways[0] = 1
    for rank in doubled:
        ways[rank:] += ways[:-rank].copy()
    tail = min(ways[: positive + 1].sum(), ways[positive:].sum())
    return min(1.0, 2 * float(tail / 2.0 ** len(doubled)))


def _mean_interval(values: Floats, level: float, resamples: int, seed: int) -> tuple[float, float]:
    n, tail = len(values), (1 - level) / 2
    rows = max(1, _CELLS // n)
    draws = np.concatenate([counts @ values / n for counts in drawn_counts(n, resamples, seed, rows)])
    left_out = (values.sum() - values) / (n - 1)
    probabilities = bca_probabilities(float(values.mean()), draws, left_out, tail)
    low, high = np.quantile(draws, probabilities)
    return float(low), float(high)
