"""What the meters look at: an image's pixels prepared once, shared by all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveal.attributes.filters import BLOCK, Plane, block_max, block_mean, spline_smooth
from foveal.imaging.views import Pixels

WHOLE_SIDE = 512
"""Shorter side at most, in pixels, of the image that global attributes are measured on."""
TILE_SIDE = 192
"""Side at most, in pixels, of the nine tiles that fine attributes are measured on."""

_LONGEST = 4 * WHOLE_SIDE
_LEAST_TILE = 64
_LEAST_SIDE = 2 * BLOCK


@dataclass(frozen=True, eq=False)
class Planes:
    """An image as the meters need it; derived planes are computed when first asked for, then kept.

    Attributes:
        whole: the whole image, reduced to a shorter side of at most 512 pixels; uint8 (height, width, 3).
        tiles: nine crops at native resolution, one from each place of a 3 x 3 grid, rows first, their corners
            on multiples of 8 pixels; uint8 (9, height, width, 3), sides multiples of 8 from 16 to 192.
    """

    whole: Pixels
    tiles: NDArray[np.uint8]

    @cached_property
    def rgb(self) -> Plane:
        """The whole image, 0-255: float32 (3, height, width)."""
        return np.ascontiguousarray(np.moveaxis(self.whole, -1, 0)).astype(np.float32)

    @cached_property
    def luma(self) -> Plane:
        """Luma of the whole image, 0-255: float32 (height, width)."""
        return _luma(self.rgb)

    @cached_property
    def opponents(self) -> tuple[Plane, Plane]:
        """Red minus green, and yellow minus blue, of the whole image: two float32 (height, width)."""
        return _opponents(self.rgb)

    @cached_property
    def fine_rgb(self) -> Plane:
        """The tiles, 0-255: float32 (3, 9, height, width)."""
        return np.ascontiguousarray(np.moveaxis(self.tiles, -1, 0)).astype(np.float32)

    @cached_property
    def fine(self) -> Plane:
        """Luma of the tiles, 0-255: float32 (9, height, width)."""
        return _luma(self.fine_rgb)

    @cached_property
    def fine_opponents(self) -> tuple[Plane, Plane]:
        """Red minus green, and yellow minus blue, of the tiles: two float32 (9, height, width)."""
        return _opponents(self.fine_rgb)

    @cached_property
    def steps(self) -> tuple[Plane, Plane]:
        """Differences to the next pixel on the right and below, of the tiles' luma.

        Returns:
            float32 (9, height, width - 1) and (9, height - 1, width).
        """
        return self.fine[:, :, 1:] - self.fine[:, :, :-1], self.fine[:, 1:] - self.fine[:, :-1]

    @cached_property
    def bands(self) -> tuple[Plane, Plane, Plane]:
        """Luma of the tiles in three bands of details: below about 2, 5 and 10 pixels; float32, (9, h, w)."""
        first = spline_smooth(self.fine)
        second = spline_smooth(first, 2)
        third = spline_smooth(second, 4)
        return self.fine - first, first - second, second - third

    @cached_property
    def energies(self) -> tuple[Plane, Plane, Plane]:
        """Mean absolute value of each band in blocks of 8 x 8: float32 (9, height / 8, width / 8)."""
        first, second, third = (block_mean(np.abs(band)) for band in self.bands)
        return first, second, third

    @cached_property
    def steepest(self) -> Plane:
        """Steepest luma gradient in each block of 8 x 8, levels a pixel.

        Returns:
            float32 (9, height / 8, width / 8).
        """
        right, down = np.zeros_like(self.fine), np.zeros_like(self.fine)
        right[:, :, :-1], down[:, :-1] = self.steps
        return np.sqrt(block_max(right * right + down * down))


def prepare(pixels: Pixels) -> Planes:
    """Reduce an image and cut its tiles.

    Args:
        pixels: uint8 (height, width, 3), sRGB. Sides below 16 pixels are made up by mirroring.

    Raises:
        ValueError: another type or shape, or no pixels.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        found = f"{pixels.dtype} of shape {pixels.shape}"
        raise ValueError(f"pixels are {found}, expected uint8 of shape (height, width, 3): decode them first")
    if 0 in pixels.shape:
        raise ValueError(f"pixels have shape {pixels.shape}: there is nothing to measure")
    lacking = [max(0, _LEAST_SIDE - side) for side in pixels.shape[:2]]
    if any(lacking):
        pixels = np.pad(pixels, [(0, lacking[0]), (0, lacking[1]), (0, 0)], mode="symmetric")
    return Planes(_reduced(pixels), _tiles(pixels))


def _reduced(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    scale = min(
        1.0,
        WHOLE_SIDE / min(height, width),
        max(_LONGEST / max(height, width), _LEAST_SIDE / min(height, width)),
    )
    if scale == 1.0:
        return pixels
    size = (max(_LEAST_SIDE, round(width * scale)), max(_LEAST_SIDE, round(height * scale)))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BOX, reducing_gap=1.0)
    return np.asarray(picture)


def _tiles(pixels: Pixels) -> NDArray[np.uint8]:
    (tops, height), (lefts, width) = (_tile_starts(side) for side in pixels.shape[:2])
    return np.stack([pixels[top : top + height, left : left + width] for top in tops for left in lefts])


def _tile_starts(side: int) -> tuple[list[int], int]:
    """First pixels of three tiles along a side, in the middles of its thirds, and their length."""
    length = min(side, TILE_SIDE, max(side // 3, _LEAST_TILE)) // BLOCK * BLOCK
    middles = [(2 * third + 1) * side // 6 for third in range(3)]
    starts = [min(max(0, middle - length // 2), side - length) // BLOCK * BLOCK for middle in middles]
    return starts, length


def _luma(rgb: Plane) -> Plane:
    """ITU-R BT.601 luma, the Y of JPEG."""
    luma: Plane = rgb[0] * np.float32(0.299)
    luma += rgb[1] * np.float32(0.587)
    luma += rgb[2] * np.float32(0.114)
    return luma


def _opponents(rgb: Plane) -> tuple[Plane, Plane]:
    red, green, blue = rgb
    return red - green, (red + green) * np.float32(0.5) - blue
