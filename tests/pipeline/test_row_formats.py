"""Rows as bytes: what is written is read back, and a half-written row is never taken for a whole one."""

from __future__ import annotations

import csv
import io
import json
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.pipeline.formats import LONGEST_RECORD, CsvFormat, JsonlFormat, RowFormat
from foveal.pipeline.rows import COLUMNS, Row

FORMATS = [CsvFormat(), JsonlFormat()]

# Names as file systems allow them: any bytes save zero, decoded as Python decodes names.
names = st.binary(min_size=1, max_size=30).filter(lambda raw: b"\0" not in raw).map(os.fsdecode) | st.text(
    st.sampled_from("a,\"\n\r\t 'é"), min_size=1
)
qualities = st.floats(1, 5)
sentences = st.text(st.sampled_from('ab ,"\n:'), min_size=1).map(str.strip).filter(bool)
scored = st.builds(
    Row, names, qualities, qualities, qualities, st.just("m@1"), st.lists(sentences, max_size=3).map(tuple)
)
failed = st.builds(Row, names, st.none(), st.none(), st.none(), st.just("m@1"), st.just(()), sentences)
rows = st.lists(scored | failed, max_size=6)


def joined(form: RowFormat, some: list[Row]) -> bytes:
    return form.header + b"".join(map(form.encode, some))


@pytest.mark.parametrize("form", FORMATS)
@given(some=rows)
def test_rows_are_read_back_to_the_last_bit(form: RowFormat, some: list[Row]) -> None:
    records = list(form.records(io.BytesIO(joined(form, some))))
    assert list(map(form.decode, records[bool(form.header) :])) == some
    for row, record in zip(some, records[bool(form.header) :], strict=True):
        again = form.decode(record)
        if row.quality is not None and again.quality is not None:
            assert struct.pack("d", row.quality) == struct.pack("d", again.quality)


@pytest.mark.parametrize("form", FORMATS)
@given(some=rows, data=st.data())
def test_a_cut_anywhere_leaves_exactly_the_whole_rows(
    form: RowFormat, some: list[Row], data: st.DataObject
) -> None:
    whole = joined(form, some)
    cut = data.draw(st.integers(0, len(whole)))
    ends, end = [], 0
    for record in [form.header, *map(form.encode, some)]:
        end += len(record)
        ends.append(end)
    kept = list(form.records(io.BytesIO(whole[:cut])))
    wanted = max((end for end in ends if end <= cut), default=0)
    assert b"".join(kept) == whole[:wanted]


@given(some=rows)
def test_other_programs_read_the_csv(some: list[Row]) -> None:
    text = joined(CsvFormat(), some).decode("utf-8", "surrogateescape")
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [line["source"] for line in table] == [row.source for row in some]
    assert [line["quality"] for line in table] == [
        "" if row.quality is None else repr(row.quality) for row in some
    ]
    assert [line["error"] for line in table] == [row.error or "" for row in some]


@given(row=scored | failed)
def test_other_programs_read_the_json_lines(row: Row) -> None:
    line = JsonlFormat().encode(row)
    assert line.isascii()
    values = json.loads(line)
    assert tuple(values) == COLUMNS
    assert values["quality"] == row.quality
    assert values["warnings"] == list(row.warnings)


def test_csv_columns() -> None:
    assert CsvFormat.header == b"source,quality,low,high,model,warnings,error\n"
    row = Row("a, b.jpg", 3.25, 3.0, 3.5, "m@1", ("dark", "small"))
    assert CsvFormat().encode(row) == b'"a, b.jpg",3.25,3.0,3.5,m@1,dark; small,\n'


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "line", [b"\n", b"1,2\n", b'"x"y,,,,,,\n', b"[]\n", b'{"source": "a"}\n', b"a,b,1,1,m,,\n"]
)
def test_foreign_lines_are_value_errors(form: RowFormat, line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        form.decode(line)


@pytest.mark.parametrize("form", FORMATS)
def test_a_row_without_end_is_not_gathered_for_ever(form: RowFormat) -> None:
    endless = io.BytesIO(b'"' + b"x" * (2 * LONGEST_RECORD))
    with pytest.raises(ValueError, match="longer"):
        list(form.records(endless))
