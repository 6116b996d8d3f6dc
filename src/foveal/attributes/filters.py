"""Small filters on stacks of planes, in plain NumPy: all work on the last two axes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
"""Float32, (..., height, width)."""

BLOCK = 8
"""Side of the blocks in which energies are averaged: those of JPEG."""

_SPLINE = (0.0625, 0.25, 0.375, 0.25, 0.0625)


def spline_smooth(plane: Plane, spacing: int = 1) -> Plane:
    """Smooth with the cubic B-spline kernel (1, 4, 6, 4, 1) / 16, its taps ``spacing`` pixels apart.

    Source: Starck and Murtagh, "Astronomical image and data analysis", 2002, the a trous transform. Repeated
    with spacings 1, 2, 4 the standard deviations are 1, 2.2 and 4.6 pixels. Borders are mirrored.
    """
    return _along(_along(plane, spacing, -1), spacing, -2)


def _along(plane: Plane, spacing: int, axis: int) -> Plane:
    length, reach = plane.shape[axis], 2 * spacing
    margins = [(0, 0)] * plane.ndim
    margins[axis] = (reach, reach)
    padded = np.moveaxis(np.pad(plane, margins, mode="symmetric"), axis, 0)

    def tap(index: int) -> Plane:
        return padded[index * spacing : index * spacing + length]

    smooth = tap(2) * np.float32(_SPLINE[2])
    smooth += (tap(1) + tap(3)) * np.float32(_SPLINE[1])
    smooth += (tap(0) + tap(4)) * np.float32(_SPLINE[0])
    return np.moveaxis(smooth, 0, axis)


def blocks(plane: NDArray[np.generic], side: int = BLOCK) -> NDArray[np.generic]:
    """View (..., height, width) as (..., rows, side, columns, side); incomplete blocks are left out."""
    rows, columns = plane.shape[-2] // side, plane.shape[-1] // side
    whole = plane[..., : rows * side, : columns * side]
    return whole.reshape(*plane.shape[:-2], rows, side, columns, side)


def block_mean(plane: Plane, side: int = BLOCK) -> Plane:
    """Mean of each block: (..., height // side, width // side)."""
    # Two sums, the one over rows first, run through memory in order: several times as fast as one over both.
    mean: Plane = blocks(plane, side).sum(axis=-3).sum(axis=-1) / np.float32(side * side)
    return mean


def block_max(plane: Plane, side: int = BLOCK) -> Plane:
    """Largest value of each block."""
    return np.asarray(blocks(plane, side).max(axis=-3).max(axis=-1))


def block_min(plane: Plane, side: int = BLOCK) -> Plane:
    """Least value of each block."""
    return np.asarray(blocks(plane, side).min(axis=-3).min(axis=-1))


def by_places(plane: NDArray[np.generic]) -> list[list[NDArray[np.generic]]]:
    """Cut (height, width, ...) into 3 x 3 places of as equal size as can be, rows of places first.

    Of a plane with fewer than three rows or columns neighbouring places share them; none is ever empty.
    """
    rows, columns = (_thirds(length) for length in plane.shape[:2])
    return [[plane[row, column] for column in columns] for row in rows]


def _thirds(length: int) -> list[slice]:
    starts = [index * length // 3 for index in range(3)]
    ends = [max((index + 1) * length // 3, starts[index] + 1) for index in range(3)]
    return [slice(start, end) for start, end in zip(starts, ends, strict=True)]
