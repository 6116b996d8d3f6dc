"""What the owners of ratings ship, found and read: tables as columns of text, images whatever their case."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from foveal.errors import RatingsError
from foveal.ratings.delimited import read_csv, read_jsonl, read_tsv
from foveal.ratings.parquet import ParquetColumns
from foveal.ratings.table import Floats, listing
from foveal.ratings.xlsx import read_xlsx

OnMissing = Literal["error", "drop"]
"""What to do about rated images that are not on disk."""


READERS: Mapping[str, Callable[[Path], Mapping[str, Sequence[str]]]] = MappingProxyType(
    {".csv": read_csv, ".tsv": read_tsv, ".parquet": ParquetColumns, ".xlsx": read_xlsx, ".jsonl": read_jsonl}
)
"""How each kind of table is read, by suffix."""

_WITHOUT_HEADING_ROW = (".parquet", ".jsonl")


def read_columns(path: Path, *, sheet: str | None = None) -> Mapping[str, Sequence[str]]:
    """Read a table as text, by column.

    Columns without a heading (rows that end in commas) are left out, as are empty rows; a byte order mark
    and blanks around headings are taken away. The same table gives the same text in each format: missing
    values are empty, numbers are text that ``float`` reads back exactly.

    Args:
        path: a file whose suffix is among :data:`READERS`, in any case.
        sheet: which sheet of a workbook; by default the first that is not hidden.

    Returns:
        Heading -> cells, all columns of one length. Those of a Parquet file are read when asked for.

    Raises:
        RatingsError: there is no such file or sheet, the format is not known or has no sheets, or the file
            is malformed.
        MissingExtraError: what reads this format is not installed.
    """
    suffix = path.suffix.lower()
    try:
        if suffix not in READERS:
            path.stat()  # what is not there is missing, whatever its suffix
            raise RatingsError(f"{path}: unknown kind of table; expected {', '.join(READERS)}")
        if sheet is None:
            return READERS[suffix](path)
        if suffix != ".xlsx":
            raise RatingsError(f"{path}: has no sheet {sheet!r}; only workbooks (.xlsx) have sheets")
        return read_xlsx(path, sheet)
    except FileNotFoundError:
        raise RatingsError(f"{path}: there is no such file") from None
    except (OSError, ValueError, csv.Error) as error:
        raise RatingsError(f"{path}: cannot be read: {error}") from error


def row_number(index: int, path: Path) -> int:
    """What messages call a row: the headings, where the format gives them one, are row 1.

    Args:
        index: position among the rows that are not empty, from 0.
        path: the table.
    """
    return index + (1 if path.suffix.lower() in _WITHOUT_HEADING_ROW else 2)


def column(table: Mapping[str, Sequence[str]], heading: str, path: Path) -> list[str]:
    """One column's cells, blanks around them taken away.

    Raises:
        RatingsError: there is no such column.
    """
    if heading not in table:
        raise RatingsError(f"{path}: there is no column {heading!r}; there are {', '.join(table)}")
    return [cell.strip() for cell in table[heading]]


def numbers(cells: Sequence[str], heading: str, path: Path) -> Floats:
    """A column as float64 [n]; an empty cell becomes NaN.

    Raises:
        RatingsError: a cell is not a number; the message gives its row as :func:`row_number` does.
    """
    values = np.full(len(cells), np.nan)
    for index, cell in enumerate(cells):
        if cell:
            try:
                # Python reads 1_5 as 15, which no owner of ratings means.
                values[index] = float(cell.replace("_", "?"))
            except ValueError:
                row = row_number(index, path)
                raise RatingsError(f"{path}: row {row}, {heading}: {cell!r} is not a number") from None
    return values


def find_images(folder: Path, names: Iterable[str]) -> list[Path | None]:
    """Find files by name although their case on disk may differ.

    Each folder is listed once, so a table of tens of thousands of rows takes no longer than its listing.

    Args:
        folder: where the names start; they may hold folders themselves.
        names: paths relative to it.

    Returns:
        The path on disk of each name, None where there is none.

    Raises:
        RatingsError: a name fits two files by all but case, and neither exactly; or a folder cannot be
            listed.
    """
    listings: dict[Path, tuple[set[str], dict[str, list[str]]]] = {}
    found: list[Path | None] = []
    for name in names:
        wanted = folder / name
        if wanted.parent not in listings:
            listings[wanted.parent] = _list_folder(wanted.parent)
        exact, folded = listings[wanted.parent]
        if wanted.name in exact:
            found.append(wanted)
            continue
        candidates = folded.get(wanted.name.casefold(), [])
        if len(candidates) > 1:
            raise RatingsError(f"{wanted}: which of {', '.join(sorted(candidates))} is meant?")
        found.append(wanted.parent / candidates[0] if candidates else None)
    return found


def present(
    folder: Path, names: Sequence[str], missing: OnMissing, owner: str
) -> tuple[list[int], tuple[Path, ...]]:
    """Find the images of a table.

    Args:
        folder: where the images lie.
        names: one for each row.
        missing: ``error`` refuses a table with absent images, ``drop`` leaves their rows out.
        owner: the set's name, for messages.

    Returns:
        The rows that are kept and the path of each one's image.

    Raises:
        RatingsError: images are missing and may not be, or all of them are.
        ValueError: ``missing`` is neither of the two.
    """
    if missing not in ("error", "drop"):
        raise ValueError(f"missing is {missing!r}, expected 'error' or 'drop'")
    paths = find_images(folder, names)
    absent = [name for name, path in zip(names, paths, strict=True) if path is None]
    if absent and (missing == "error" or len(absent) == len(names)):
        advice = (
            "complete the download" if len(absent) == len(names) else "complete it, or pass missing='drop'"
        )
        raise RatingsError(
            f"{owner}: {listing(absent, 'image')} of {len(names)} missing in {folder}; {advice}"
        )
    kept = [(row, path) for row, path in enumerate(paths) if path is not None]
    return [row for row, _ in kept], tuple(path for _, path in kept)


def _list_folder(folder: Path) -> tuple[set[str], dict[str, list[str]]]:
    try:
        exact = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    except OSError as error:
        raise RatingsError(f"{folder}: cannot be listed: {error.strerror}") from error
    folded: dict[str, list[str]] = {}
    for name in exact:
        folded.setdefault(name.casefold(), []).append(name)
    return exact, folded
