"""Contrast: over the whole image, between its darkest and lightest parts, and within small parts."""

from __future__ import annotations

import numpy as np

from foveal.attributes.filters import block_mean, by_places
from foveal.attributes.places import place_means
from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured

_PART = 16
"""Side of a small part, in pixels of the reduced image."""


def contrast(planes: Planes) -> Measured:
    """Standard deviation of luma.

    Range: 0 (one even grey) to 127.5. Unit: levels.
    Source: RMS contrast; Peli, "Contrast in complex images", JOSA A 7(10), 1990.
    """
    local = [[part.std() for part in row] for row in by_places(planes.luma)]
    return Measured(float(planes.luma.std()), np.array(local, np.float32))


def tonal_range(planes: Planes) -> Measured:
    """Distance between dark and light: luma at the 98 % quantile minus luma at the 2 % quantile.

    Range: 0 to 255. Unit: levels.
    Source: the robust range of a histogram, as in automatic levels.
    """
    luma = planes.luma
    cumulated = np.cumsum(np.bincount(luma.astype(np.uint8).ravel(), minlength=256)) / luma.size
    low, high = np.searchsorted(cumulated, (0.02, 0.98))
    return Measured(float(high - low))


def local_contrast(planes: Planes) -> Measured:
    """Mean standard deviation of luma within parts of 16 x 16 pixels of the reduced image.

    Range: 0 to 4.9. Unit: ln(1 + levels).
    Source: RMS contrast in blocks; Peli, JOSA A 7(10), 1990.
    """
    luma = planes.luma
    mean = block_mean(luma, _PART)
    deviation = np.sqrt(np.maximum(block_mean(luma * luma, _PART) - mean * mean, 0))
    return Measured(float(np.log1p(deviation.mean())), np.log1p(place_means(deviation)))
