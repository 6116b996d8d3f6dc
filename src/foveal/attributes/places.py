"""Places: readings over a 3 x 3 grid of the image, and words for where they stand out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.attributes.filters import by_places
from foveal.attributes.reading import Places

PLACES = {
    "in the centre": ((1, 1),),
    "on the left": ((0, 0), (1, 0), (2, 0)),
    "on the right": ((0, 2), (1, 2), (2, 2)),
    "at the top": ((0, 0), (0, 1), (0, 2)),
    "at the bottom": ((2, 0), (2, 1), (2, 2)),
    "at the upper left": ((0, 0),),
    "at the upper right": ((0, 2),),
    "at the lower left": ((2, 0),),
    "at the lower right": ((2, 2),),
}
"""Phrase to cells (row, column) of the grid."""

_LEAST_SHARE = 0.4
"""Part of the variance between places that the place named must account for."""


def place_means(plane: NDArray[np.float32] | NDArray[np.bool_]) -> Places:
    """Mean of (height, width) at each place: float32 (3, 3)."""
    means = [[part.astype(np.float32).mean() for part in row] for row in by_places(plane)]
    return np.array(means, np.float32)


def centre_minus_rest(local: Places | None) -> float:
    """Reading at the centre minus the mean of the eight around it.

    Raises:
        ValueError: there are no local readings.
    """
    if local is None:
        raise ValueError("this meter gives no local readings, so its centre is not known")
    return float(local[1, 1] - (local.sum() - local[1, 1]) / 8)


def place_words(local: Places, least: float) -> str | None:
    """Say where readings stand out.

    Args:
        local: float32 (3, 3), rows first.
        least: smallest difference between places that is worth a word.

    Returns:
        "strongest ..." or "weakest ..." with a place; None if they differ by less than ``least``, or in a way
        that no single place describes.
    """
    values = local.astype(np.float64)
    if values.max() - values.min() < least or values.max() == values.min():
        return None
    total = float(((values - values.mean()) ** 2).sum())
    shares = {place: _signed_share(values, cells) / total for place, cells in PLACES.items()}
    place = max(shares, key=lambda name: abs(shares[name]))
    if abs(shares[place]) < _LEAST_SHARE:
        return None
    if shares[place] < 0 and place == "in the centre":
        return "strongest towards the edges"
    return f"{'strongest' if shares[place] > 0 else 'weakest'} {place}"


def _signed_share(values: NDArray[np.float64], cells: tuple[tuple[int, int], ...]) -> float:
    """Sum of squares between a place and the rest, with the sign of their difference."""
    inside = np.zeros((3, 3), bool)
    inside[tuple(zip(*cells, strict=True))] = True
    difference = float(values[inside].mean() - values[~inside].mean())
    count = len(cells)
    return abs(difference) * difference * count * (9 - count) / 9
