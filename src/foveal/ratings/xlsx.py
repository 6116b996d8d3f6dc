"""Ratings in workbooks (XLSX): one sheet, its stored values."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from foveal.errors import MissingExtraError, RatingsError
from foveal.ratings.cells import text
from foveal.ratings.grid import by_heading

MOST_BYTES = 512 << 20
"""What a workbook may unpack to. Real sheets shrink about tenfold in the file, bombs a thousandfold."""

MOST_ROWS = 1 << 20
"""Rows of the largest sheet that the format allows."""


def read_xlsx(path: Path, sheet: str | None = None) -> dict[str, list[str]]:
    """Read one sheet of a workbook.

    Numbers are text as in :func:`foveal.ratings.cells.text`, whatever their format on screen, but cells
    that are formatted as dates are dates, and no numbers. Of formulas the stored result is taken; a
    workbook that was never calculated has none, and the cell is empty.

    Args:
        path: the workbook.
        sheet: name of the sheet; by default the first that is not hidden.

    Returns:
        Heading -> cells, all columns of one length.

    Raises:
        RatingsError: the file is not a workbook, is cut, altered, encrypted or unreasonably large; there is
            no such sheet, or the sheet is malformed.
        OSError: there is no such file.
        MissingExtraError: openpyxl is not installed.
    """
    openpyxl = _require_openpyxl(path)
    with path.open("rb") as file, warnings.catch_warnings():
        # openpyxl warns of charts, styles and validations that it leaves out; ratings need none of them.
        warnings.simplefilter("ignore")
        try:
            _refuse_bombs(file, path)
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            return by_heading(_rows(_find_sheet(book, sheet, path), path), path, fill=True)
        except RatingsError:
            raise
        except Exception as error:  # what openpyxl raises on malformed files is not limited by anything
            reason = str(error) or type(error).__name__
            raise RatingsError(f"{path}: cannot be read as a workbook: {reason}") from error


def _refuse_bombs(file: Any, path: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > MOST_BYTES:
        raise RatingsError(
            f"{path}: unpacks to {size >> 20} MiB, more than a workbook may ({MOST_BYTES >> 20}); "
            "save the sheet as CSV"
        )


def _find_sheet(book: Any, sheet: str | None, path: Path) -> Any:
    sheets = {each.title: each for each in book.worksheets}
    if sheet is None:
        shown = [title for title, each in sheets.items() if each.sheet_state == "visible"]
        if not shown:
            raise RatingsError(f"{path}: no sheet is to be seen; name one of: {', '.join(sheets) or 'none'}")
        return sheets[shown[0]]
    if sheet not in sheets:
        raise RatingsError(f"{path}: there is no sheet {sheet!r}; there are {', '.join(sheets)}")
    return sheets[sheet]


def _rows(sheet: Any, path: Path) -> Iterator[list[str]]:
    # Some writers state a size that is wrong, and rows outside it would be left out.
    sheet.reset_dimensions()
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        if number > MOST_ROWS:
            raise RatingsError(f"{path}: more than {MOST_ROWS} rows, the most that a sheet can have")
        yield [text(value) for value in row]


def _require_openpyxl(path: Path) -> ModuleType:
    try:
        import openpyxl
    except ImportError as error:
        raise MissingExtraError(f"{path.name}: reading XLSX", "xlsx") from error
    module: ModuleType = openpyxl
    return module
