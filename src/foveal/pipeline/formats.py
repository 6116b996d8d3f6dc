"""How rows look as bytes: CSV and JSON lines, written and read back record by record."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol

from foveal.pipeline.rows import Row, check_columns, columns, from_values, to_values

LONGEST_RECORD = 1 << 18
"""Bytes that no row comes near (a path has at most 2**15); a longer "row" means that the file is damaged."""


class RowFormat(Protocol):
    """A way to write rows one after another. All methods raise ValueError for bytes that are not ours."""

    family: bytes
    """What every file of this format starts with, whatever the aspects."""
    opening: bytes
    """What every file with the same aspects starts with."""
    header: bytes
    """The record that stands before the first row; may be empty."""

    def encode(self, row: Row) -> bytes:
        """Give the complete record, line end included."""

    def decode(self, record: bytes) -> Row:
        """Read one complete record."""

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """Give the complete records of a file, header included, and stop before a half-written one."""


class CsvFormat:
    """RFC 4180 with a header and Unix line ends; UTF-8, and file names that are not keep their own bytes.

    Several warnings share a cell, separated by ``"; "``.

    Args:
        aspects: what the assessor gives beside quality, in the order of their columns.
    """

    family = b"source,quality,low,high,"
    header = (",".join(columns()) + "\n").encode()
    opening = header

    def __init__(self, aspects: Sequence[str] = ()) -> None:
        self._aspects = tuple(aspects)
        self.header = self.opening = _to_bytes(",".join(map(_csv_cell, columns(aspects))) + "\n")

    def encode(self, row: Row) -> bytes:
        """Give one line; a name with line breaks makes it several, in quotes."""
        aspects = (row.aspects.get(name) for name in self._aspects)
        scores = (row.quality, row.low, row.high, *aspects)
        numbers = ["" if value is None else repr(value) for value in scores]
        cells = [row.source, *numbers, row.model, "; ".join(row.warnings), row.error or ""]
        return _to_bytes(",".join(map(_csv_cell, cells)) + "\n")

    def decode(self, record: bytes) -> Row:
        """Read one line."""
        try:
            (cells,) = csv.reader([_to_text(record)], strict=True)
        except csv.Error as fault:
            raise ValueError(f"not a line of CSV: {fault}") from fault
        source, quality, low, high, *aspects, model, warnings, error = cells
        return Row(
            source,
            _number(quality),
            _number(low),
            _number(high),
            model,
            tuple(warnings.split("; ")) if warnings else (),
            error or None,
            {name: _number(cell) for name, cell in zip(self._aspects, aspects, strict=True)},
        )

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """A record is complete at a line end outside quotes: after an even number of them."""
        record = b""
        while line := file.readline(LONGEST_RECORD + 1):
            record += line
            if len(record) > LONGEST_RECORD:
                raise ValueError("a row is longer than any row can be")
            if record.endswith(b"\n") and record.count(b'"') % 2 == 0:
                yield record
                record = b""


class JsonlFormat:
    """One JSON object a line, ASCII only, so that any name survives any reader.

    Args:
        aspects: what the assessor gives beside quality, in the order of their keys.
    """

    header = b""
    opening = family = b'{"source": "'

    def __init__(self, aspects: Sequence[str] = ()) -> None:
        self._aspects = tuple(aspects)

    def encode(self, row: Row) -> bytes:
        """Give one line."""
        return (json.dumps(to_values(row, self._aspects), allow_nan=False) + "\n").encode("ascii")

    def decode(self, record: bytes) -> Row:
        """Read one line."""
        values = json.loads(record)
        check_columns(tuple(values) if isinstance(values, dict) else (), self._aspects)
        if not isinstance(values["source"], str) or not isinstance(values["warnings"], list):
            raise ValueError("expected text for the source and a list of warnings")
        return from_values(values, self._aspects)

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """A record is complete at its line end."""
        while line := file.readline(LONGEST_RECORD + 1):
            if len(line) > LONGEST_RECORD:
                raise ValueError("a row is longer than any row can be")
            if line.endswith(b"\n"):
                yield line


def _csv_cell(text: str) -> str:
    # Not csv.writer: before Python 3.13 it leaves a lone carriage return without quotes.
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\r\n') else text


def _number(cell: str) -> float | None:
    return float(cell) if cell else None


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", sys.getfilesystemencodeerrors())


def _to_text(record: bytes) -> str:
    return record.decode("utf-8", sys.getfilesystemencodeerrors())
