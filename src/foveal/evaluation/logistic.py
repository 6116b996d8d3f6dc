"""The logistic mapping from predicted to human scores that VQEG introduced, before PLCC and RMSE.

Observers compress the ends of a scale, so a monotone curve is fitted first. Two forms are in use:

* four parameters (VQEG, Final report on the validation of objective models of video quality assessment,
  2000): ``f(x) = b2 + (b1 - b2) / (1 + exp(-(x - b3) / |b4|))``
* five parameters (Sheikh, Sabir, Bovik, A statistical evaluation of recent full reference image quality
  assessment algorithms, IEEE TIP 15(11), 2006):
  ``f(x) = b1 (1/2 - 1 / (1 + exp(b2 (x - b3)))) + b4 x + b5``
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from foveal.errors import MissingExtraError
from foveal.evaluation.pairs import Floats, checked_pairs

_MARGIN = 2.0
"""How far beyond the predictions the middle of the curve may lie, in their standard deviations."""
_WIDTHS = {4: (0.05, 100.0), 5: (0.1, 10.0)}
"""In standard deviations of the prediction. A narrower curve is a step between two neighbouring images,
fitted to noise; a wider one cannot be told from a line, which the fifth parameter already is."""


class LogisticFitError(ValueError):
    """The mapping cannot be fitted to these points."""


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """A fitted mapping and what it gives.

    Attributes:
        parameters: b1 ... b4 or b1 ... b5 of the equation above, in the units of the scores.
        mapped: float64 [n], predicted scores after the mapping, in units of the ratings.
        plcc: Pearson's correlation of mapped and human scores, with the sign of the curve's direction. The
            curve itself would turn a wrong direction round and hide it.
        rmse: root of the mean (over n) squared difference of mapped and human scores.
    """

    parameters: Floats
    mapped: Floats
    plcc: float
    rmse: float


def logistic_4(x: ArrayLike, parameters: ArrayLike) -> Floats:
    """The 4-parameter logistic function of VQEG (2000) at x [n]; parameters b1 to b4."""
    b1, b2, b3, b4 = np.asarray(parameters, np.float64)
    return np.asarray(b2 + (b1 - b2) * _sigmoid((np.asarray(x, np.float64) - b3) / abs(b4)), np.float64)


def logistic_5(x: ArrayLike, parameters: ArrayLike) -> Floats:
    """The 5-parameter logistic function of Sheikh et al. (2006) at x [n]; parameters b1 to b5."""
    b1, b2, b3, b4, b5 = np.asarray(parameters, np.float64)
    x = np.asarray(x, np.float64)
    return np.asarray(b1 * (_sigmoid(b2 * (x - b3)) - 0.5) + b4 * x + b5, np.float64)


def fit_logistic(predicted: ArrayLike, rated: ArrayLike, *, parameters: int = 4) -> LogisticFit:
    """Fit a logistic mapping by least squares.

    Only the middle and the width of the curve are searched, from the best point of a grid; the other
    parameters follow from linear least squares (variable projection; Golub and Pereyra, SIAM J. Numer. Anal.
    10, 1973). With both bounded, units do not matter and an exactly linear relation, for which the best
    logistic curve has infinite parameters, is no trouble.

    Args:
        predicted: float [n], in any unit.
        rated: float [n], in any unit.
        parameters: 4 or 5.

    Returns:
        The fit.

    Raises:
        LogisticFitError: fewer points than parameters + 1, the search does not converge, or the best curve
            is flat.
        ValueError: NaN, infinities, a constant column, different lengths, fewer than three points, or
            another number of parameters.
        MissingExtraError: SciPy is not installed.
    """
    if parameters not in (4, 5):
        raise ValueError(f"parameters is {parameters}, expected 4 or 5")
    predicted, rated = checked_pairs(predicted, rated)
    if len(rated) <= parameters:
        raise LogisticFitError(f"{len(rated)} points cannot determine {parameters} parameters; use plcc")
    (x, x_mean, x_std), (y, y_mean, y_std) = _standardised(predicted), _standardised(rated)
    middle, width, linear, curve = _search(x, y, parameters)
    offset, rise = linear[:2]
    centre = middle * x_std + x_mean
    if parameters == 4:
        low, high = offset * y_std + y_mean, (offset + rise) * y_std + y_mean
        fitted = [high, low, centre, width * x_std]
    else:
        slope = linear[2] * y_std / x_std
        offset = (offset + rise / 2) * y_std + y_mean - slope * x_mean
        fitted = [rise * y_std, 1 / (width * x_std), centre, slope, offset]
    return LogisticFit(
        parameters=np.array(fitted),
        mapped=curve * y_std + y_mean,
        plcc=_directed_correlation(curve, x, y),
        rmse=float(np.sqrt(np.mean((curve - y) ** 2)) * y_std),
    )


def _standardised(values: Floats) -> tuple[Floats, float, float]:
    mean, std = float(values.mean()), float(values.std())
    return (values - mean) / std, mean, std


def _search(x: Floats, y: Floats, parameters: int) -> tuple[float, float, Floats, Floats]:
    """Middle and width of the best curve, its linear parameters (offset, rise, slope) and its values [n]."""
    try:
        from scipy.optimize import minimize
    except ImportError:
        raise MissingExtraError("The logistic mapping", "evaluation") from None

    def project(x: Floats, middle: float, log_width: float) -> tuple[Floats, Floats]:
        basis = np.stack(
            [np.ones_like(x), _sigmoid((x - middle) / np.exp(log_width)), x][: parameters - 2], 1
        )
        linear = np.asarray(np.linalg.lstsq(basis, y, rcond=None)[0], np.float64)
        return linear, basis @ linear

    def error(point: tuple[float, float]) -> float:
        return float(np.sum((project(x, *point)[1] - y) ** 2))

    narrow, wide = np.log(_WIDTHS[parameters])
    grid = product(np.quantile(x, np.linspace(0, 1, 13)), np.linspace(narrow, wide, 12)[1:-1])
    # A simplex, not Gauss-Newton: with ratings of noise the residuals stay large, and that crawls.
    end = minimize(
        error,
        min(grid, key=error),
        method="Nelder-Mead",
        bounds=((x.min() - _MARGIN, x.max() + _MARGIN), (narrow, wide)),
        options={"xatol": 1e-7, "fatol": 1e-9, "maxfev": 2000},
    )
    if not end.success:
        raise LogisticFitError(
            f"the logistic fit to {len(x)} points does not converge ({end.message}); use plcc instead"
        )
    middle, log_width = end.x
    return float(middle), float(np.exp(log_width)), *project(x, middle, log_width)


def _directed_correlation(curve: Floats, x: Floats, y: Floats) -> float:
    if np.ptp(curve) < 1e-9:
        raise LogisticFitError(
            "the best logistic curve is flat: predicted scores say nothing about the rated"
        )
    return float(np.corrcoef(curve, y)[0, 1] * np.sign(np.dot(curve - curve.mean(), x)))


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)), np.float64)
