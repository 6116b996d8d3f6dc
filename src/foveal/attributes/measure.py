"""Measure all attributes of an image."""

from __future__ import annotations

import numpy as np

from foveal.attributes.places import place_words
from foveal.attributes.planes import Planes, prepare
from foveal.attributes.reading import Attribute, Measured, Places, Reading
from foveal.attributes.table import ATTRIBUTES
from foveal.imaging.views import Pixels

_WORTH_A_WORD = 0.5
"""Smallest difference between places, in units of the distance between the outer thresholds."""


def measure(pixels: Pixels) -> dict[str, Reading]:
    """Read every meter.

    Args:
        pixels: uint8 (height, width, 3), sRGB, of any size from 1 x 1.

    Returns:
        A reading for each of :data:`foveal.attributes.ATTRIBUTES`, in its order. The same pixels give the
        same numbers, always.

    Raises:
        ValueError: another type or shape, or no pixels.
    """
    planes = prepare(pixels)
    return {name: _read(attribute, planes) for name, attribute in ATTRIBUTES.items()}


def _read(attribute: Attribute, planes: Planes) -> Reading:
    measured = attribute.meter(planes)
    degree = attribute.degree(measured.value)
    local = _local(attribute, measured)
    least = _WORTH_A_WORD * (attribute.thresholds[3] - attribute.thresholds[0])
    lacking = attribute.seen_from is not None and degree == 0
    place = None if local is None or lacking else place_words(local, least)
    return Reading(measured.value, degree, attribute.degrees[degree], local, place)


def _local(attribute: Attribute, measured: Measured) -> Places | None:
    if not attribute.local or measured.local is None:
        return None
    local = np.ascontiguousarray(measured.local, np.float32)
    local.flags.writeable = False
    return local
