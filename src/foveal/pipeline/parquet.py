"""Parquet files of results: they cannot grow, so rows wait in a journal until all are there."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from foveal.errors import MissingExtraError, OutputError
from foveal.pipeline.rows import OtherColumnsError, Row, check_columns, columns, from_values, to_values

_ROWS_AT_ONCE = 1 << 15


def require_pyarrow() -> ModuleType:
    """Import what writes Parquet.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("Parquet output", "parquet") from error
    module: ModuleType = pyarrow
    return module


def printable(text: str) -> str:
    """Text as Parquet can hold it: bytes of a file name that are not UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable_row(row: Row) -> Row:
    """A row as Parquet can hold it."""
    error = None if row.error is None else printable(row.error)
    warnings = tuple(map(printable, row.warnings))
    return replace(row, source=printable(row.source), warnings=warnings, error=error)


def write_parquet(path: Path, rows: Iterable[Row], aspects: Sequence[str] = ()) -> None:
    """Write all rows, atomically: the file is complete or the one before stands.

    Args:
        path: where to.
        rows: one an image.
        aspects: what the assessor gives beside quality, in the order of their columns.

    Raises:
        OutputError: the file cannot be written.
    """
    temporary = path.with_name(path.name + ".partial")
    try:
        with temporary.open("wb") as file:
            write_rows(file, rows, aspects)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"{path}: cannot write ({error.strerror or error}); all rows are in its journal"
        ) from error


def read_parquet(path: Path, aspects: Sequence[str] = ()) -> Iterator[Row]:
    """Read the rows back.

    Raises:
        OtherColumnsError: the file is a table of Foveal's results, but with other aspects.
        OutputError: the file is not a table of Foveal's results.
    """
    arrow = require_pyarrow()
    try:
        with arrow.parquet.ParquetFile(path) as file:
            _check(path, file.schema_arrow.names, aspects)
            yield from rows_of(file, aspects)
    except (OSError, arrow.ArrowException) as error:
        raise OutputError(f"{path}: cannot read as Parquet ({error})") from error


def _check(path: Path, found: Sequence[str], aspects: Sequence[str]) -> None:
    try:
        check_columns(found, aspects)
    except OtherColumnsError:
        raise
    except ValueError as error:
        raise OutputError(
            f"{path}: not a table of Foveal's results; choose another file or --overwrite"
        ) from error


def rows_of(file: Any, aspects: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of an open :class:`pyarrow.parquet.ParquetFile`, whose columns are as expected."""
    for batch in file.iter_batches(_ROWS_AT_ONCE):
        yield from (from_values(row, aspects) for row in batch.to_pylist())


def write_rows(
    file: Any, rows: Iterable[Row], aspects: Sequence[str] = (), *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write all rows to a binary file or an Arrow stream.

    Args:
        file: where to; it is not closed.
        rows: one an image, as :func:`printable_row` gives them.
        aspects: what the assessor gives beside quality, in the order of their columns.
        metadata: stands at the end of the file, beside the schema.
    """
    arrow = require_pyarrow()
    text, number = arrow.string(), arrow.float64()
    kinds = [text, number, number, number, *(number for _ in aspects), text, arrow.list_(text), text]
    schema = arrow.schema(list(zip(columns(aspects), kinds, strict=True)))
    remaining = iter(rows)
    with arrow.parquet.ParquetWriter(file, schema) as writer:
        while some := list(itertools.islice(remaining, _ROWS_AT_ONCE)):
            values = [to_values(row, aspects) for row in some]
            writer.write_table(arrow.Table.from_pylist(values, schema=schema))
        if metadata:
            writer.add_key_value_metadata(dict(metadata))
