"""Colour: how much, how pure, and towards which hue the image leans."""

from __future__ import annotations

import numpy as np

from foveal.attributes.filters import Plane, by_places
from foveal.attributes.places import place_means
from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured

_GREENER = 8.0
"""By how many levels green exceeds red and blue in what counts as green."""


def hasler_suesstrunk(red_green: Plane, yellow_blue: Plane) -> float:
    """Colourfulness of a set of pixels.

    Args:
        red_green: R - G in levels, of any shape.
        yellow_blue: (R + G) / 2 - B, of the same shape.

    Returns:
        M: 0 (grey) to about 190; 15 is slightly, 33 moderately, 59 quite, 109 extremely colourful.

    Source: Hasler and Suesstrunk, "Measuring colourfulness in natural images", SPIE 5007, 2003, the third
    of their metrics.
    """
    spread = np.hypot(float(red_green.std()), float(yellow_blue.std()))
    return float(spread + 0.3 * np.hypot(float(red_green.mean()), float(yellow_blue.mean())))


def colourfulness(planes: Planes) -> Measured:
    """How colourful the image is.

    Range: 0 (grey) to about 5.3. Unit: ln(1 + M), M as in :func:`hasler_suesstrunk`.
    Source: Hasler and Suesstrunk, SPIE 5007, 2003.
    """
    pairs = [zip(*rows, strict=True) for rows in zip(*map(by_places, planes.opponents), strict=True)]
    local = np.array([[hasler_suesstrunk(*pair) for pair in row] for row in pairs], np.float32)
    return Measured(float(np.log1p(hasler_suesstrunk(*planes.opponents))), np.log1p(local))


def saturation(planes: Planes) -> Measured:
    """Mean purity of colour.

    Range: 0 (grey) to 1. Unit: (max - min) / (max + 1) of red, green and blue, mean over the pixels.
    Source: saturation of HSV; Smith, "Color gamut transform pairs", SIGGRAPH 1978.
    """
    most = planes.rgb.max(axis=0)
    purity = (most - planes.rgb.min(axis=0)) / (most + 1)
    return Measured(float(purity.mean()), place_means(purity))


def colour_cast(planes: Planes) -> Measured:
    """How far the mean colour is from grey.

    Range: 0 (balanced) to 5.6. Unit: ln(1 + levels), length of the mean opponent-colour vector.
    Source: the grey-world assumption; Buchsbaum, "A spatial processor model for object colour perception",
    Journal of the Franklin Institute 310(1), 1980.
    """
    red_green, yellow_blue = planes.opponents
    return Measured(float(np.log1p(np.hypot(float(red_green.mean()), float(yellow_blue.mean())))))


def warmth(planes: Planes) -> Measured:
    """Whether the image leans to yellow or to blue.

    Range: -255 (blue) to 255 (yellow). Unit: levels, mean of (R + G) / 2 - B.
    Source: the yellow-blue opponent of Hasler and Suesstrunk, SPIE 5007, 2003.
    """
    yellow_blue = planes.opponents[1]
    return Measured(float(yellow_blue.mean()), place_means(yellow_blue))


def greenery(planes: Planes) -> Measured:
    """Share of pixels in which green exceeds red and blue by 8 levels: foliage, mostly.

    Range: -2 (none) to 0 (all). Unit: log10(0.01 + share).
    Source: excess green; Woebbecke et al., "Color indices for weed identification", Transactions of the ASAE
    38(1), 1995.
    """
    red, green, blue = planes.rgb
    share = green > np.maximum(red, blue) + np.float32(_GREENER)
    return Measured(float(np.log10(share.mean() + 0.01)), np.log10(place_means(share) + np.float32(0.01)))
