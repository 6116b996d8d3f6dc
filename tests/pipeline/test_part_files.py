"""Files of partitions: what was written is read, and what is damaged is never taken for sound."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.pipeline.parquet import printable_row, write_parquet
from foveal.pipeline.part_files import Part, decode_part, encode_part, part_name, partition_of, run_of
from foveal.pipeline.rows import COLUMNS, Row

ID = "0123456789abcdef" * 2
# A name that holds what the file's checksum is looked for by.
ROWS = (
    Row("a.jpg", 3.1, 2.9, 10 / 3, "m@1", ("dark", "small")),
    Row("foveal.checksum\x18@" + "0" * 64, 1.0, 1.0, 1.0, "m@1"),
    Row("gone.jpg", None, None, None, "m@1", error="there is no such file; check the path"),
)
PART = Part(ID, '{"model": "m@1"}', ROWS)

_TEXT = st.text(st.characters(exclude_categories=("Cs",)))
_QUALITY = st.floats(1, 5)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.builds(
            Row, _TEXT, _QUALITY, _QUALITY, _QUALITY, _TEXT, st.lists(_TEXT).map(tuple), st.none() | _TEXT
        )
    )
)
def test_rows_come_back_to_the_last_bit(rows: list[Row]) -> None:
    part = Part(ID, "{}", tuple(rows))
    assert decode_part(encode_part(part)) == part


def test_aspects_have_columns() -> None:
    part = Part(ID, "{}", (Row("a.jpg", 2.0, 1.0, 3.0, "m@1", aspects={"beauty": 4.5, "truth": None}),))
    content = encode_part(part, ("beauty", "truth"))
    assert decode_part(content, ("beauty", "truth")) == part
    with pytest.raises(ValueError, match="columns are"):
        decode_part(content, ())
    assert run_of(content) == "{}"


def test_other_readers_see_the_table_of_the_local_engine(tmp_path: Path) -> None:
    part, table = tmp_path / part_name(ID), tmp_path / "x.parquet"
    part.write_bytes(encode_part(PART))
    write_parquet(table, ROWS)
    found, expected = pyarrow.parquet.read_table(part), pyarrow.parquet.read_table(table)
    assert found.schema.equals(expected.schema, check_metadata=True)
    assert found.equals(expected)
    assert tuple(found.column_names) == COLUMNS


def test_equal_parts_give_equal_bytes() -> None:
    assert encode_part(PART) == encode_part(Part(ID, PART.run, tuple(ROWS)))


def test_every_flipped_bit_is_noticed() -> None:
    content = encode_part(PART)
    chosen = random.Random(0)
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 1 << chosen.randrange(8)
        for read in (decode_part, run_of):
            with pytest.raises(ValueError, match=r"checksum|partition"):
                read(bytes(altered))


def test_every_cut_and_every_longer_file_is_noticed() -> None:
    content = encode_part(PART)
    for end in range(len(content)):
        with pytest.raises(ValueError, match=r"checksum|partition"):
            decode_part(content[:end])
    with pytest.raises(ValueError, match="checksum"):
        decode_part(content + b"\0")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_other_files_are_no_partitions(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"checksum|partition"):
        decode_part(content)


def test_a_table_of_the_local_engine_is_no_partition(tmp_path: Path) -> None:
    table = tmp_path / "x.parquet"
    write_parquet(table, ROWS)
    with pytest.raises(ValueError, match="checksum"):
        decode_part(table.read_bytes())


def test_stray_bytes_of_names_are_shown_as_the_local_engine_does() -> None:
    row = printable_row(Row("caf\udce9.jpg", 3.0, 2.0, 4.0, "m@1"))
    assert decode_part(encode_part(Part(ID, "{}", (row,)))).rows[0].source == "caf\\udce9.jpg"


@pytest.mark.parametrize(
    ("name", "partition"),
    [
        (part_name(ID), ID),
        ("_manifest.json", None),
        ("part-.parquet", None),
        (f"part-{ID}.parquet.bak", None),
        (f"part-{ID.upper()}.parquet", None),
    ],
)
def test_names_of_partitions(name: str, partition: str | None) -> None:
    assert partition_of(name) == partition
