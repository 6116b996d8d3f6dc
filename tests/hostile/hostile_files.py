"""Files that are up to no good, made from a seed: damaged, oversized, two-faced, tiny, endless."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

REFUSED = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "PALM", "WMF"}
"""Formats that Pillow writes or knows, and that are not read here."""
MODES = ("RGB", "L", "P", "1", "RGBA", "CMYK", "I;16", "F")
MAGIC = {
    "fli": b"\x00\x10\x00\x00\x12\xaf",
    "psd": b"8BPS\x00\x01",
    "sun": b"\x59\xa6\x6a\x95",
    "wal": b"bricks/stone",
    "xpm": b"/* XPM */\n",
    "dcx": b"\xb1\x68\xde\x3a",
    "ftex": b"FTEX\x00\x00",
    "gbr": b"\x00\x00\x00\x1c\x00\x00\x00\x01",
    "cur": b"\x00\x00\x02\x00\x01\x00",
    "fits": b"SIMPLE  =                    T",
    "mcidas": b"\x00\x00\x00\x00\x00\x00\x00\x04",
    "pcd": b"PCD_",
    "pixar": b"\x80\xe8\x00\x00",
    "ole": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "imt": b"width 100\nheight 100\n",
    "xv": b"P7 332",
    "gimp": b"gimp xcf v011",
    "webp": b"RIFF\xff\xff\xff\x7fWEBPVP8 ",
    "avif": b"\x00\x00\x00\x20ftypavif",
    "heic": b"\x00\x00\x00\x18ftypheic",
    "bigtiff": b"II+\x00\x08\x00\x00\x00",
    "tiff": b"MM\x00*\x00\x00\x00\x08",
    "jp2": b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    "jxl": b"\xff\x0a",
    "gif": b"GIF89a\xff\xff\xff\xff",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'>",
    "pdf": b"%PDF-1.7\n",
    "zip": b"PK\x03\x04",
    "elf": b"\x7fELF\x02\x01\x01",
    "pickle": b"\x80\x04\x95",
    "html": b"<!doctype html><script>alert(1)</script>",
}
Named = Iterator[tuple[str, bytes]]


def whole_files(pixels: NDArray[np.uint8]) -> Named:
    """One file of each format and mode that Pillow writes, and of each feature that is read."""
    Image.init()
    for kind in sorted(set(Image.SAVE) & set(Image.OPEN) - REFUSED):
        for mode in MODES:
            data = _saved(pixels, kind, mode)
            if data:
                yield f"{kind} {mode}", data
    profile = _profile()
    tags = Image.Exif()
    tags[274] = 6
    extras: list[tuple[str, dict[str, Any]]] = [
        ("JPEG", {"progressive": True, "exif": tags, "icc_profile": profile}),
        ("PNG", {"exif": tags, "icc_profile": profile}),
        ("PNG", {"save_all": True, "append_images": [Image.fromarray(pixels[::-1])]}),
        ("GIF", {"save_all": True, "append_images": [Image.fromarray(pixels[::-1])]}),
        ("WEBP", {"lossless": True, "exif": tags}),
        ("TIFF", {"compression": "tiff_lzw", "exif": tags}),
        ("TIFF", {"compression": "jpeg"}),
        ("TIFF", {"compression": "tiff_deflate", "icc_profile": profile}),
        ("TGA", {"compression": "tga_rle"}),
    ]
    for number, (kind, options) in enumerate(extras):
        yield f"{kind} extra {number}", _saved(pixels, kind, "RGB", **options) or b""
    try:
        import pillow_heif
    except ImportError:
        return
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(buffer)
    yield "HEIF", buffer.getvalue()


def _profile() -> bytes:
    """A colour profile; without the moment when it was made, which would make every run another."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes())
    made[24:36] = bytes(12)
    return bytes(made)


def _saved(pixels: NDArray[np.uint8], kind: str, mode: str, **options: Any) -> bytes | None:
    """The picture as a file; None where the format has no such mode."""
    picture = (
        Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(pixels).convert(mode)
    )
    buffer = io.BytesIO()
    try:
        picture.save(buffer, kind, **options)
    except (OSError, ValueError, KeyError, SystemError, TypeError, AttributeError, struct.error):
        return None
    return buffer.getvalue()


# ---- Damage.

