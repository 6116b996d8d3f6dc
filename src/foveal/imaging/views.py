"""Views: the fixed-size pictures that an assessor looks at, cut from decoded pixels.

Every assessor sees an image twice, as the eye does: the *whole* at low resolution (composition, exposure,
meaning) and *fragments* of it at native resolution (sharpness, noise, blocking). All functions here are
pure: the same pixels give the same view, on any machine, in any batch.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""An image as decoded: uint8, shape (height, width, 3), sRGB."""

SIDE = 224
"""Side of a square view in pixels: the input size of the ViT family."""
GRID = 7
"""Fragments a side."""
CELL = SIDE // GRID
"""Side of one fragment in pixels: 32, two by two ViT patches, so that no patch straddles a seam."""

# Pillow shrinks by the largest whole factor first (box filter) and resamples the rest: half the time at
# 512 x 512, far less at many megapixels, and no worse an agreement with people (docs/decisions.md).
_REDUCING_GAP = 1.0

_MOST_ENLARGED = 2**26
"""Pixels of the largest enlarged image: reached by shapes of 1:1337 and beyond."""


def whole_view(pixels: Pixels, side: int = SIDE) -> Pixels:
    """Resize the whole image to a square, whatever its shape.

    Args:
        pixels: uint8 (height, width, 3).
        side: side of the view in pixels.

    Returns:
        uint8 (side, side, 3), antialiased bicubic.
    """
    return _resize(pixels, side, side)


def fragment_view(
    pixels: Pixels, offsets: NDArray[np.float64] | None = None, *, grid: int = GRID, cell: int = CELL
) -> Pixels:
    """Splice native-resolution crops, one from each cell of a regular grid, into one picture.

    This is the grid mini-patch sampling of FAST-VQA (Wu et al., ECCV 2022) on still images, as GLIANet's
    local stream uses it: ``grid`` x ``grid`` crops of ``cell`` pixels, aligned to the patch grid of a ViT.
    An image smaller than the grid is enlarged first, just enough to hold it.

    Args:
        pixels: uint8 (height, width, 3).
        offsets: float (grid, grid, 2) in [0, 1): where in its cell each crop lies (down, right). By default
            they come from the image's content, so a score never depends on a seed: the
            :func:`content_offsets` of its whole view.
        grid: crops a side.
        cell: side of a crop in pixels.

    Returns:
        uint8 (grid * cell, grid * cell, 3).
    """
    if offsets is None:
        offsets = content_offsets(whole_view(pixels), grid=grid)
    if offsets.shape != (grid, grid, 2):
        raise ValueError(f"offsets have shape {offsets.shape}, expected {(grid, grid, 2)}")
    pixels = enlarge_to(pixels, grid * cell)
    height, width = pixels.shape[:2]
    tops = _crop_starts(height, grid, cell, offsets[:, :, 0])
    lefts = _crop_starts(width, grid, cell, offsets[:, :, 1].T).T
    view = np.empty((grid * cell, grid * cell, 3), np.uint8)
    for row in range(grid):
        for column in range(grid):
            top, left = tops[row, column], lefts[row, column]
            crop = pixels[top : top + cell, left : left + cell]
            view[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = crop
    return view


def crop_view(pixels: Pixels, centre: tuple[float, float] = (0.5, 0.5), side: int = SIDE) -> Pixels:
    """Cut one native-resolution square.

    Args:
        pixels: uint8 (height, width, 3); enlarged first if it is smaller than the crop.
        centre: where the crop lies, (down, right), each in [0, 1]: 0 touches the top or left edge, 1 the
            other.
        side: side of the crop in pixels.

    Returns:
        uint8 (side, side, 3).
    """
    if not all(0.0 <= part <= 1.0 for part in centre):
        raise ValueError(f"centre is {centre}, expected two numbers in [0, 1]")
    pixels = enlarge_to(pixels, side)
    top = round(centre[0] * (pixels.shape[0] - side))
    left = round(centre[1] * (pixels.shape[1] - side))
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def enlarge_to(pixels: Pixels, least: int) -> Pixels:
    """Return the image itself, or enlarged so that its shorter side is ``least`` pixels, shape kept.

    Of a mere line of pixels the longer side is limited: a few thousand of them would fill gigabytes.
    """
    height, width = pixels.shape[:2]
    return _resize(pixels, *enlarged_size(height, width, least))


def enlarged_size(height: int, width: int, least: int) -> tuple[int, int]:
    """Height and width that :func:`enlarge_to` gives an image of this size."""
    shorter = min(height, width)
    if shorter >= least:
        return height, width
    scale = least / shorter
    longest = max(least, _MOST_ENLARGED // least)
    height, width = (min(longest, max(least, round(side * scale))) for side in (height, width))
    return height, width


def content_offsets(whole: Pixels, *, draw: int = 0, grid: int = GRID) -> NDArray[np.float64]:
    """Fragment offsets that depend on the image alone.

    The seed is a hash of the whole view, which every pixel of the image influences and which is needed
    anyway; hashing all pixels of a large photograph would cost as much as judging it.

    Args:
        whole: the image's :func:`whole_view`, uint8 (side, side, 3).
        draw: number of the draw, for averages over several sets of fragments.
        grid: crops a side.

    Returns:
        float64 (grid, grid, 2), uniform in [0, 1).
    """
    seed = hashlib.blake2b(repr((whole.shape, draw)).encode(), digest_size=32)
    seed.update(whole.tobytes())
    # SHAKE gives as many bytes as wanted and the same ones for ever; NumPy's generators do not promise that.
    stream = hashlib.shake_256(seed.digest()).digest(grid * grid * 2 * 4)
    return np.frombuffer(stream, "<u4").reshape(grid, grid, 2).astype(np.float64) / 2.0**32


def _crop_starts(length: int, grid: int, cell: int, offsets: NDArray[np.float64]) -> NDArray[np.int64]:
    """First pixel of each crop along one axis; ``offsets`` (grid, any): row i holds those of cell i."""
    edges = np.arange(grid + 1) * length // grid
    slack = np.diff(edges) - cell
    starts: NDArray[np.int64] = edges[:-1, None] + np.floor(offsets * (slack[:, None] + 1)).astype(np.int64)
    return starts


def _resize(pixels: Pixels, height: int, width: int) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    picture = Image.fromarray(pixels)
    resized = picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=_REDUCING_GAP)
    return np.asarray(resized)
