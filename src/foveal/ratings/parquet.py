"""Ratings in Parquet files: columns are read when they are asked for, images inside the file are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from foveal.errors import MissingExtraError, RatingsError
from foveal.ratings.cells import text
from foveal.ratings.grid import headed

MOST_ROWS = 20_000_000
"""Rows that a table may have. A few bytes of Parquet can claim any number of equal rows."""

EXPORT = (
    "write them to files first, for example `for i, image in enumerate(pyarrow.parquet.read_table(PATH)"
    "[COLUMN].to_pylist()): Path(f'{i}.png').write_bytes(image['bytes'])`, and give a table with a column of "
    "their paths"
)
"""What to do about images inside a Parquet file."""


class ParquetColumns(Mapping[str, list[str]]):
    """Columns of a Parquet file as text, by heading; each is read when it is asked for.

    Files from the Hub often have columns of images, embeddings or single opinions beside the ratings: those
    cost nothing unless they are used. Numbers are text as in :func:`foveal.ratings.cells.text`; those
    stored as float16 or float32 have the shortest digits that give them in that precision, as their owners
    would print them.

    Raises:
        RatingsError: the file is not Parquet, is cut or altered, has no rows, too many, or a heading twice;
            or the column asked for cannot be read, or holds bytes.
        OSError: there is no such file.
        MissingExtraError: PyArrow is not installed.
        KeyError: there is no such column.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrow = _require_pyarrow(path)
        self._names, self._rows = self._read(_names_and_rows)
        self._positions = headed(self._names, path)
        if not self._rows:
            raise RatingsError(f"{path}: the table has no rows")
        if self._rows > MOST_ROWS:
            raise RatingsError(f"{path}: {self._rows} rows are more than a table may have ({MOST_ROWS})")

    def __getitem__(self, heading: str) -> list[str]:
        name = self._names[self._positions[heading]]
        cells: list[str] = self._read(self._cells, name)
        if len(cells) != self._rows:
            count = f"{len(cells)} cells for {self._rows} rows"
            raise RatingsError(
                f"{self._path}: column {name!r} has {count}; the file is altered, get it again"
            )
        return cells

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)

    def _read(self, get: Callable[..., Any], *arguments: str) -> Any:
        arrow = self._arrow
        try:
            with self._path.open("rb") as source, arrow.parquet.ParquetFile(source) as file:
                return get(file, *arguments)
        except FileNotFoundError:
            raise
        except (OSError, arrow.ArrowException, ValueError, OverflowError, MemoryError) as error:
            raise RatingsError(f"{self._path}: cannot be read as Parquet: {error}") from error

    def _cells(self, file: Any, name: str) -> list[str]:
        arrow = self._arrow
        kind = file.schema_arrow.field(name).type
        if _holds_bytes(arrow, kind):
            raise RatingsError(
                f"{self._path}: column {name!r} holds bytes, not text: images inside Parquet are not read; "
                f"{EXPORT}"
            )
        cells = file.read(columns=[name], use_threads=False).column(name)
        if arrow.types.is_temporal(kind):
            # Python's dates have no nanoseconds and end in the year 9999; text has no such limits.
            cells = cells.cast(arrow.string())
        narrow = {"halffloat": np.float16, "float": np.float32}.get(str(kind))
        if narrow is not None:
            return [text(None if v is None else float(str(narrow(v)))) for v in cells.to_pylist()]
        return [text(value) for value in cells.to_pylist()]


def _names_and_rows(file: Any) -> tuple[list[str], int]:
    return file.schema_arrow.names, file.metadata.num_rows


def _holds_bytes(arrow: ModuleType, kind: Any) -> bool:
    """Whether cells are bytes, or have some, like the Hub's images: struct<bytes: binary, path: string>."""
    types = arrow.types
    if types.is_struct(kind):
        return any(_holds_bytes(arrow, kind.field(index).type) for index in range(kind.num_fields))
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _require_pyarrow(path: Path) -> ModuleType:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(f"{path.name}: reading Parquet", "parquet") from error
    module: ModuleType = pyarrow
    return module
