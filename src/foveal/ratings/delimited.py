"""Tables in plain text: cells separated by commas or tabs, and JSON objects, one a line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from foveal.errors import RatingsError
from foveal.ratings.cells import text
from foveal.ratings.grid import by_heading, headed


def read_csv(path: Path) -> dict[str, list[str]]:
    """Read a CSV file: UTF-8, with or without byte order mark, separated by commas, first row headings.

    Raises:
        RatingsError: there are no rows, or rows and headings do not fit.
        OSError, UnicodeDecodeError, csv.Error: the file cannot be read.
    """
    return _read(path, ",")


def read_tsv(path: Path) -> dict[str, list[str]]:
    """Read a TSV file: like CSV, quotes included, but separated by tabs.

    Raises:
        RatingsError: there are no rows, or rows and headings do not fit.
        OSError, UnicodeDecodeError, csv.Error: the file cannot be read.
    """
    return _read(path, "\t")


def read_jsonl(path: Path) -> dict[str, list[str]]:
    """Read JSON objects, one a line, in UTF-8; empty lines are left out, absent keys are empty cells.

    Raises:
        RatingsError: there are no rows, or a line is not a JSON object, or has a key twice.
        OSError, UnicodeDecodeError: the file cannot be read.
    """
    with path.open(encoding="utf-8-sig") as file:
        rows = [_row(line, number, path) for number, line in enumerate(file, start=1) if line.strip()]
    if not rows:
        raise RatingsError(f"{path}: the table has no rows")
    headings = dict.fromkeys(heading for row in rows for heading in row)
    return {heading: [text(row.get(heading)) for row in rows] for heading in headings}


def _read(path: Path, delimiter: str) -> dict[str, list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return by_heading(csv.reader(file, delimiter=delimiter, strict=True), path)


def _row(line: str, number: int, path: Path) -> dict[str, object]:
    try:
        cells = json.loads(line, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise RatingsError(f"{path}: line {number} is not JSON: {error}") from error
    if not isinstance(cells, dict):
        raise RatingsError(f"{path}: line {number} is not a JSON object with a value for each column")
    values = list(cells.values())
    return {heading: values[position] for heading, position in headed(cells, path).items()}


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; a plain dict would silently keep only the last of two equal keys."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key stands twice among {', '.join(key for key, _ in pairs)}")
    return found
