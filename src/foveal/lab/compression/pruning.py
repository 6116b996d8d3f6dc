"""Pruning of the LAPQ paper: weights below a multiple of their layer's standard deviation become zero.

Source: section 2.3, Eq. 9.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from foveal.lab.compression.layers import Matrix

MULTIPLIERS = (1.5, 1.0, 0.5, 0.25, 0.0)
"""Levels k of the paper, the strongest first; 0 keeps every weight."""


def kept(matrix: Matrix, multiplier: float) -> NDArray[np.bool_]:
    """Which weights stay: those of |w| >= k sigma.

    Sigma is the standard deviation about the layer's mean, all weights counted.

    Args:
        matrix: weights of one layer.
        multiplier: k, at least 0.

    Returns:
        bool, in the shape of the weights.

    Raises:
        ValueError: ``multiplier`` is negative.
    """
    if multiplier < 0:
        raise ValueError(f"multiplier is {multiplier}, expected 0 or more")
    # In float32 a sum over millions of weights would move the threshold.
    return np.asarray(np.abs(matrix) >= multiplier * matrix.std(dtype=np.float64))


def pruned(matrix: Matrix, multiplier: float) -> Matrix:
    """Weights with the small ones set to zero; see :func:`kept`."""
    return np.where(kept(matrix, multiplier), matrix, np.float32(0))


def prune(weights: Mapping[str, Matrix], multipliers: Mapping[str, float]) -> dict[str, Matrix]:
    """Layer-wise adaptive pruning (LAP): every layer with its own k.

    Args:
        weights: by layer's name.
        multipliers: k by layer's name; the same for all is the paper's uniform "P level".

    Raises:
        KeyError: a layer has no multiplier.
    """
    return {name: pruned(matrix, multipliers[name]) for name, matrix in weights.items()}
