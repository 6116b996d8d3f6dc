"""Halos: bright and dark seams along edges, from too much sharpening or from coarse coding."""

from __future__ import annotations

import numpy as np

from foveal.attributes.filters import Plane
from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured

_STRONG = 24.0
"""Least change of luma over two pixels that makes an edge, in levels."""
_CALM = 6.0
"""As many edge pixels without a halo are added to each tile: few edges prove little."""
_LARGEST = 0.5
_NEAR, _FAR = 1, 4
"""Distances from an edge, in pixels, between which luma falls back if there is a halo."""


def halos(planes: Planes) -> Measured:
    """Overshoot of luma at strong edges, relative to their height.

    Beyond an edge, luma one pixel away is compared with that four pixels away, on both sides.

    Range: -0.5 (edges still rise there: blurred) to 0.5; 0 is a clean edge. Unit: part of the edge's height,
    mean over strong edge pixels.
    Source: the ringing measure of Marziliano, Dufaux, Winkler and Ebrahimi, "Perceptual blur and ringing
    metrics: application to JPEG2000", Signal Processing: Image Communication 19(2), 2004, reduced to fixed
    distances.
    """
    luma = planes.fine
    totals, counts = np.add(_overshoots(luma), _overshoots(luma.swapaxes(1, 2)))
    local = (totals / (counts + _CALM)).astype(np.float32).reshape(3, 3)
    return Measured(float(totals.sum() / (counts.sum() + 9 * _CALM)), local)


def _overshoots(luma: Plane) -> tuple[Plane, Plane]:
    """Sum of overshoots along the rows of each tile, and number of strong edge pixels: float32 (9,) each."""
    edge = luma[:, :, _FAR + 1 : luma.shape[2] - _FAR + 1] - luma[:, :, _FAR - 1 : -_FAR - 1]
    tile, row, column = np.nonzero(np.abs(edge) > _STRONG)
    direction = np.sign(edge[tile, row, column])

    def level(offset: int) -> Plane:
        levels: Plane = luma[tile, row, column + (_FAR + offset)] * direction
        return levels

    beyond, before = level(_NEAR) - level(_FAR), level(-_FAR) - level(-_NEAR)
    height = np.abs(level(_NEAR) - level(-_NEAR)) + 8
    over = np.clip((beyond + before) / (2 * height), -_LARGEST, _LARGEST)
    totals = np.bincount(tile, weights=over, minlength=9).astype(np.float32)
    return totals, np.bincount(tile, minlength=9).astype(np.float32)
