"""Whether one assessor is better than another: on the same resamples, and over the splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from foveal.evaluation.benchmark.lines import Line
from foveal.evaluation.benchmark.weighted import FIGURES
from foveal.evaluation.pairs import Floats

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of one assessor less that of another, on one set.

    Attributes:
        first: name of the first assessor.
        second: name of the second.
        tested: the set.
        part: ``all`` or ``clean``.
        figure: which.
        difference: of the means over the test parts, first less second.
        low: lower end of its bootstrap interval.
        high: upper end.
        p_value: two-sided, of the paired bootstrap; never below 2 / (resamples + 1).
        p_adjusted: the same after Holm's correction for all pairs on this set, part and figure.
        p_splits: two-sided, of the paired differences on the splits; NaN with a single split.
    """

    first: str
    second: str
    tested: str
    part: str
    figure: str
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    p_splits: float


def differences(lines: Sequence[Line], coverage: float) -> tuple[Difference, ...]:
    """Compare all assessors on one set with each other, two by two.

    Resamples are paired: both assessors are evaluated on the same draw of groups, so what is hard for both
    cancels (:func:`foveal.evaluation.significance.compare`). Of splits, the paired differences go through the
    corrected resampled t test (Nadeau and Bengio, Inference for the generalization error, Machine Learning
    52, 2003, section 3), as test parts of random splits overlap.

    Args:
        lines: of one set and part, with the same test parts, and of different assessors.
        coverage: of the intervals.

    Returns:
        Every pair in every figure that both have. P values are corrected for the number of pairs by Holm's
        step-down method (A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6,
        1979).

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    found: list[Difference] = []
    for column, figure in enumerate(FIGURES):
        pairs = [_difference(one, other, column, figure, coverage) for one, other in combinations(lines, 2)]
        there = [pair for pair in pairs if np.isfinite(pair.p_value)]
        adjusted = holm([pair.p_value for pair in there])
        found += [replace(pair, p_adjusted=p) for pair, p in zip(there, adjusted, strict=True)]
    return tuple(found)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number; each is at least as large as before, in the same order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for position, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _difference(one: Line, other: Line, column: int, figure: str, coverage: float) -> Difference:
    by_part = one.draws.values[:, column] - other.draws.values[:, column]
    low, high, p_value = _paired(one.draws.draws[:, column] - other.draws.draws[:, column], coverage)
    return Difference(
        first=one.key.assessor,
        second=other.key.assessor,
        tested=one.key.tested,
        part=one.part,
        figure=figure,
        difference=float(by_part.mean()),
        low=low,
        high=high,
        p_value=p_value if np.isfinite(by_part).all() else float("nan"),
        p_adjusted=float("nan"),
        p_splits=_over_splits(by_part, one),
    )


def _paired(draws: Floats, coverage: float) -> tuple[float, float, float]:
    """Ends of the percentile interval of a difference, and its p value; NaN if most are undefined."""
    count = len(draws)
    draws = draws[np.isfinite(draws)]
    if 2 * len(draws) < count:
        return np.nan, np.nan, np.nan
    # Equal figures differ by rounding, and must count on both sides of zero.
    draws[np.abs(draws) < _ROUNDING] = 0.0
    tail = (1 - coverage) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    far = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return float(low), float(high), min(1.0, 2 * (far + 1) / (len(draws) + 1))


def _over_splits(by_part: Floats, line: Line) -> float:
    count = len(by_part)
    if count < 2 or not np.isfinite(by_part).all():
        return float("nan")
    from scipy.special import stdtr

    mean, std = float(by_part.mean()), float(by_part.std(ddof=1))
    if std <= _ROUNDING:
        return 1.0 if abs(mean) <= _ROUNDING else 0.0
    ratio = float(np.mean([n / rest for n, rest in zip(line.counts, line.rest, strict=True)]))
    t = mean / (std * float(np.sqrt(1 / count + ratio)))
    return float(2 * stdtr(count - 1, -abs(t)))
