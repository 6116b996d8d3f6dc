"""Build a large picture strip by strip, so that intermediate forms never exist for all of it at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from foveal.imaging.views import Pixels

_WHOLE = 2**24
"""Pictures up to this many pixels are converted in one piece, which saves a copy."""
_STRIP = 2**21
"""Pixels in a strip of a larger picture."""


def in_strips(height: int, width: int, convert: Callable[[int, int], Pixels]) -> Pixels:
    """Join what ``convert(top, bottom)`` gives for successive rows, uint8 (bottom - top, width, 3).

    Args:
        height: of the whole picture in pixels.
        width: of the whole picture in pixels.
        convert: gives the rows from ``top`` up to but not including ``bottom``.

    Returns:
        uint8 (height, width, 3).
    """
    if height * width <= _WHOLE:
        return convert(0, height)
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        pixels[top:bottom] = convert(top, bottom)
    return pixels
