"""Colours of quality: one scale for pictures, pages and terminals, told apart by all common kinds of sight.

Orange for what looks bad, blue for what looks good, grey between: no colour-blind eye takes one of these for
another (Okabe and Ito 2008). The same quality has the same colour everywhere, whatever the picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.assessment import HIGHEST, LOWEST

STOPS = ("#a63603", "#e6771d", "#d9d9d9", "#3f8fc4", "#08437f")
"""At 1, 2, 3, 4 and 5; between them colours are mixed."""


def colours(qualities: ArrayLike) -> NDArray[np.uint8]:
    """Colour of each quality.

    Args:
        qualities: (...) on 1-5; what lies beyond takes the colour of the end.

    Returns:
        uint8 (..., 3), sRGB.
    """
    values = np.asarray(qualities, np.float64)
    stops = np.array([[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in STOPS], np.float64)
    places = np.linspace(LOWEST, HIGHEST, len(stops))
    mixed = [np.interp(values, places, stops[:, channel]) for channel in range(3)]
    return np.round(np.stack(mixed, axis=-1)).astype(np.uint8)


def hexadecimal(quality: float) -> str:
    """Colour of a quality as ``#rrggbb``."""
    red, green, blue = colours(quality)
    return f"#{red:02x}{green:02x}{blue:02x}"
