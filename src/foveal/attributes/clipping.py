"""Clipping: parts that are plain white or plain black."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.attributes.places import place_means
from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured

_WHITE, _BLACK = 250.0, 8.0
_LEAST = 1e-4


def highlights(planes: Planes) -> Measured:
    """Share of pixels at the white end: all three colours at 250 or more.

    Range: -4 (none) to 0 (all). Unit: log10(0.0001 + share).
    Source: counting clipped pixels, as the exposure warnings of cameras do.
    """
    return _share(planes.rgb.min(axis=0) >= _WHITE)


def shadows(planes: Planes) -> Measured:
    """Share of pixels at the black end: luma of 8 or less.

    Range: -4 (none) to 0 (all). Unit: log10(0.0001 + share).
    Source: counting clipped pixels, as the exposure warnings of cameras do.
    """
    return _share(planes.luma <= _BLACK)


def _share(clipped: NDArray[np.bool_]) -> Measured:
    local = np.log10(place_means(clipped) + np.float32(_LEAST))
    return Measured(float(np.log10(clipped.mean() + _LEAST)), local)