Mutation = Callable[[bytearray, bytes, np.random.Generator], None]
_EXTREMES = tuple(
    map(bytes.fromhex, ("00000000", "ffffffff", "7fffffff", "00000080", "01000000", "0000ffff"))
)


def _flip(data: bytearray, _: bytes, rng: np.random.Generator) -> None:
    for place in rng.integers(0, len(data), rng.integers(1, 24)):
        data[place] ^= 1 << int(rng.integers(8))


def _cut(data: bytearray, _: bytes, rng: np.random.Generator) -> None:
    del data[int(rng.integers(0, len(data))) :]


def _cut_out(data: bytearray, _: bytes, rng: np.random.Generator) -> None:
    start = int(rng.integers(0, len(data)))
    del data[start : start + int(rng.integers(1, 200))]


def _splice(data: bytearray, other: bytes, rng: np.random.Generator) -> None:
    place, start = int(rng.integers(0, len(data))), int(rng.integers(0, len(other)))
    data[place : place + int(rng.integers(0, 100))] = other[start : start + int(rng.integers(1, 300))]


def _extreme(data: bytearray, _: bytes, rng: np.random.Generator) -> None:
    """Extreme numbers where sizes, counts and offsets stand."""
    for _edit in range(int(rng.integers(1, 4))):
        place, width = int(rng.integers(0, min(len(data), 160))), int(rng.integers(1, 5))
        data[place : place + width] = _EXTREMES[rng.integers(len(_EXTREMES))][:width]


