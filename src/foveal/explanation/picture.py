"""The map of local quality as a picture: colours over the image in grey, with a legend."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from foveal.assessment import HIGHEST, LOWEST
from foveal.explanation.colours import colours
from foveal.imaging.views import Pixels

LONGEST = 640
"""Longer side of the thumbnail, in pixels."""

_STRENGTH = 0.6
_MARGIN, _BAR, _TEXT = 16, 14, 15
_INK, _PAPER = (31, 35, 40), (255, 255, 255)
_ENDS = {LOWEST: "bad", HIGHEST: "excellent"}


def thumbnail(pixels: Pixels, longest: int = LONGEST) -> Image.Image:
    """The image, reduced so that its longer side is at most ``longest`` pixels, shape kept; never enlarged.

    Args:
        pixels: uint8 (height, width, 3).
        longest: in pixels.
    """
    picture = Image.fromarray(pixels)
    scale = min(1.0, longest / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def overlay(picture: Image.Image, quality_map: NDArray[np.float32]) -> Image.Image:
    """Lay the colours of local quality over an image in grey.

    Args:
        picture: the image, in RGB.
        quality_map: float32 (rows, columns) on 1-5: places of the image in a regular grid. Between their
            middles quality is interpolated linearly; beyond the outermost it stays.

    Returns:
        A picture of the same size.
    """
    local = Image.fromarray(np.ascontiguousarray(quality_map, np.float32))
    smooth = np.asarray(local.resize(picture.size, Image.Resampling.BILINEAR))
    grey = np.asarray(picture.convert("L"), np.float64)[:, :, None]
    mixed = (1 - _STRENGTH) * grey + _STRENGTH * colours(smooth)
    return Image.fromarray(np.round(mixed).astype(np.uint8))


def map_picture(pixels: Pixels, quality_map: NDArray[np.float32], longest: int = LONGEST) -> bytes:
    """The map over the image, with its legend below, as PNG.

    Args:
        pixels: uint8 (height, width, 3).
        quality_map: float32 (rows, columns) on 1-5; see :func:`overlay`.
        longest: longer side of the image in it, in pixels.
    """
    over = overlay(thumbnail(pixels, longest), quality_map)
    font = ImageFont.load_default(_TEXT)
    width = max(over.width, 20 * _TEXT)
    page = Image.new("RGB", (width, over.height + 3 * _MARGIN + _BAR + _TEXT), _PAPER)
    page.paste(over, ((width - over.width) // 2, 0))
    draw = ImageDraw.Draw(page)
    left, right, top = _MARGIN, width - _MARGIN, over.height + _MARGIN
    scale = np.linspace(LOWEST, HIGHEST, right - left)
    page.paste(Image.fromarray(np.repeat(colours(scale)[None], _BAR, axis=0)), (left, top))
    for quality in range(int(LOWEST), int(HIGHEST) + 1):
        across = left + (right - left - 1) * (quality - LOWEST) / (HIGHEST - LOWEST)
        draw.line([(across, top + _BAR), (across, top + _BAR + 4)], _INK)
        anchor = {LOWEST: "la", HIGHEST: "ra"}.get(quality, "ma")
        text = f"{quality} {_ENDS[quality]}" if quality in _ENDS else str(quality)
        draw.text((across, top + _BAR + 6), text, _INK, font, anchor)
    _mark(draw, quality_map, (left, right, top))
    return _png(page)


def _mark(draw: ImageDraw.ImageDraw, quality_map: NDArray[np.float32], bar: tuple[int, int, int]) -> None:
    """Show on the legend which part of the scale the image takes."""
    left, right, top = bar
    ends = (float(quality_map.min()), float(quality_map.max()))
    first, last = (left + (right - left - 1) * (end - LOWEST) / (HIGHEST - LOWEST) for end in ends)
    draw.rectangle([(first - 2, top - 3), (last + 2, top + _BAR + 2)], outline=_INK, width=2)


def _png(picture: Image.Image) -> bytes:
    written = io.BytesIO()
    picture.save(written, "PNG", optimize=True)
    return written.getvalue()
