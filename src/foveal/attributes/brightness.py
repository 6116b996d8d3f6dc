"""Brightness: of the whole image, and of its centre against the rest."""

from __future__ import annotations

from foveal.attributes.places import centre_minus_rest, place_means
from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured


def brightness(planes: Planes) -> Measured:
    """Mean luma.

    Range: 0 (black) to 255 (white). Unit: levels.
    Source: luma of ITU-R BT.601.
    """
    return Measured(float(planes.luma.mean()), place_means(planes.luma))


def subject_light(planes: Planes) -> Measured:
    """Mean luma of the centre minus that of the places around it.

    Range: -255 (a dark centre in bright surroundings: light from behind) to 255. Unit: levels.
    Source: luma of ITU-R BT.601, at nine places.
    """
    return Measured(centre_minus_rest(place_means(planes.luma)))