def _scramble(data: bytearray, _: bytes, rng: np.random.Generator) -> None:
    start = int(rng.integers(len(data) // 8, len(data)))
    data[start:] = rng.bytes(len(data) - start)


def _repeat(data: bytearray, _: bytes, rng: np.random.Generator) -> None:
    """The same piece many times: nested boxes, chunks without an end."""
    start = int(rng.integers(0, len(data)))
    piece = bytes(data[start : start + int(rng.integers(1, 64))])
    data[start:start] = piece * int(rng.integers(2, 200))


MUTATIONS: tuple[Mutation, ...] = (_flip, _cut, _cut_out, _splice, _extreme, _scramble, _repeat)


def mutants(files: dict[str, bytes], count: int, seed: int) -> Named:
    """Damaged copies of each file."""
    rng, contents = np.random.default_rng(seed), list(files.values())
    for name, content in files.items():
        for number in range(count):
            data = bytearray(content)
            other = contents[int(rng.integers(len(contents)))]
            MUTATIONS[number % len(MUTATIONS)](data, other, rng)
            yield f"{name}, mutant {number}", bytes(data)


def behind_magic(count: int, seed: int) -> Named:
    """Random bytes behind the signature of every format, known or not."""
    rng = np.random.default_rng(seed)
    for name, magic in MAGIC.items():
        for number in range(count):
            yield f"{name} noise {number}", magic + rng.bytes(int(rng.integers(0, 3_000)))


# ---- Files that are what they say, and still a nuisance.


def bombs() -> Named:
    """Small files that say they are huge, or that are when they are unpacked."""
    for width, height in (
        (2**31 - 1, 2**31 - 1),
        (65_535, 65_535),
        (100_000, 100),
        (2**31 - 1, 1),
        (1, 2**31 - 1),
    ):
        yield f"png {width} x {height}", png(width, height, b"")
        yield f"bmp {width} x {height}", _bmp(width, height)
    black, bomb = zlib.compress(bytes(310), 9), zlib.compress(bytes(80_000_000), 9)
    yield "png of zeros", png(1_900, 1_000, zlib.compress(bytes(1_000 * (1 + 3 * 1_900)), 9))
    yield "png with more data than pixels", png(10, 10, bomb)
    for kind in (b"zTXt", b"iCCP"):
        yield f"png with a bomb in {kind!r}", png(10, 10, black, _chunk(kind, b"k\0\0" + bomb))
    yield "png with many chunks", png(10, 10, black, _chunk(b"tEXt", b"k\0v") * 20_000)
    cut = png(10, 10, b"")[:33]
    yield "png with a chunk of 2 GiB", cut + struct.pack(">I", 2**31 - 1) + b"IDAT" + bytes(99)
    screen = b"GIF89a\xff\xff\xff\xff\xf0\0\0" + bytes(6)
    yield "gif 65535 x 65535", screen + b",\0\0\0\0\xff\xff\xff\xff\0\x08\x01\0\0;"
    frame = struct.pack(">HBHHB", 17, 8, 65_535, 65_535, 3) + b"\x01\x22\0\x02\x11\1\3\x11\1"
    yield "jpeg 65535 x 65535", b"\xff\xd8\xff\xc0" + frame + b"\xff\xd9"
    yield "pnm of a size with many digits", b"P6 " + b"9" * 4_000 + b" 1 255\n"
    yield "pnm of a negative size", b"P6 -5 -5 255\n" + bytes(75)
    yield "xpm with many colours", b'/* XPM */\nstatic char *x[] = {\n"1 1 99999999 1",\n'
    yield "tiff with a loop of directories", _looping_tiff()
    yield "ico of icos", b"\0\0\1\0\xff\xff" + bytes(16) * 300


def odd_shapes(rng: np.random.Generator) -> Named:
    """Single pixels, lines and strips, in several formats."""
    shapes = (
        *((1, 1), (1, 2), (2, 1), (7, 7), (1, 224), (223, 1), (1, 600)),
        *((1, 30_000), (30_000, 1), (2, 30_000), (30_000, 3), (30_000, 60)),
    )
    for height, width in shapes:
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF"):
            data = _saved(pixels, kind, "RGB" if kind != "GIF" else "P")
            yield f"{kind} {width} x {height}", data or b""
    for value in (0, 127, 255):
        yield f"flat {value}", _saved(np.full((64, 64, 3), value, np.uint8), "PNG", "RGB") or b""


def odd_numbers() -> Named:
    """Pictures in floating point that hold what no picture should."""
    special = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "huge": 3e38, "tiny": 1e-45, "negative": -1.0}
    for name, value in special.items():
        for share in (0.01, 1.0):
            grid = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
            grid.flat[: max(1, int(share * grid.size))] = value
            buffer = io.BytesIO()
            Image.fromarray(grid).save(buffer, "TIFF")
            yield f"tiff {name} {share:g}", buffer.getvalue()
    for low, high in ((-(2**31), 2**31 - 1), (0, 65_536), (-5, 5)):
        grid32 = np.linspace(low, high, 64 * 64).astype(np.int32).reshape(64, 64)
        buffer = io.BytesIO()
        Image.fromarray(grid32).save(buffer, "TIFF")
        yield f"tiff integers {low} to {high}", buffer.getvalue()


def polyglots(files: dict[str, bytes]) -> Named:
    """Files that are two things at once, or one thing inside another."""
    strangers = {
        "html": b"<script>alert(document.domain)</script>",
        "php": b"<?php system($_GET['c']); ?>",
        "zip": b"PK\x03\x04" + bytes(40),
        "shell": b"#!/bin/sh\nrm -rf /\n",
        "pickle": b"cos\nsystem\n(S'true'\ntR.",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n",
    }
    for name in ("JPEG RGB", "PNG RGB", "GIF P", "BMP RGB", "TIFF RGB", "WEBP RGB"):
        for kind, text in strangers.items():
            yield f"{name} then {kind}", files[name] + text
            yield f"{kind} then {name}", text + files[name]
        yield f"{name} twice", files[name] * 2
        yield f"{name} in the comment of a jpeg", _with_comment(files["JPEG RGB"], files[name][:60_000])
    yield "jpeg then png", files["JPEG RGB"] + files["PNG RGB"]
    yield "png then jpeg", files["PNG RGB"] + files["JPEG RGB"]


def png(width: int, height: int, packed: bytes, before: bytes = b"") -> bytes:
    """A PNG of 8-bit RGB with the size that it is told, and such data."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + before + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _bmp(width: int, height: int) -> bytes:
    size = struct.pack("<ii", min(width, 2**31 - 1), min(height, 2**31 - 1))
    return (
        b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<I", 40) + size + b"\1\0\x18\0" + bytes(24)
    )


def _looping_tiff() -> bytes:
    entry = struct.pack("<HHII", 256, 4, 1, 10) + struct.pack("<HHII", 257, 4, 1, 10)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 2) + entry + struct.pack("<I", 8)


def _with_comment(jpeg: bytes, comment: bytes) -> bytes:
    return jpeg[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + jpeg[2:]
