from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from foveal.errors import RatingsError
from foveal.ratings import xlsx
from foveal.ratings.files import read_columns
from foveal.ratings.own_table import Columns, read_table
from foveal.ratings.table import DatasetCard

SHEET = "xl/worksheets/sheet1.xml"


@pytest.fixture
def book(tmp_path: Path, write_table: Callable[..., Path]) -> Path:
    """Three images with scores 1, 2 and 3."""
    return write_table(tmp_path / "book.xlsx", {"image": ["a", "b", "c"], "mos": [1, 2, 3]})


def rewrite(path: Path, *changes: tuple[str, str]) -> None:
    """Replace text in the XML of the first sheet, as other programs might have written it."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = parts[SHEET].decode()
    for old, new in changes:
        assert re.search(old, sheet), old
        sheet = re.sub(old, new, sheet)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (parts | {SHEET: sheet.encode()}).items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("stored", "cell"),
    [
        ("0.30000000000000004", "0.30000000000000004"),
        ("3.0", "3"),
        ("1E-3", "0.001"),
        ("4.0999999999999996", "4.1"),
        ("12345678901234567", "12345678901234567"),
    ],
)
def test_numbers_are_those_stored_to_the_last_digit(book: Path, stored: str, cell: str) -> None:
    rewrite(book, ("<v>3</v>", f"<v>{stored}</v>"))
    assert read_columns(book)["mos"] == ["1", "2", cell]


def test_a_wrong_dimension_hides_no_cells(book: Path) -> None:
    rewrite(book, ('<dimension ref="A1:B4" ?/>', '<dimension ref="A1"/>'))
    assert read_columns(book) == {"image": ["a", "b", "c"], "mos": ["1", "2", "3"]}


def test_formulas_give_their_stored_results(book: Path) -> None:
    rewrite(book, ("<v>3</v>", "<f>1+2</f><v>3.5</v>"), ("<v>2</v>", "<f>1+1</f>"))
    assert read_columns(book)["mos"] == ["1", "", "3.5"]


def test_blank_rows_and_unnamed_columns_are_left_out_and_short_rows_filled(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in ([None], ["image", None, " mos "], [], ["a", "x", 4.5], [None, " "], ["b"]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    assert read_columns(tmp_path / "t.xlsx") == {"image": ["a", "b"], "mos": ["4.5", ""]}
    book.active.append(["c", None, 1, "a note"])
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(RatingsError, match=r"t.xlsx: row 4 has more cells than there are headings"):
        read_columns(tmp_path / "t.xlsx")


def test_the_first_sheet_to_be_seen_is_read_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    (tmp_path / "a.png").write_bytes(b"picture")
    book = openpyxl.Workbook()
    for index, title in enumerate(["hidden", "ratings", "pilot study"]):
        sheet = book.active if index == 0 else book.create_sheet()
        sheet.title = title
        sheet.append(["image", "mos"])
        sheet.append(["a.png", index])
    book["hidden"].sheet_state = "hidden"
    book.save(path)
    card = DatasetCard("mine", 0, 5)
    assert read_table(path, card).scores["quality"].tolist() == [1.0]
    for index, title in enumerate(book.sheetnames):
        assert read_table(path, card, Columns(sheet=title)).scores["quality"].tolist() == [index]
    with pytest.raises(RatingsError, match=r"no sheet 'main'; there are hidden, ratings, pilot study"):
        read_table(path, card, Columns(sheet="main"))


def test_cells_in_error_and_impossible_dates_are_no_scores_and_nothing_warns(book: Path) -> None:
    date = openpyxl.load_workbook(book)
    date.active["B4"].number_format = "yyyy-mm-dd"
    date.active["B3"] = "#DIV/0!"
    date.save(book)
    rewrite(book, ("<v>3</v>", "<v>1e300</v>"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_columns(book)["mos"] == ["1", "#DIV/0!", "#VALUE!"]


def test_a_bomb_is_refused_before_it_is_unpacked(book: Path) -> None:
    with zipfile.ZipFile(book, "a") as archive:
        archive.writestr("xl/media/picture.png", b"small")
        archive.filelist[-1].file_size = 600 << 20
        archive._didModify = True
    with pytest.raises(RatingsError, match=r"book.xlsx: unpacks to 600 MiB, more than .*512.*save .* as CSV"):
        read_columns(book)


def test_a_row_far_down_ends_in_an_error_not_in_hours(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "MOST_ROWS", 1000)
    rewrite(book, ('<row r="4">', '<row r="4000000000">'))
    with pytest.raises(RatingsError, match=r"book.xlsx: more than 1000 rows"):
        read_columns(book)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("</sheetData>", "</sheet"),
        ('t="inlineStr"><is><t>b</t></is>', 't="s"><v>999</v>'),
        ("<v>3</v>", "<v>three</v>"),
        ('r="A1"', 'r="?"'),
    ],
)
def test_malformed_sheets_are_refused_by_name(book: Path, old: str, new: str) -> None:
    rewrite(book, (re.escape(old), new))
    with pytest.raises(RatingsError, match=r"book.xlsx: cannot be read as a workbook"):
        read_columns(book)


@pytest.mark.parametrize("content", [b"", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"image,mos\na,1\n"])
def test_other_files_named_xlsx_are_refused(tmp_path: Path, content: bytes) -> None:
    # Nothing; the mark of workbooks from before 2007, and of those with a password; CSV.
    path = tmp_path / "old.xlsx"
    path.write_bytes(content)
    with pytest.raises(RatingsError, match=r"old.xlsx: cannot be read as a workbook"):
        read_columns(path)


def test_a_zip_without_a_workbook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "no workbook")
    with pytest.raises(RatingsError, match=r"t.xlsx: cannot be read as a workbook"):
        read_columns(path)
