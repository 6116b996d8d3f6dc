"""Motion blur: fine detail is missing in one direction but not in that across it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured

_FINE, _COARSE = 1, 10
"""Distances in pixels over which luma is compared."""


def motion_blur(planes: Planes) -> Measured:
    """How differently fine detail survives along and across a direction.

    For four directions the mean change of luma over one pixel is related to that over ten, so that the
    orientation of what is shown (a fence, a horizon) largely cancels. Blur of equal strength in all
    directions gives zero; the two pairs of perpendicular directions are combined as a vector.

    Range: 0 (none) to about 2. Unit: length of the vector of ln ratios, mean of the nine places.
    Source: the directional spectra of motion blur; Liu, Li and Jia, "Image partial blur detection and
    classification", CVPR 2008, there on local autocorrelation.
    """
    luma = planes.fine
    kept = np.log([_kept(luma, *step) for step in ((0, 1), (1, 0), (1, 1), (1, -1))])
    local = np.hypot(kept[0] - kept[1], kept[2] - kept[3])
    return Measured(float(local.mean()), local.astype(np.float32).reshape(3, 3))


def _kept(luma: NDArray[np.float32], down: int, right: int) -> NDArray[np.float64]:
    """Ratio of fine to coarse change in one direction, of each tile; the added constants calm flat tiles."""
    fine = _change(luma, down * _FINE, right * _FINE)
    return (fine + 0.2) / (_change(luma, down * _COARSE, right * _COARSE) + 0.4)


def _change(luma: NDArray[np.float32], down: int, right: int) -> NDArray[np.float64]:
    height, width = luma.shape[1:]
    first = luma[:, down:, max(0, right) : width + min(0, right)]
    second = luma[:, : height - down, max(0, -right) : width + min(0, -right)]
    change: NDArray[np.float64] = np.abs(first - second).mean(axis=(1, 2)).astype(np.float64)
    return change
