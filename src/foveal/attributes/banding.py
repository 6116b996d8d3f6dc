"""Banding: smooth shading that moves in visible steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.attributes.filters import Plane
from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured

_HIGHEST_STEP = 40.0
"""In levels; higher steps are edges of things."""
_LEAST = 1e-4


def banding(planes: Planes) -> Measured:
    """Share of pixels at small steps between runs of exactly the same luma.

    A step counts if it is at most 40 levels high and the three differences on either side of it, along the
    same row or column, are zero.

    Range: -4 (none) to 0.3. Unit: log10(0.0001 + share of rows + share of columns).
    Source: after the false-contour detectors for decoded video; Wang, Kum, Chen and Kokaram, "A perceptual
    visibility metric for banding artifacts", ICIP 2016: uniform segments and their edges.
    """
    right, down = planes.steps
    share = _share_of_lone_steps(right) + _share_of_lone_steps(down.swapaxes(1, 2))
    local = np.log10(share + _LEAST).astype(np.float32).reshape(3, 3)
    return Measured(float(np.log10(share.mean() + _LEAST)), local)


def _share_of_lone_steps(steps: Plane) -> NDArray[np.float64]:
    """Of each tile, along its rows: float64 (9,)."""
    height = np.abs(steps)
    none = height == 0
    low = (height <= _HIGHEST_STEP) & ~none
    run = none[:, :, :-2] & none[:, :, 1:-1] & none[:, :, 2:]
    alone = low[:, :, 3:-3] & run[:, :, :-4] & run[:, :, 4:]
    share: NDArray[np.float64] = alone.mean(axis=(1, 2))
    return share
