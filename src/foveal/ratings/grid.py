"""Rows below headings, as in CSV files and sheets, turned into columns by heading."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from foveal.errors import RatingsError


def by_heading(rows: Iterable[Sequence[str]], path: Path, *, fill: bool = False) -> dict[str, list[str]]:
    """Cells by the heading of their column.

    Args:
        rows: the first that is not empty holds the headings. Empty rows and columns without a heading are
            left out.
        path: the table, for messages.
        fill: complete short rows with empty cells, for formats that do not store trailing ones.

    Returns:
        Heading, without blanks around it -> cells, all columns of one length.

    Raises:
        RatingsError: there are no rows, two columns have the same heading, or a row has too few or too many
            cells.
    """
    filled = (row for row in rows if any(cell.strip() for cell in row))
    first = next(filled, ())
    positions = headed(first, path)
    table: dict[str, list[str]] = {heading: [] for heading in positions}
    least = max(positions.values(), default=-1) + 1
    number = 1
    for number, row in enumerate(filled, start=2):
        if any(cell.strip() for cell in row[len(first) :]):
            raise RatingsError(f"{path}: row {number} has more cells than there are headings")
        if len(row) < least and not fill:
            raise RatingsError(f"{path}: row {number} has {len(row)} cells, expected {least}")
        for heading, position in positions.items():
            table[heading].append(row[position] if position < len(row) else "")
    if number == 1:
        raise RatingsError(f"{path}: the table has no rows")
    return table


def headed(headings: Iterable[str], path: Path) -> dict[str, int]:
    """Where the column of each heading stands; columns without a heading are left out.

    Raises:
        RatingsError: two columns have the same heading, but for blanks around it.
    """
    positions: dict[str, int] = {}
    for position, heading in enumerate(headings):
        name = heading.strip()
        if name in positions:
            raise RatingsError(f"{path}: two columns have the same heading, {name!r}")
        if name:
            positions[name] = position
    return positions
