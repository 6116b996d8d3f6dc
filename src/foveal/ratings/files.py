"""What the owners of ratings ship, found and read: tables as columns of text, images whatever their case."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from foveal.errors import RatingsError
from foveal.ratings.table import Floats, listing

OnMissing = Literal["error", "drop"]
"""What to do about rated images that are not on disk."""


def read_columns(path: Path) -> dict[str, list[str]]:
    """Read a table as text, by column.

    Columns without a heading (rows that end in commas) are left out, as are empty rows; a byte order mark
    and blanks around headings are taken away.

    Args:
        path: a file whose suffix is among :data:`READERS`.

    Returns:
        Heading -> cells, all columns of one length.

    Raises:
        RatingsError: there is no such file, its format is not known, or it is malformed.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise RatingsError(f"{path}: unknown kind of table; expected {', '.join(READERS)}")
    try:
        return reader(path)
    except FileNotFoundError:
        raise RatingsError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RatingsError(f"{path}: cannot be read: {error}") from error


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
        RatingsError: a cell is not a number; the message gives its row (the heading is row 1).
    """
    values = np.full(len(cells), np.nan)
    for index, cell in enumerate(cells):
        if cell:
            try:
                values[index] = float(cell)
            except ValueError:
                raise RatingsError(f"{path}: row {index + 2}, {heading}: {cell!r} is not a number") from None
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
        RatingsError: a name fits two files by all but case, and neither exactly.
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
    exact = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    folded: dict[str, list[str]] = {}
    for name in exact:
        folded.setdefault(name.casefold(), []).append(name)
    return exact, folded


def _read_csv(path: Path) -> dict[str, list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file, strict=True) if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise RatingsError(f"{path}: the table has no rows")
    headings = [heading.strip() for heading in rows[0]]
    named = [index for index, heading in enumerate(headings) if heading]
    if len({headings[index] for index in named}) < len(named):
        raise RatingsError(f"{path}: two columns have the same heading")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) <= named[-1]:
            raise RatingsError(f"{path}: row {number} has {len(row)} cells, expected {named[-1] + 1}")
        if any(cell.strip() for cell in row[len(headings) :]):
            raise RatingsError(f"{path}: row {number} has more cells than there are headings")
    return {headings[index]: [row[index] for row in rows[1:]] for index in named}


READERS: dict[str, Callable[[Path], dict[str, list[str]]]] = {".csv": _read_csv}
"""How each kind of table is read, by suffix."""
