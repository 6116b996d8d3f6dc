from __future__ import annotations

import datetime
import os
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foveal.errors import RatingsError
from foveal.ratings import parquet
from foveal.ratings.files import read_columns
from foveal.ratings.own_table import Columns, read_table
from foveal.ratings.table import DatasetCard

CARD = DatasetCard("mine", 0.0, 5.0)
HUB_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path: Path, **columns: pa.Array) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        (pa.array([4.1, 3.0, None], pa.float32()), ["4.1", "3", ""]),
        (pa.array([4.1, 3.0, float("nan")], pa.float64()), ["4.1", "3", ""]),
        (pa.array([4.5, 0.1, 3.0], pa.float16()), ["4.5", "0.1", "3"]),
        (pa.array([1, None, 2**63 + 1], pa.uint64()), ["1", "", "9223372036854775809"]),
        (pa.array([Decimal("4.10"), None, Decimal("3.00")]), ["4.10", "", "3"]),
        (pa.array(["x", None, "x"]).dictionary_encode(), ["x", "", "x"]),
        (pa.array([True, None, False]), ["true", "", "false"]),
        (pa.array([1, None, 2**62], pa.timestamp("ns")), ["1970-01-01 00:00:00.000000001", "", None]),
        (pa.array([datetime.date(2024, 5, 1), None, None]), ["2024-05-01", "", ""]),
        (pa.array([[4.5, None], [], None]), ["[4.5, null]", "[]", ""]),
        (pa.nulls(3), ["", "", ""]),
    ],
)
def test_every_type_is_text_as_its_owners_would_print_it(
    tmp_path: Path, values: pa.Array, cells: list[str | None]
) -> None:
    table = read_columns(write(tmp_path / "t.parquet", v=values))
    for cell, expected in zip(table["v"], cells, strict=True):
        assert cell == expected or expected is None


def test_a_column_has_a_name_even_with_dots_and_blanks(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a.b": [1], " a ": [2], "a": [3]}).select(["a.b", " a "]), path)
    assert read_columns(path) == {"a.b": ["1"], "a": ["2"]}
    pq.write_table(pa.table([[1], [2]], names=["mos", "mos"]), path)
    with pytest.raises(RatingsError, match=r"two columns have the same heading, 'mos'"):
        read_columns(path)


def hub_table(path: Path) -> list[bytes]:
    pictures = [os.urandom(20), os.urandom(30)]
    images = [{"bytes": picture, "path": f"{i}.png"} for i, picture in enumerate(pictures)]
    names, mos = pa.array(["0.png", "1.png"]), pa.array([4.5, 1.0])
    write(path, image=pa.array(images, HUB_IMAGE), name=names, mos=mos)
    return pictures


def test_embedded_images_are_refused_with_a_way_out_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "train-00000-of-00001.parquet"
    pictures = hub_table(path)
    with pytest.raises(RatingsError, match=r"column 'image' holds bytes.*write them to files") as caught:
        read_table(path, CARD)
    code = str(caught.value).split("`")[1]
    monkeypatch.chdir(tmp_path)
    exec(code, {"pyarrow": pa, "PATH": path, "COLUMN": "image", "Path": Path})  # noqa: S102
    assert [(tmp_path / f"{i}.png").read_bytes() for i in range(2)] == pictures
    ratings = read_table(path, CARD, Columns(image="name"))
    assert ratings.images == (tmp_path / "0.png", tmp_path / "1.png")
    assert ratings.scores["quality"].tolist() == [4.5, 1.0]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(3)])
def test_bare_bytes_are_refused_too(tmp_path: Path, kind: pa.DataType) -> None:
    path = write(tmp_path / "t.parquet", image=pa.array([b"abc"], kind), mos=pa.array([1]))
    with pytest.raises(RatingsError, match="column 'image' holds bytes"):
        read_table(path, CARD)


def test_columns_that_are_not_asked_for_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    text = pa.array(["a.png"] * 1000)
    pq.write_table(pa.table({"junk": text, "image": text}), path, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36  # the first page belongs to the first column
    path.write_bytes(content)
    table = read_columns(path)
    assert table["image"] == ["a.png"] * 1000
    with pytest.raises(RatingsError, match=r"t.parquet: cannot be read as Parquet"):
        table["junk"]


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    invalid = pa.array([b"caf\xe9"], pa.binary()).cast(pa.string(), safe=False)
    table = read_columns(write(tmp_path / "t.parquet", image=invalid))
    with pytest.raises(RatingsError, match=r"t.parquet: cannot be read as Parquet.*utf"):
        table["image"]


def test_a_row_count_that_was_altered_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", image=pa.array(["a"] * 40))
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    footer = content[-8 - length :]
    # Thrift's compact protocol: 0x16 is an i64 one field further, its value zigzag coded, so 0x50 is 40. The
    # first such field in the footer is num_rows of the file.
    altered = footer.replace(b"\x16\x50", b"\x16\x52", 1)
    assert altered != footer
    path.write_bytes(content[: -8 - length] + altered)
    with pytest.raises(RatingsError, match=r"t.parquet: .*(40 cells for 41 rows|cannot be read)"):
        read_columns(path)["image"]


def test_more_rows_than_any_table_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t.parquet", mos=pa.array([1] * 1001))
    monkeypatch.setattr(parquet, "MOST_ROWS", 1000)
    with pytest.raises(RatingsError, match=r"t.parquet: 1001 rows are more than a table may have \(1000\)"):
        read_columns(path)
