"""How much of a score its description's attributes explain: ridge regression, tested on other images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.lab.reasoning.levels import Floats

FOLDS = 10
PENALTIES = np.geomspace(1e-3, 1e4, 22)


@dataclass(frozen=True, eq=False)
class Explained:
    """Errors on images that a regression has not seen.

    Attributes:
        predicted: float64 (images, samples), each from the fold that left its image out.
        errors: float64 (images,), squared errors of the predictions, summed over an image's samples.
        spread: float64 (images,), the same for the mean of the training images as the prediction.
    """

    predicted: Floats
    errors: Floats
    spread: Floats

    @property
    def r2(self) -> float:
        """Cross-validated R squared: 1 explains all, 0 nothing; below 0 it misleads. NaN for a constant."""
        return 1.0 - float(self.errors.sum() / self.spread.sum()) if self.spread.sum() else math.nan


def explain(degrees: ArrayLike, scores: ArrayLike, *, folds: int = FOLDS, seed: int = 0) -> Explained:
    """Predict scores from attribute degrees by ridge regression, cross-validated by images.

    An attribute that is not mentioned takes its mean, and whether it was mentioned is a column of its own.
    Columns are standardised on the training images of each fold, and the penalty is chosen on these by
    generalised cross-validation (Golub, Heath and Wahba, Technometrics 21, 1979).

    Args:
        degrees: (images, samples, attributes), NaN where not mentioned.
        scores: (images, samples).
        folds: of images; all samples of an image are in one fold.
        seed: of the folds.

    Raises:
        ValueError: shapes do not fit, or fewer than two images.
    """
    table, target = np.asarray(degrees, np.float64), np.asarray(scores, np.float64)
    if table.ndim != 3 or table.shape[:2] != target.shape or len(target) < 2:
        raise ValueError(
            f"degrees {table.shape} and scores {target.shape}: expected (images, samples, attributes) and "
            "(images, samples), two images or more"
        )
    predicted, middle = np.empty_like(target), np.empty_like(target)
    for held in np.array_split(np.random.default_rng(seed).permutation(len(target)), min(folds, len(target))):
        rest = np.setdiff1d(np.arange(len(target)), held)
        known = _Columns(_rows(table[rest]))
        values = target[rest].ravel()
        weights = ridge(known.design(_rows(table[rest])), values - values.mean())
        predicted[held] = (known.design(_rows(table[held])) @ weights + values.mean()).reshape(
            target[held].shape
        )
        middle[held] = values.mean()
    spread = ((target - middle) ** 2).sum(axis=1)
    if np.ptp(target) == 0:
        spread = np.zeros_like(spread)
    return Explained(predicted, ((target - predicted) ** 2).sum(axis=1), spread)


def ridge(design: Floats, target: Floats, penalties: NDArray[np.float64] = PENALTIES) -> Floats:
    """Ridge regression in closed form; of the penalties that with the least generalised error.

    Args:
        design: (n, columns), centred.
        target: (n,), centred.
        penalties: to choose from.

    Returns:
        float64 (columns,).
    """
    sizes, axes = np.linalg.eigh(design.T @ design)
    sizes = np.maximum(sizes, 0.0)
    along = axes.T @ (design.T @ target)
    best, chosen = math.inf, float(penalties[-1])
    for penalty in penalties:
        kept = sizes / (sizes + penalty)
        error = max(float(target @ target - (along**2 * (2 - kept) / (sizes + penalty)).sum()), 0.0)
        # One more degree of freedom went into the mean.
        freedom = len(target) - 1 - float(kept.sum())
        if freedom > 0 and error / freedom**2 < best:
            best, chosen = error / freedom**2, float(penalty)
    return np.asarray(axes @ (along / (sizes + chosen)))


class _Columns:
    """What the training images say about means and deviations."""

    def __init__(self, table: Floats) -> None:
        there = ~np.isnan(table)
        counts = there.sum(axis=0)
        self._means = np.where(there, table, 0.0).sum(axis=0) / np.maximum(counts, 1)
        whole = self._filled(table)
        self._centre, deviations = whole.mean(axis=0), whole.std(axis=0)
        self._scale = np.where(deviations > 1e-12, deviations, np.inf)

    def _filled(self, table: Floats) -> Floats:
        there = ~np.isnan(table)
        return np.concatenate([np.where(there, table, self._means), there.astype(np.float64)], axis=1)

    def design(self, table: Floats) -> Floats:
        """Standardised columns; those constant in training are 0."""
        return np.asarray((self._filled(table) - self._centre) / self._scale)


def _rows(table: Floats) -> Floats:
    return table.reshape(-1, table.shape[-1])
