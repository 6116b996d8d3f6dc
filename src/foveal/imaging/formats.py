"""Find the decoder for a stream, and turn whatever decoders throw into typed errors.

Pillow's plugins are called one by one rather than through ``Image.open``, because that checks the size of the
picture against the process-wide ``Image.MAX_IMAGE_PIXELS``, warning above it and failing above twice as much.
Here the caller's own limit holds, for this call alone, without touching what other users of Pillow have set.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image, ImageFile

from foveal.errors import (
    CorruptImageError,
    FovealError,
    ImageError,
    MissingExtraError,
    NotAnImageError,
    TooManyPixelsError,
    TruncatedImageError,
    bare,
)
from foveal.imaging.headers import is_cut, is_heif, zero_size
from foveal.imaging.limits import Limits, zero_sized
from foveal.imaging.sources import unreadable

_Factory = Callable[[BinaryIO, str], ImageFile.ImageFile]
_Accept = Callable[[bytes], bool | str] | None

_REFUSED = {
    "EPS",  # a program: Pillow would hand it to Ghostscript
    "IPTC",  # a wrapper around any other format, EPS included
    "BUFR", "GRIB", "HDF5", "MPEG", "WMF",  # recognised by Pillow, but not decoded
}  # fmt: skip

_CUT = re.compile(
    r"truncat|unexpected end|\beof\b|end of file|not enough (image )?data|incomplete|but only got|too short",
    re.I,
)


def open_picture(stream: BinaryIO, name: str, limits: Limits) -> Image.Image:
    """Read the header of an encoded image.

    Args:
        stream: seekable, at its start; must stay open until the picture is loaded.
        name: name of the source for messages.
        limits: width and height in the header are checked against these.

    Returns:
        The picture, its pixels not yet decoded (save icons, whose size only their decoder knows).

    Raises:
        ImageError: of the kind that fits; see :mod:`foveal.errors`.
        MissingExtraError: a HEIC file, and pillow-heif is not installed.
    """
    head = stream.read(32)
    picture, failure = _try_decoders(stream, head)
    if picture is None and is_heif(head):
        picture, failure = _try(_heif_factory(name), stream)
    if picture is None:
        raise _refusal(stream, head, name, failure)
    limits.check_pixels(name, *picture.size)
    return picture


def load(picture: Image.Image, name: str) -> None:
    """Decode the pixels of an opened picture in place.

    Raises:
        ImageError: the data is cut or corrupt.
    """
    with decoding(name, picture.format):
        if picture.format == "TIFF" and getattr(picture, "_im", None) is None:
            # The TIFF plugin checks MAX_IMAGE_PIXELS once more, but only while it has no memory yet.
            picture.im = Image.new(picture.mode, getattr(picture, "_tile_size", picture.size)).im
        picture.load()


@contextmanager
def decoding(name: str, kind: str | None) -> Iterator[None]:
    """Turn any exception of a decoder inside the block into an ImageError about ``name``."""
    try:
        yield
    except FovealError:
        raise
    except Exception as error:
        raise explain(error, name, kind) from error


def explain(error: Exception, name: str, kind: str | None) -> ImageError:
    """The typed error for what a decoder threw."""
    if isinstance(error, Image.DecompressionBombError):
        advice = "it is meant against decompression bombs: see PIL.Image.MAX_IMAGE_PIXELS"
        return TooManyPixelsError(
            name, f"Pillow's own limit for {kind or 'this format'} is passed ({error})", advice
        )
    if isinstance(error, OSError) and error.errno is not None:
        return unreadable(name, error)
    said = str(error) or type(error).__name__
    if isinstance(error, EOFError) or _CUT.search(said):
        return TruncatedImageError(
            name, f"ends too early ({said})", "the file was cut: fetch or copy it again"
        )
    advice = "the file is damaged: fetch it again, or save it anew with another program"
    return CorruptImageError(name, f"the {kind or 'image'} data cannot be decoded ({said})", advice)


def _try_decoders(stream: BinaryIO, head: bytes) -> tuple[Image.Image | None, tuple[str, Exception] | None]:
    """The picture, or else the first failure of a decoder that knew the file's signature."""
    first: tuple[str, Exception] | None = None
    for kind, (factory, accept) in _decoders():
        verdict = _accepts(accept, head)
        if isinstance(verdict, str):
            first = first or (kind, ValueError(verdict))
        elif verdict:
            picture, failure = _try((kind, factory), stream)
            if picture is not None:
                return picture, None
            first = first or (failure if accept else None)
    return None, first


def _accepts(accept: _Accept, head: bytes) -> bool | str:
    """Ask a plugin whether it knows the signature; some do not expect files of a few bytes."""
    try:
        return accept(head[:16]) if accept else True
    except (IndexError, struct.error):
        return False


def _try(
    decoder: tuple[str, _Factory], stream: BinaryIO
) -> tuple[Image.Image | None, tuple[str, Exception] | None]:
    kind, factory = decoder
    stream.seek(0)
    try:
        return factory(stream, ""), None
    except Exception as error:
        # Kept by the caller, whose frame a traceback would lead to: a circle with the whole file in it.
        return None, (kind, bare(error))


def _decoders() -> Iterator[tuple[str, tuple[_Factory, _Accept]]]:
    """Pillow's plugins: the five common formats first, all others only when those refuse."""
    seen = set(_REFUSED)
    for prepare in (Image.preinit, Image.init):
        prepare()
        for kind in [kind for kind in Image.ID if kind not in seen]:
            seen.add(kind)
            yield kind, Image.OPEN[kind]


def _heif_factory(name: str) -> tuple[str, _Factory]:
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError as error:
        raise MissingExtraError(f"{name}: reading HEIC", "heic") from error
    return "HEIF", HeifImageFile


def _refusal(stream: BinaryIO, head: bytes, name: str, failure: tuple[str, Exception] | None) -> ImageError:
    if size := zero_size(head):
        return zero_sized(name, *size)
    if failure is None:
        advice = "give a JPEG, PNG, WebP, AVIF, TIFF or any other raster format that Pillow reads"
        return NotAnImageError(name, "is not an image in a known format", advice)
    kind, error = failure
    known = explain(error, name, kind)
    if isinstance(known, CorruptImageError) and is_cut(stream):
        return explain(EOFError("shorter than its header says"), name, kind)
    return known
