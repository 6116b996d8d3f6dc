"""Sharpness: how steep the steepest transitions are."""

from __future__ import annotations

import numpy as np

from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured


def sharpness(planes: Planes) -> Measured:
    """Steepness of the luma at edges, at native resolution.

    The maximum gradient in blocks of 8 x 8 pixels, its 90 % quantile over the blocks: flat areas, which say
    nothing about focus, do not count. Strong noise counts as steepness, which only the reading of
    :func:`foveal.attributes.noise.noise` tells from edges.

    Range: 0 (no edge) to 5.9. Unit: ln(1 + levels a pixel).
    Source: after the maximum-gradient blur measures; Vu, Phan and Chandler, "S3: a spectral and spatial
    measure of local perceived sharpness in natural images", IEEE TIP 21(3), 2012.
    """
    steepest = planes.steepest
    each = np.quantile(steepest.reshape(9, -1), 0.9, axis=1)
    local = np.log1p(each).astype(np.float32).reshape(3, 3)
    return Measured(float(np.log1p(np.quantile(steepest, 0.9))), local)
