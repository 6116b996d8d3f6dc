"""Decode an image from wherever it comes into upright 8-bit sRGB pixels, with every guard on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image

from foveal.imaging.arrays import pixels_of_array
from foveal.imaging.colour import Background, converter_for
from foveal.imaging.formats import decoding, load, open_picture
from foveal.imaging.limits import Limits
from foveal.imaging.sources import Source, byte_stream, name_of
from foveal.imaging.strips import in_strips
from foveal.imaging.views import Pixels

__all__ = ["DEFAULT_LIMITS", "WHITE", "Decoded", "Limits", "Source", "decode", "name_of"]

DEFAULT_LIMITS = Limits()
WHITE: Background = (255, 255, 255)

_SEQUENCES = {"AVIF", "DCX", "FLI", "GIF", "PNG", "TIFF", "WEBP"}
"""Formats whose further frames are pictures in their own right; elsewhere they are layers or previews."""

_LEVELS = set(range(256))

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation (CIPA DC-008, tag 274) to the operation that undoes it."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """An image ready to be looked at.

    Attributes:
        pixels: uint8 (height, width, 3), sRGB, upright, read-only.
        name: path of the file, or the kind of source in angle brackets.
        warnings: what the reader should know: further frames not judged, a broken profile, transparency.
    """

    pixels: Pixels
    name: str
    warnings: tuple[str, ...]


def decode(source: Source, *, limits: Limits = DEFAULT_LIMITS, background: Background = WHITE) -> Decoded:
    """Decode one image.

    EXIF orientation is applied, embedded ICC profiles and CMYK are converted to sRGB, more than 8 bits are
    scaled down, palettes resolved, transparency is laid on ``background``; of an animation the first frame is
    taken. Safe to call from several threads; changes no setting of Pillow.

    Args:
        source: a path; encoded bytes; a binary file object; a Pillow image (its current frame); or an array
            (see :func:`foveal.imaging.arrays.pixels_of_array`), whose memory is shared if it is uint8 RGB.
        limits: largest file and picture, both checked before decoding.
        background: sRGB colour under transparent parts, three integers in 0-255.

    Returns:
        The pixels, the name, and warnings.

    Raises:
        ImageError: of the kind that fits (:mod:`foveal.errors`), with the name, the reason and what to do.
        MissingExtraError: a HEIC file, and pillow-heif is not installed.
        ValueError: ``background`` is not a colour.
    """
    background = _colour(background)
    name = name_of(source)
    if isinstance(source, np.ndarray):
        return _decoded(pixels_of_array(source, name, limits, background), name, [])
    if isinstance(source, Image.Image):
        with decoding(name, source.format):
            limits.check_pixels(name, *source.size)
            return _from_picture(source, name, limits, background)
    with byte_stream(source, name, limits) as stream, decoding(name, None):
        # Passed on without a name of its own here, so that its memory can be freed as soon as it is turned.
        return _from_picture(open_picture(stream, name, limits), name, limits, background)


def _from_picture(picture: Image.Image, name: str, limits: Limits, background: Background) -> Decoded:
    warnings: list[str] = []
    if picture.format in _SEQUENCES and getattr(picture, "is_animated", False) and picture.tell() == 0:
        warnings.append("holds several frames or pages: only the first was judged")
    load(picture, name)
    limits.check_pixels(name, *picture.size)  # some headers lie, or name the size of a wrapper
    operation = _UPRIGHT.get(_orientation(picture, warnings))
    convert = converter_for(picture, name, background)
    warnings.extend(convert.warnings)
    upright = picture if operation is None else picture.transpose(operation)
    del picture
    width, height = upright.size

    def rows(top: int, bottom: int) -> Pixels:
        piece = upright if bottom - top == height else upright.crop((0, top, width, bottom))
        return np.asarray(convert(piece))

    return _decoded(in_strips(height, width, rows), name, warnings)


def _colour(background: Sequence[int]) -> Background:
    if len(background) != 3 or not set(background) <= _LEVELS:
        raise ValueError(f"background is {background}, expected three integers in 0-255")
    red, green, blue = (int(level) for level in background)
    return red, green, blue


def _orientation(picture: Image.Image, warnings: list[str]) -> int:
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # a broken note about a picture does not spoil the picture
        warnings.append(f"the EXIF data is broken ({error}): taken as upright")
        return 1
    return value if isinstance(value, int) else 1


def _decoded(pixels: Pixels, name: str, warnings: list[str]) -> Decoded:
    pixels.flags.writeable = False
    return Decoded(pixels, name, tuple(dict.fromkeys(warnings)))
