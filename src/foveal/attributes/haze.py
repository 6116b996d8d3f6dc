"""Haze: a veil of light over everything, even over what is dark."""

from __future__ import annotations

from foveal.attributes.filters import block_min
from foveal.attributes.places import place_means
from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured

_PATCH = 16
"""Side of a patch in pixels of the reduced image; the paper has 15."""


def haze(planes: Planes) -> Measured:
    """Mean of the dark channel: the least of all three colours in each patch.

    Range: 0 (each patch has something dark or purely coloured) to 255. Unit: levels. Plain white backgrounds
    raise it as well.
    Source: He, Sun and Tang, "Single image haze removal using dark channel prior", CVPR 2009.
    """
    dark = block_min(planes.rgb.min(axis=0), _PATCH)
    return Measured(float(dark.mean()), place_means(dark))
