"""The quantiser of the LAPQ paper: levels of equal distance from a tensor's least weight to its greatest.

The paper names no quantiser. This one is taken for it because its table shows what this one does: a range
that few outliers set leaves 4 bits too coarse for all other weights, so that a ViT collapses there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foveal.lab.compression.layers import Matrix

BITS = (1, 2, 4, 8)
"""Bit widths of the paper, the strongest first."""


@dataclass(frozen=True)
class MinMax:
    """A layer on one grid for all of its weights: weight = code * scale + offset.

    Attributes:
        codes: uint8, in the shape of the weights, 0 to 2**bits - 1.
        scale: weight of one step; 0 where all weights are the same.
        offset: weight of code 0: the least of all.
        bits: 1 to 8.
    """

    codes: NDArray[np.uint8]
    scale: float
    offset: float
    bits: int

    @property
    def weights(self) -> Matrix:
        """What the codes stand for, float32."""
        return (self.codes * self.scale + self.offset).astype(np.float32)


def quantize_minmax(matrix: Matrix, bits: int) -> MinMax:
    """Round weights to the nearest of 2**bits levels over their range; asymmetric, one grid a tensor.

    Every weight moves by half a step at most, and the least and the greatest stay. Zero is not on the grid.

    Args:
        matrix: weights of one layer, all finite, at least one.
        bits: 1 to 8.

    Raises:
        ValueError: there are no such bits, no weights, or weights that are not finite.
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"bits is {bits}, expected 1 to 8")
    if not matrix.size or not np.isfinite(matrix).all():
        raise ValueError("weights to quantise must be finite, and at least one")
    low, high = float(matrix.min()), float(matrix.max())
    scale = (high - low) / (2**bits - 1)
    steps = (matrix.astype(np.float64) - low) / (scale or 1.0)
    return MinMax(np.rint(steps).astype(np.uint8), scale, low, bits)
