"""Agreement of predicted scores with human ones: SRCC, KRCC, PLCC raw and after a logistic mapping.

The sign is never taken away: a predictor of wrong direction has negative figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from foveal.errors import MissingExtraError
from foveal.evaluation.logistic import fit_logistic
from foveal.evaluation.pairs import Floats, checked_pairs


@dataclass(frozen=True, slots=True)
class Correlations:
    """Every figure of agreement on one set of images. All but RMSE lie in -1 to 1; 1 is perfect.

    Attributes:
        n: number of images.
        srcc: Spearman's rank correlation.
        krcc: Kendall's tau-b.
        plcc: Pearson's correlation of the scores as they are.
        plcc_4: Pearson's correlation after the 4-parameter logistic mapping.
        plcc_5: Pearson's correlation after the 5-parameter logistic mapping.
        rmse_4: root mean squared error after the 4-parameter mapping, in units of the ratings.
        rmse_5: the same after the 5-parameter mapping.
    """

    n: int
    srcc: float
    krcc: float
    plcc: float
    plcc_4: float
    plcc_5: float
    rmse_4: float
    rmse_5: float


def correlations(predicted: ArrayLike, rated: ArrayLike) -> Correlations:
    """All figures of agreement between predicted and human scores.

    Args:
        predicted: float [n], in any unit.
        rated: float [n], in any unit.

    Returns:
        The figures.

    Raises:
        ValueError: NaN, infinities, a constant column, different lengths, fewer than three points (six for
            the fits), or a logistic fit that does not converge (:class:`LogisticFitError`).
        MissingExtraError: SciPy is not installed.
    """
    predicted, rated = checked_pairs(predicted, rated)
    four, five = (fit_logistic(predicted, rated, parameters=count) for count in (4, 5))
    return Correlations(
        n=len(rated),
        srcc=srcc(predicted, rated),
        krcc=krcc(predicted, rated),
        plcc=plcc(predicted, rated),
        plcc_4=four.plcc,
        plcc_5=five.plcc,
        rmse_4=four.rmse,
        rmse_5=five.rmse,
    )


def srcc(predicted: ArrayLike, rated: ArrayLike) -> float:
    """Spearman's rank correlation coefficient: Pearson's of the ranks, equal values sharing their mean rank.

    Args:
        predicted: float [n].
        rated: float [n].

    Returns:
        A number in -1 to 1.

    Raises:
        ValueError: NaN, infinities, a constant column, different lengths, fewer than three points.
    """
    predicted, rated = checked_pairs(predicted, rated)
    return plcc(mean_ranks(predicted), mean_ranks(rated))


def krcc(predicted: ArrayLike, rated: ArrayLike) -> float:
    """Kendall's rank correlation coefficient, tau-b (corrected for ties).

    Args:
        predicted: float [n].
        rated: float [n].

    Returns:
        A number in -1 to 1.

    Raises:
        ValueError: NaN, infinities, a constant column, different lengths, fewer than three points.
        MissingExtraError: SciPy is not installed.
    """
    predicted, rated = checked_pairs(predicted, rated)
    try:
        from scipy.stats import kendalltau
    except ImportError:
        raise MissingExtraError("Kendall's correlation", "evaluation") from None
    return float(kendalltau(predicted, rated, variant="b").statistic)


def plcc(predicted: ArrayLike, rated: ArrayLike) -> float:
    """Pearson's linear correlation coefficient of the scores as they are.

    Args:
        predicted: float [n].
        rated: float [n].

    Returns:
        A number in -1 to 1.

    Raises:
        ValueError: NaN, infinities, a constant column, different lengths, fewer than three points.
    """
    predicted, rated = checked_pairs(predicted, rated)
    product = np.dot(_unit_deviations(predicted), _unit_deviations(rated))
    return float(np.clip(product, -1.0, 1.0))


def mean_ranks(values: Floats) -> Floats:
    """Ranks from 1 to n; equal values share the mean of their ranks. Float64 [n]."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _unit_deviations(values: Floats) -> Floats:
    """Deviations from the mean, scaled to length 1; rescaled first, so that no square over- or underflows."""
    scaled = values / np.abs(values).max()
    deviations = scaled - scaled.mean()
    deviations /= np.abs(deviations).max()
    return np.asarray(deviations / np.linalg.norm(deviations), np.float64)
