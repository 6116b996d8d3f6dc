"""What the first bytes of a file say about it, for a precise message when no decoder takes it."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_TIFF_ORDERS = {b"II*\0": "<I", b"MM\0*": ">I"}


def is_heif(head: bytes) -> bool:
    """Tell whether an ISO media file declares one of the HEIF brands (ISO/IEC 23008-12, annex B)."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def is_cut(stream: BinaryIO) -> bool:
    """Tell whether a WebP, AVIF, HEIF or TIFF file is shorter than its own structure says."""
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(12)
    if len(head) < 12:
        return True
    if head[:4] == b"RIFF":
        return _number("<I", head[4:8]) + 8 > length
    if head[:4] in _TIFF_ORDERS:
        return _number(_TIFF_ORDERS[head[:4]], head[4:8]) >= length
    return head[4:8] == b"ftyp" and _boxes_end(stream, length) > length


def zero_size(head: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, GIF or BMP whose header says that one of them is zero, else None."""
    if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 24:
        size = struct.unpack(">II", head[16:24])
    elif head[:6] in {b"GIF87a", b"GIF89a"} and len(head) >= 10:
        size = struct.unpack("<HH", head[6:10])
    elif head[:2] == b"BM" and len(head) >= 26:
        size = struct.unpack("<ii", head[18:26])
    else:
        return None
    return (size[0], size[1]) if 0 in size else None


def _boxes_end(stream: BinaryIO, length: int) -> int:
    """Where the last top-level box of an ISO media file (ISO/IEC 14496-12) that begins in the file ends."""
    end = 0
    while end < length:
        stream.seek(end)
        head = stream.read(16)
        if len(head) < 8:
            return length + 1
        size = _number(">I", head[:4])
        if size == 1 and len(head) == 16:
            size = _number(">Q", head[8:])
        if size < 8:  # 0 is "up to the end of the file", anything else is broken
            return length
        end += size
    return end


def _number(layout: str, part: bytes) -> int:
    return int(struct.unpack(layout, part)[0])
