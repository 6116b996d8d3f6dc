"""Quantisers: weights onto a grid of few levels.

All are uniform and symmetric: weight = level * scale, one scale for each output. A level is an int8, so that
whatever was chosen runs on integer kernels and is coded without loss. (The paper's own quantiser, min-max
over the whole tensor, is in :mod:`foveal.lab.compression.minmax`.)

Where levels are entropy-coded a grid need not be short: what counts is its step, not its number of levels.
So :func:`spread_scale` sets the step by the spread of a row and clips nothing. For Gaussian weights that is
within a quarter of a bit of what any code could reach (Gish & Pierce 1968), and outliers keep their value;
:func:`clipped_scale` is for fixed numbers of bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from foveal.lab.compression.layers import Matrix

MOST = 127
"""Largest level."""
_BLOCK = 64
# Down to a 32nd: at few bits a row with one outlier is best served by a grid that ignores it.
_CLIPS = np.geomspace(1 / 32, 1.0, 61)
# Scales on a geometric grid of eight steps an octave: a few dozen different ones in a model code well.
_STEPS_PER_OCTAVE = 8
_TINY = 1e-12

Scale = NDArray[np.float32]
"""Weight of one level for each output, float32 (outputs,), > 0."""


@dataclass(frozen=True)
class Quantized:
    """Weights on a grid.

    Attributes:
        levels: int8 (outputs, inputs).
        scale: float32 (outputs,): weight of one level.
    """

    levels: NDArray[np.int8]
    scale: Scale

    @property
    def weights(self) -> Matrix:
        """float32 (outputs, inputs)."""
        return self.levels.astype(np.float32) * self.scale[:, None]

    @property
    def entropy(self) -> float:
        """Bits a weight that an ideal code of independent levels needs."""
        counts = np.bincount(np.ravel(self.levels).view(np.uint8), minlength=1)
        share = counts[counts > 0] / self.levels.size
        return float(-(share * np.log2(share)).sum())


def half_range(bits: float) -> int:
    """Largest level of a symmetric grid of so many bits: 1 at 2 bits, 7 at 4, 127 at 8.

    Raises:
        ValueError: bits are not from 2 to 8.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"bits is {bits}, expected 2 to 8")
    return int((2**bits - 2) // 2)


def spread_scale(weights: Matrix, step: float) -> Scale:
    """Scales of a grid whose step is a multiple of the standard deviation of each row.

    Args:
        weights: (outputs, inputs).
        step: in standard deviations, > 0; 1 costs about 2.1 bits a weight, each halving one bit more.

    Returns:
        The scales, on a geometric grid; at least so great that level 127 reaches the largest weight.
    """
    if not step > 0:
        raise ValueError(f"step is {step}, expected a number above 0")
    spread = np.sqrt(np.mean(np.square(weights, dtype=np.float64), axis=1))
    reach = np.abs(weights).max(axis=1) / MOST
    wanted = np.maximum(step * spread, _TINY)
    nearest = np.exp2(np.rint(np.log2(wanted) * _STEPS_PER_OCTAVE) / _STEPS_PER_OCTAVE)
    least = np.exp2(np.ceil(np.log2(np.maximum(reach, _TINY)) * _STEPS_PER_OCTAVE) / _STEPS_PER_OCTAVE)
    scale: Scale = np.maximum(nearest, least).astype(np.float32)
    return scale


def clipped_scale(weights: Matrix, bits: float) -> Scale:
    """Scales that round each row with the least squared error, when levels beyond the range are clipped."""
    most = half_range(bits)
    reach = np.maximum(np.abs(weights).max(axis=1), _TINY)
    errors = []
    for clip in _CLIPS:
        rounded = round_to(weights, (reach * clip / most).astype(np.float32), most).weights
        errors.append(np.square(rounded - weights, dtype=np.float64).sum(axis=1))
    best = _CLIPS[np.argmin(errors, axis=0)]
    scale: Scale = (reach * best / most).astype(np.float32)
    return scale


def round_to(weights: Matrix, scale: Scale, most: int = MOST) -> Quantized:
    """The nearest level of each weight.

    Args:
        weights: (outputs, inputs).
        scale: of each row.
        most: largest level; what lies beyond is clipped.
    """
    levels = np.clip(np.rint(weights / scale[:, None]), -most, most)
    return Quantized(levels.astype(np.int8), scale.astype(np.float32))


def compensate(
    weights: NDArray[np.floating],
    second: NDArray[np.float64],
    scale: Scale,
    most: int = MOST,
    damping: float = 0.01,
) -> Quantized:
    """Round one input after the other, each time letting the inputs still to come make up for the error.

    This is GPTQ (Frantar et al. 2023, algorithm 1) with columns in the order of their power: the squared
    error of the layer's outputs falls to about half of what plain rounding leaves.

    Args:
        weights: (outputs, inputs).
        second: (inputs, inputs): mean of x x^T over calibration inputs.
        scale: of each row.
        most: largest level; what lies beyond is clipped.
        damping: added to the diagonal of ``second``, as a share of its mean; > 0.

    Returns:
        The levels, in the order of the inputs.
    """
    order = np.argsort(-np.diag(second), kind="stable")
    factor = _inverse_factor(second[np.ix_(order, order)], damping)
    rest = weights[:, order].astype(np.float64)
    steps = scale.astype(np.float64)
    levels = np.empty_like(rest)
    width = rest.shape[1]
    for start in range(0, width, _BLOCK):
        end = min(start + _BLOCK, width)
        errors = np.empty((len(rest), end - start))
        for column in range(start, end):
            levels[:, column] = np.clip(np.rint(rest[:, column] / steps), -most, most)
            error = (rest[:, column] - levels[:, column] * steps) / factor[column, column]
            rest[:, column:end] -= np.outer(error, factor[column, column:end])
            errors[:, column - start] = error
        rest[:, end:] -= errors @ factor[start:end, end:]
    restored = np.empty(levels.shape, np.int8)
    restored[:, order] = levels
    return Quantized(restored, scale.astype(np.float32))


def _inverse_factor(second: NDArray[np.float64], damping: float) -> NDArray[np.float64]:
    """Upper triangular U with U^T U = (second + damping)^-1."""
    power = np.diag(second).mean()
    damped = second + np.eye(len(second)) * (damping * power if power > 0 else 1.0)
    inverse = scipy.linalg.cho_solve(scipy.linalg.cho_factor(damped, lower=True), np.eye(len(second)))
    factor: NDArray[np.float64] = scipy.linalg.cholesky((inverse + inverse.T) / 2, lower=False)
    return factor


def output_error(change: NDArray[np.floating], second: NDArray[np.float64]) -> float:
    """Mean squared change of a layer's outputs, summed over them: tr(D H D^T).

    Args:
        change: D, (outputs, inputs): by how much the weights change.
        second: H, (inputs, inputs): mean of x x^T.
    """
    return float(np.einsum("oi,ij,oj->", change, second, change, optimize=True))
