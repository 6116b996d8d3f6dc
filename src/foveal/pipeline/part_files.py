"""The file of one partition: Parquet as ``foveal score --out x.parquet`` writes it, with its own checksum.

So the state of an interrupted run is in the partitions alone: each says of which images and of which run it
is, and whether all of its bytes are as they were written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from foveal.pipeline.parquet import require_pyarrow, rows_of, write_rows
from foveal.pipeline.rows import Row, check_columns

_PARTITION, _RUN, _CHECKSUM = "foveal.partition", "foveal.run", "foveal.checksum"
_DIGITS = 64
# Parquet's footer is in Thrift's compact protocol: behind a key come the header of the field "value", the
# length of the text and the text itself. No text in a footer holds these control codes.
_MARK = _CHECKSUM.encode() + bytes([0x18, _DIGITS])
_NAME = re.compile(r"part-([0-9a-f]{32})\.parquet")


@dataclass(frozen=True, slots=True)
class Part:
    """A partition as it was found.

    Attributes:
        partition: its id.
        run: the run that it belongs to, as JSON.
        rows: one an image.
    """

    partition: str
    run: str
    rows: tuple[Row, ...]


def part_name(partition: str) -> str:
    """Name of a partition's file."""
    return f"part-{partition}.parquet"


def partition_of(name: str) -> str | None:
    """The partition whose file has this name; None for other files."""
    match = _NAME.fullmatch(name)
    return match and match.group(1)


def encode_part(part: Part, aspects: Sequence[str] = ()) -> bytes:
    """Bytes of a partition's file; the same part gives the same bytes with the same version of PyArrow.

    The checksum is the SHA-256 of the file with zeros in its own place.
    """
    arrow = require_pyarrow()
    metadata = {_PARTITION: part.partition, _RUN: part.run, _CHECKSUM: "0" * _DIGITS}
    stream = arrow.BufferOutputStream()
    write_rows(stream, part.rows, aspects, metadata=metadata)
    content: bytes = stream.getvalue().to_pybytes()
    place = _place(content)
    return content[:place] + _digest(content, place) + content[place + _DIGITS :]


def decode_part(content: bytes, aspects: Sequence[str] = ()) -> Part:
    """Read a partition's file and verify every byte of it.

    Raises:
        ValueError: it is cut, altered, or no partition.
    """
    place = _place(content)
    if _digest(content, place) != content[place : place + _DIGITS]:
        raise ValueError("its checksum does not match")
    arrow = require_pyarrow()
    try:
        with arrow.parquet.ParquetFile(arrow.BufferReader(content)) as file:
            check_columns(file.schema_arrow.names, aspects)
            found = {key.decode(): value.decode() for key, value in file.metadata.metadata.items()}
            return Part(found[_PARTITION], found[_RUN], tuple(rows_of(file, aspects)))
    except (OSError, KeyError, arrow.ArrowException) as error:
        raise ValueError(f"not a partition ({error})") from error


def run_of(content: bytes) -> str:
    """The run that a partition's file belongs to, as JSON, whatever its columns.

    Raises:
        ValueError: it is cut, altered, or no partition.
    """
    place = _place(content)
    if _digest(content, place) != content[place : place + _DIGITS]:
        raise ValueError("its checksum does not match")
    arrow = require_pyarrow()
    try:
        found = arrow.parquet.read_metadata(arrow.BufferReader(content)).metadata
        run: str = found[_RUN.encode()].decode()
    except (OSError, KeyError, arrow.ArrowException) as error:
        raise ValueError(f"not a partition ({error})") from error
    return run


def _place(content: bytes) -> int:
    """Where the digits of the checksum stand: behind the last mark, for rows come before the footer."""
    place = content.rfind(_MARK)
    if place < 0 or place + len(_MARK) + _DIGITS > len(content):
        raise ValueError("it has no checksum")
    return place + len(_MARK)


def _digest(content: bytes, place: int) -> bytes:
    digest = hashlib.sha256(content[:place])
    digest.update(b"0" * _DIGITS)
    digest.update(content[place + _DIGITS :])
    return digest.hexdigest().encode()
