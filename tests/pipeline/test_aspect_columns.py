"""Aspects in tables of results: a column each, in order, in every format; none is lost."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.assessment import Assessment, Failure, Interval
from foveal.errors import NotAnImageError, OutputError
from foveal.pipeline.formats import CsvFormat, JsonlFormat, RowFormat
from foveal.pipeline.rows import COLUMNS, Row, columns, to_row
from foveal.pipeline.sinks import open_sink

MODEL = "m@1"
ASPECTS = ("authenticity", "correspondence")
ALL = ("source", "quality", "low", "high", "authenticity", "correspondence", "model", "warnings", "error")
KINDS = [".csv", ".jsonl", ".parquet"]


def assessed(source: str, warnings: tuple[str, ...] = (), **aspects: float) -> Assessment:
    return Assessment(3.1, Interval(2.5, 3.7, 0.9), MODEL, source, aspects=aspects, warnings=warnings)


RESULTS: list[Assessment | Failure] = [
    assessed("a, b.jpg", correspondence=1 + 1 / 3, authenticity=4.25),
    assessed("c.jpg", ("no score for correspondence: that takes a prompt",), authenticity=2.0),
    Failure("d.txt", NotAnImageError("d.txt", "not an image")),
]
ROWS = [to_row(result, MODEL, ASPECTS) for result in RESULTS]


def write(path: Path, results: list[Assessment | Failure] = RESULTS, **options: bool) -> list[Row]:
    with open_sink(path, model=MODEL, aspects=ASPECTS, **options) as sink:
        for result in results:
            if str(result.source) not in sink:
                sink.append(result)
        return list(sink.rows())


def test_columns_stand_where_scores_stand() -> None:
    assert columns(ASPECTS) == ALL
    assert columns() == COLUMNS
    for clash in (("quality",), ("error",), ("authenticity", "authenticity")):
        with pytest.raises(ValueError, match="expected each once and none of source, quality"):
            columns(clash)


def test_rows_keep_what_is_there_and_show_what_is_not() -> None:
    assert [row.aspects for row in ROWS] == [
        {"authenticity": 4.25, "correspondence": 1 + 1 / 3},
        {"authenticity": 2.0, "correspondence": None},
        {"authenticity": None, "correspondence": None},
    ]
    assert list(ROWS[0].aspects) == list(ASPECTS)


def test_no_aspect_is_lost_on_the_way_to_a_table(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"aspects are \['authenticity', 'correspondence'\], but the row has"
    ):
        to_row(RESULTS[0], MODEL)
    with open_sink(tmp_path / "x.csv", model=MODEL) as sink, pytest.raises(ValueError, match="aspects are"):
        sink.append(RESULTS[0])


def test_csv() -> None:
    assert CsvFormat(ASPECTS).header == (",".join(ALL) + "\n").encode()
    assert CsvFormat(ASPECTS).encode(ROWS[0]) == (b'"a, b.jpg",3.1,2.5,3.7,4.25,1.3333333333333333,m@1,,\n')
    assert CsvFormat(ASPECTS).encode(ROWS[2]) == b"d.txt,,,,,,m@1,,not an image\n"


scores = st.none() | st.floats(1, 5)
rows = st.builds(
    Row,
    st.text(st.sampled_from('a,"\n é'), min_size=1),
    scores,
    scores,
    scores,
    st.just(MODEL),
    st.lists(st.sampled_from(["dark", "small: 3 x 4"]), max_size=2).map(tuple),
    st.none() | st.just("broken"),
    st.fixed_dictionaries(dict.fromkeys(ASPECTS, scores)),
)


@pytest.mark.parametrize("form", [CsvFormat(ASPECTS), JsonlFormat(ASPECTS)])
@settings(deadline=None)
@given(some=st.lists(rows, max_size=5))
def test_rows_are_read_back_to_the_last_bit(form: RowFormat, some: list[Row]) -> None:
    content = form.header + b"".join(map(form.encode, some))
    records = list(form.records(io.BytesIO(content)))[bool(form.header) :]
    assert list(map(form.decode, records)) == some


@pytest.mark.parametrize("kind", KINDS)
def test_other_programs_read_the_columns(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x{kind}"
    write(path)
    if kind == ".parquet":
        table = pyarrow.parquet.read_table(path)
        assert tuple(table.column_names) == ALL
        assert table.schema.field("correspondence").type == pyarrow.float64()
        found = table.column("correspondence").to_pylist()
    elif kind == ".jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert all(tuple(line) == ALL for line in lines)
        found = [line["correspondence"] for line in lines]
    else:
        with path.open(newline="") as file:
            table = csv.DictReader(file)
            found = [float(line["correspondence"]) if line["correspondence"] else None for line in table]
            assert tuple(table.fieldnames or ()) == ALL
    assert found == [1 + 1 / 3, None, None]


@pytest.mark.parametrize("kind", KINDS)
def test_tables_with_aspects_are_resumed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x{kind}"
    assert write(path, RESULTS[:2]) == ROWS[:2]
    assert write(path, RESULTS, resume=True) == ROWS
    assert write(path, [], resume=True) == ROWS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", [(), ("authenticity",), ("correspondence", "authenticity")])
def test_tables_with_other_aspects_are_refused_and_left_alone(
    tmp_path: Path, kind: str, other: tuple[str, ...]
) -> None:
    path = tmp_path / f"x{kind}"
    write(path)
    before = path.read_bytes()
    with pytest.raises(OutputError, match=rf"x\{kind}: its columns are not those of m@2; resume with"):
        open_sink(path, model="m@2", aspects=other, resume=True)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", KINDS)
def test_tables_without_aspects_are_refused_by_a_model_with_some(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x{kind}"
    with open_sink(path, model=MODEL) as sink:
        sink.append(RESULTS[2])
    before = path.read_bytes()
    with pytest.raises(OutputError, match="its columns are not those of m@1"):
        open_sink(path, model=MODEL, aspects=ASPECTS, resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", [".csv", ".jsonl"])
def test_resuming_after_a_cut_at_any_byte_gives_the_same_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x{kind}"
    write(path)
    whole = path.read_bytes()
    for cut in {*range(0, len(whole), 17), *range(len(whole) - 60, len(whole), 5)}:
        path.write_bytes(whole[:cut])
        write(path, resume=True)
        assert path.read_bytes() == whole, f"cut at byte {cut}"
