from __future__ import annotations

import csv
import io

import pytest

from foveal.evaluation.tables import Table

TABLE = Table(("part", "n", "SRCC"), (("all", 2000, 0.87654321), ("a|b, c", 7, -0.5)))


def test_plain_text_is_aligned() -> None:
    assert TABLE.to_text() == ("part       n    SRCC\nall     2000   0.877\na|b, c     7  -0.500\n")


def test_markdown_is_aligned_and_escaped() -> None:
    assert TABLE.to_markdown() == (
        "| part    |    n |   SRCC |\n"
        "| ------- | ---: | -----: |\n"
        "| all     | 2000 |  0.877 |\n"
        "| a\\|b, c |    7 | -0.500 |\n"
    )


def test_csv_keeps_every_digit_and_quotes_what_needs_it() -> None:
    assert list(csv.reader(io.StringIO(TABLE.to_csv()))) == [
        ["part", "n", "SRCC"],
        ["all", "2000", "0.87654321"],
        ["a|b, c", "7", "-0.5"],
    ]


def test_labels_cannot_break_a_line_or_drive_a_terminal() -> None:
    table = Table(("part", "n"), (("a\nb\x1b[31m", 1),))
    for text in (table.to_text(), table.to_markdown()):
        assert "a\\nb\\x1b[31m" in text
        assert "\x1b" not in text
    assert list(csv.reader(io.StringIO(table.to_csv())))[1] == ["a\nb\x1b[31m", "1"]


def test_ragged_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="2 cells under 3 headings"):
        Table(("a", "b", "c"), ((1, 2),))
