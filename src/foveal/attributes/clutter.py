"""Clutter: how busy the image is, and how much of it is plain."""

from __future__ import annotations

import numpy as np

from foveal.attributes.filters import spline_smooth
from foveal.attributes.places import place_means
from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured

_PLAIN = 6.0
"""Steepest gradient of a plain block, in levels a pixel."""


def clutter(planes: Planes) -> Measured:
    """Mean amount of structure of about five to ten pixels in the reduced image.

    Range: -2.3 (empty) to about 3.5. Unit: ln(0.1 + levels), mean absolute value of the third band.
    Source: band energy as a correlate of clutter; Rosenholtz, Li and Nakano, "Measuring visual clutter",
    Journal of Vision 7(2), 2007, subband entropy.
    """
    smooth = spline_smooth(spline_smooth(planes.luma), 2)
    band = np.abs(smooth - spline_smooth(smooth, 4))
    return Measured(float(np.log(band.mean() + 0.1)), np.log(place_means(band) + np.float32(0.1)))


def plainness(planes: Planes) -> Measured:
    """Share of blocks of 8 x 8 pixels, at native resolution, without any edge.

    Range: 0 (structure everywhere) to 1 (none). Unit: share.
    Source: a plain count of blocks under a threshold.
    """
    plain = planes.steepest < _PLAIN
    return Measured(float(plain.mean()), plain.mean(axis=(1, 2)).astype(np.float32).reshape(3, 3))
