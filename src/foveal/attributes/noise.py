"""Noise: grain in the flattest parts, of luma and of colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.attributes.filters import Plane, block_mean, spline_smooth
from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured

_FLATTEST = 0.2
_DARKEST, _LIGHTEST = 8.0, 247.0
"""Mean luma between which a block counts: grain is cut off near black and white."""


def noise_sigma(planes: Planes) -> tuple[float, NDArray[np.float64]]:
    """Standard deviation of the noise in luma, in levels of 0-255.

    Returns:
        That of the image, and of each of the nine tiles: float64 (9,).

    Source: Immerkaer, "Fast noise variance estimation", CVIU 64(2), 1996: the mean absolute
    response to a difference of two Laplacians times sqrt(pi / 2) / 6; here in blocks, of which the flattest
    fifth counts, for texture is not noise. Flat means without structure of about ten pixels: a regular
    texture finer than that, with nothing coarser in it, is taken for noise.
    """
    return _in_flattest(planes, block_mean(_immerkaer(planes.fine)))


def noise(planes: Planes) -> Measured:
    """Grain in luma.

    Range: -2.3 (none) to 5. Unit: ln(0.1 + :func:`noise_sigma`).
    Source: Immerkaer, CVIU 64(2), 1996.
    """
    return _logarithmic(*noise_sigma(planes))


def colour_noise(planes: Planes) -> Measured:
    """Blotches of colour, two to five pixels wide, in flat parts: what raw noise becomes in a camera.

    Range: -2.3 (none) to 5. Unit: ln(0.1 + levels), mean absolute value of the middle band of the two
    opponent colours, summed.
    Source: the opponent colours of Hasler and Suesstrunk, SPIE 5007, 2003; bands of
    :mod:`foveal.attributes.filters`.
    """
    total = np.zeros_like(planes.fine)
    for opponent in planes.fine_opponents:
        smooth = spline_smooth(opponent)
        total += np.abs(smooth - spline_smooth(smooth, 2))
    return _logarithmic(*_in_flattest(planes, block_mean(total)))


def _immerkaer(luma: Plane) -> Plane:
    """Estimate at each pixel, as large as the luma: the rows and columns at the border are repeated."""
    across = luma[:, :, :-2] + luma[:, :, 2:] - 2 * luma[:, :, 1:-1]
    both = across[:, :-2] + across[:, 2:] - 2 * across[:, 1:-1]
    estimate = np.abs(both) * np.float32(np.sqrt(np.pi / 2) / 6)
    return np.pad(estimate, [(0, 0), (1, 1), (1, 1)], mode="edge")


def _in_flattest(planes: Planes, values: Plane) -> tuple[float, NDArray[np.float64]]:
    """Median of a plane of blocks over the flattest of them; of all tiles, and of each."""
    structure = planes.energies[2].reshape(9, -1)
    luma = block_mean(planes.fine).reshape(9, -1)
    usable = (luma > _DARKEST) & (luma < _LIGHTEST)
    values = values.reshape(9, -1)
    each = [_median(*tile) for tile in zip(values, structure, usable, strict=True)]
    return _median(values.ravel(), structure.ravel(), usable.ravel()), np.array(each)


def _median(values: Plane, structure: Plane, usable: NDArray[np.bool_]) -> float:
    if usable.any():
        values, structure = values[usable], structure[usable]
    return float(np.median(values[structure <= np.quantile(structure, _FLATTEST)]))


def _logarithmic(value: float, each: NDArray[np.float64]) -> Measured:
    return Measured(float(np.log(value + 0.1)), np.log(each + 0.1).astype(np.float32).reshape(3, 3))
