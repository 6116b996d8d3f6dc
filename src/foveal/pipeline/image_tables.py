"""Tables of images: which columns they have, and their rows one after another."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, BinaryIO

from foveal.errors import MissingExtraError, SourceError
from foveal.pipeline.partitions import Item

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
TABLES = (*_DELIMITERS, ".jsonl", ".parquet")
"""Suffixes of the tables that are read."""
IMAGE_COLUMNS = ("image", "path", "url")
"""Names of a column of images; the first that there is counts."""
PROMPT_COLUMN = "prompt"

_ROWS_AT_ONCE = 1 << 13
_LONGEST_LINE = 1 << 22


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table are read.

    Attributes:
        image: name of the column of images.
        prompt: name of the column of prompts; None where there is none.
    """

    image: str
    prompt: str | None


def columns_of(file: BinaryIO, kind: str, address: str) -> Columns:
    """Find the columns of a table.

    Args:
        file: the table, at its start.
        kind: its suffix, one of :data:`TABLES`.
        address: for messages.

    Raises:
        SourceError: it has no column of images, or is malformed.
    """
    names = _names(file, kind, address)
    for name in IMAGE_COLUMNS:
        if name in names:
            return Columns(name, PROMPT_COLUMN if PROMPT_COLUMN in names else None)
    raise SourceError(
        f"{address}: there is no column {', '.join(IMAGE_COLUMNS[:-1])} or {IMAGE_COLUMNS[-1]}; "
        f"there are {', '.join(map(str, names)) or 'none'}"
    )


def read_items(
    file: BinaryIO, kind: str, columns: Columns, address: str, groups: Sequence[int] = ()
) -> Iterator[Item]:
    """The images of a table in order, with their prompts where it has them.

    Args:
        file: the table, at its start.
        kind: its suffix, one of :data:`TABLES`.
        columns: of :func:`columns_of`.
        address: for messages.
        groups: row groups to read of a Parquet file.

    Raises:
        SourceError: a row is malformed.
    """
    if kind == ".parquet":
        rows = _parquet_rows(file, columns, groups)
    elif kind == ".jsonl":
        rows = _json_rows(file, columns, address)
    else:
        rows = _delimited_rows(file, _DELIMITERS[kind], columns, address)
    return ((image or "", _prompt(prompt, columns)) for image, prompt in rows)


def group_rows(file: BinaryIO, least: int) -> list[tuple[int, int]]:
    """Join neighbouring row groups of a Parquet file until each piece, but for the last, has so many rows.

    Returns:
        First and last row group of each piece.
    """
    arrow = _require_pyarrow("Parquet")
    metadata = arrow.parquet.ParquetFile(file).metadata
    pieces: list[tuple[int, int]] = []
    first, rows = 0, 0
    for group in range(metadata.num_row_groups):
        rows += metadata.row_group(group).num_rows
        if rows >= least or group == metadata.num_row_groups - 1:
            pieces.append((first, group))
            first, rows = group + 1, 0
    return pieces


def _names(file: BinaryIO, kind: str, address: str) -> list[str]:
    if kind == ".parquet":
        return _parquet_names(file, address)
    if kind == ".jsonl":
        first = next(_json_lines(file, address), None)
        return [] if first is None else list(first[1])
    return _headings(next(_delimited(file, _DELIMITERS[kind], address), (0, []))[1])


def _headings(cells: Sequence[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _prompt(cell: str | None, columns: Columns) -> str | None:
    """An empty cell of a column of prompts says that there is none: judge without."""
    return None if columns.prompt is None else (cell or "").strip()


def _delimited_rows(
    file: BinaryIO, delimiter: str, columns: Columns, address: str
) -> Iterator[tuple[str, str | None]]:
    lines = _delimited(file, delimiter, address)
    headings = _headings(next(lines)[1])
    image = headings.index(columns.image)
    prompt = None if columns.prompt is None else headings.index(columns.prompt)
    for number, cells in lines:
        if not cells:
            continue
        if len(cells) < len(headings):
            raise SourceError(f"{address}: line {number} has {len(cells)} cells, expected {len(headings)}")
        yield cells[image], None if prompt is None else cells[prompt]


def _delimited(file: BinaryIO, delimiter: str, address: str) -> Iterator[tuple[int, list[str]]]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise SourceError(f"{address}: line {reader.line_num} is malformed ({error})") from error


def _json_rows(file: BinaryIO, columns: Columns, address: str) -> Iterator[tuple[str | None, str | None]]:
    for number, row in _json_lines(file, address):
        cells = row.get(columns.image), None if columns.prompt is None else row.get(columns.prompt)
        for cell in cells:
            if cell is not None and not isinstance(cell, str):
                raise SourceError(f"{address}: line {number} has {str(cell)[:40]!r} where text is expected")
        yield cells


def _json_lines(file: BinaryIO, address: str) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig"))
            if not isinstance(row, dict):
                raise ValueError("no JSON object")
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{address}: line {number} is malformed ({error})") from error
        yield number, row


def _parquet_names(file: BinaryIO, address: str) -> list[str]:
    arrow = _require_pyarrow(address)
    try:
        schema = arrow.parquet.ParquetFile(file).schema_arrow
    except (OSError, arrow.ArrowException) as error:
        raise SourceError(f"{address}: cannot be read as Parquet ({error})") from error
    for name in (*IMAGE_COLUMNS, PROMPT_COLUMN):
        if name in schema.names and not _is_text(arrow, schema.field(name).type):
            kind = schema.field(name).type
            raise SourceError(f"{address}: column {name!r} holds {kind}, expected text: paths or URLs")
    names: list[str] = schema.names
    return names


def _is_text(arrow: ModuleType, kind: Any) -> bool:
    types = arrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _parquet_rows(
    file: BinaryIO, columns: Columns, groups: Sequence[int]
) -> Iterator[tuple[str | None, str | None]]:
    arrow = _require_pyarrow("Parquet")
    wanted = [columns.image, *([columns.prompt] if columns.prompt else [])]
    table = arrow.parquet.ParquetFile(file)
    for batch in table.iter_batches(_ROWS_AT_ONCE, row_groups=list(groups), columns=wanted):
        images = batch.column(columns.image).to_pylist()
        prompts = batch.column(columns.prompt).to_pylist() if columns.prompt else [None] * len(images)
        yield from zip(images, prompts, strict=True)


def _require_pyarrow(what: str) -> ModuleType:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(f"{what}: reading Parquet", "cluster") from error
    module: ModuleType = pyarrow
    return module
