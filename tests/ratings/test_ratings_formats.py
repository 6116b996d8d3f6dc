from __future__ import annotations

import datetime
import math
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import MissingExtraError, RatingsError
from foveal.ratings.cells import text
from foveal.ratings.files import READERS, read_columns
from foveal.ratings.own_table import Columns, read_table
from foveal.ratings.table import DatasetCard, Ratings

Write = Callable[[Path, dict[str, list[object]]], Path]

KINDS = [".csv", ".tsv", ".parquet", ".xlsx", ".jsonl"]
TYPED = [".parquet", ".xlsx", ".jsonl"]
WITHOUT_HEADING_ROW = [".parquet", ".jsonl"]
NAMES = ["plain.png", "photo (1).jpg", " leading blank.png", "größer, mit Komma.png", "in/folder.png"]
CARD = DatasetCard("mine", -50.0, 100.0, higher_is_better=False)
ALL = Columns(
    scores={"quality": "mos", "correspondence": "c"},
    std={"quality": "std"},
    group="scene",
    subset="camera",
    split="split",
    prompt="prompt",
)

# openpyxl writes 16 digits, so that the last one or two of a float are its own; 15 survive anything.
SCORES = st.floats(-50, 100).map(lambda value: float(f"{value:.15g}"))
# What XML cannot hold is left out: control characters, lone surrogates, code points without a character.
LABELS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), max_size=8)
ROWS = st.fixed_dictionaries(
    {
        "mos": st.none() | SCORES,
        "c": SCORES,
        "std": st.none() | st.floats(0, 9).map(lambda value: float(f"{value:.15g}")),
        "scene": st.integers(-(10**12), 10**12),
        "camera": LABELS,
        "split": st.sampled_from(["train", "Val", "TEST", ""]),
        "prompt": LABELS,
    }
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "in").mkdir()
    for name in NAMES:
        on_disk = name.strip().replace("photo (1).jpg", "Photo (1).JPG")
        (folder / on_disk).write_bytes(b"picture")
    return folder


def same(one: Ratings, other: Ratings) -> bool:
    labels = ("card", "images", "names", "groups", "subsets", "split", "prompts", "targets")
    return all(getattr(one, name) == getattr(other, name) for name in labels) and all(
        np.array_equal(column, getattr(other, kind)[target], equal_nan=True)
        for kind in ("scores", "std")
        for target, column in getattr(one, kind).items()
    )


@given(rows=st.lists(ROWS, min_size=1, max_size=len(NAMES)))
@settings(max_examples=15, deadline=None)
def test_the_same_table_gives_the_same_ratings_in_every_format(
    rows: list[dict[str, object]], folder: Path, write_table: Write
) -> None:
    columns: dict[str, list[object]] = {"image": [*NAMES[: len(rows)]]}
    columns |= {heading: [row[heading] for row in rows] for heading in rows[0]}
    first, *others = [
        read_table(write_table(folder / f"table{suffix}", columns), CARD, ALL) for suffix in KINDS
    ]
    expected = [np.nan if value is None else value for value in columns["mos"]]
    np.testing.assert_array_equal(first.scores["quality"], expected)
    assert first.groups == tuple(str(row["scene"]) for row in rows)
    assert first.prompts == tuple(str(row["prompt"]).strip() for row in rows)
    for suffix, other in zip(KINDS[1:], others, strict=True):
        assert same(first, other), suffix


@given(value=st.floats() | st.integers(-(2**63), 2**63))
def test_numbers_as_text_are_read_back_exactly(value: float) -> None:
    cell = text(value)
    if math.isnan(value):
        assert cell == ""
    else:
        assert float(cell) == float(value)
        assert math.copysign(1, float(cell)) == math.copysign(1, value)
        assert not cell.endswith(".0")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (" as it is ", " as it is "),
        (True, "true"),
        (False, "false"),
        (5.0, "5"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e22, "1e+22"),
        (Decimal("4.10"), "4.10"),
        (Decimal("500.00"), "500"),
        (Decimal("123456789012345678901234567890"), "123456789012345678901234567890"),
        (datetime.date(2024, 5, 1), "2024-05-01"),
        ([1, "ä", None], '[1, "ä", null]'),
        ({"when": datetime.date(2024, 5, 1)}, '{"when": "2024-05-01"}'),
    ],
)
def test_cells_as_text(value: object, expected: str) -> None:
    assert text(value) == expected


@pytest.mark.parametrize("suffix", KINDS)
def test_missing_scores_are_nan_and_whole_numbers_have_no_point(
    tmp_path: Path, write_table: Write, suffix: str
) -> None:
    nan = float("nan") if suffix in WITHOUT_HEADING_ROW else None
    columns: dict[str, list[object]] = {
        "image": ["a", "b", "c"],
        "mos": [4.0, None, nan],
        "scene": [7.0, 7.5, None],
        "empty": [None, None, None],
    }
    table = read_columns(write_table(tmp_path / f"t{suffix}", columns))
    assert [cell.removesuffix(".0") for cell in table["mos"]] == ["4", "", ""]
    if suffix in TYPED:
        assert table["scene"] == ["7", "7.5", ""]
    assert table["empty"] == ["", "", ""]


@pytest.mark.parametrize(
    ("suffix", "value", "shown"),
    [
        *((suffix, True, "'true'") for suffix in TYPED),
        *((suffix, "4,5", "'4,5'") for suffix in KINDS),
        *((suffix, datetime.date(2024, 5, 1), "'2024-05-01") for suffix in (".parquet", ".xlsx")),
        *((suffix, [4, 5], r"'\[4, 5\]'") for suffix in (".parquet", ".jsonl")),
    ],
)
def test_scores_that_are_no_numbers_are_refused_and_harmless_where_unused(
    tmp_path: Path, write_table: Write, suffix: str, value: object, shown: str
) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    path = tmp_path / f"t{suffix}"
    write_table(path, {"image": ["a.png"], "mos": [3], "other": [value]})
    assert read_table(path, CARD).scores["quality"].tolist() == [3.0]
    row = 1 if suffix in WITHOUT_HEADING_ROW else 2
    with pytest.raises(RatingsError, match=rf"t{suffix}: row {row}, other: {shown}.* is not a number"):
        read_table(path, CARD, Columns(scores={"quality": "other"}))


@pytest.mark.parametrize("suffix", KINDS)
def test_tables_without_rows_and_rows_without_images_are_refused(
    tmp_path: Path, write_table: Write, suffix: str
) -> None:
    path = tmp_path / f"t{suffix}"
    with pytest.raises(RatingsError, match=rf"t{suffix}: the table has no rows"):
        read_columns(write_table(path, {"image": [], "mos": []}))
    write_table(path, {"image": ["a", None], "mos": [1, 2]})
    row = 2 if suffix in WITHOUT_HEADING_ROW else 3
    with pytest.raises(RatingsError, match=f"row {row} has no image"):
        read_table(path, CARD)
    write_table(path, {"picture": ["a"], " mos ": [1]})
    with pytest.raises(RatingsError, match="no column 'image'; there are picture, mos"):
        read_table(path, CARD)


@pytest.mark.parametrize("suffix", [".parquet", ".xlsx", ".csv"])
def test_headings_that_differ_by_blanks_only_are_refused(
    tmp_path: Path, write_table: Write, suffix: str
) -> None:
    path = write_table(tmp_path / f"t{suffix}", {"mos": [1], "mos ": [2]})
    with pytest.raises(RatingsError, match=rf"t{suffix}: two columns have the same heading, 'mos'"):
        read_columns(path)


@pytest.mark.parametrize("suffix", KINDS)
@given(content=st.binary(max_size=200))
@settings(max_examples=20, deadline=None)
def test_bytes_that_are_no_table_are_refused_and_never_crash(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"noise{suffix}"
    path.write_bytes({".parquet": b"PAR1", ".xlsx": b"PK\x03\x04"}.get(suffix, b"") + content)
    try:
        table = read_columns(path)
    except RatingsError as error:
        message = str(error)
    else:
        assert suffix in (".csv", ".tsv")  # any line of text is a heading
        assert len({len(cells) for cells in table.values()}) <= 1
        message = path.name
    assert path.name in message


@pytest.mark.parametrize("suffix", [".parquet", ".xlsx"])
@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=8, deadline=None)
def test_files_that_are_cut_are_refused(
    tmp_path_factory: pytest.TempPathFactory, write_table: Write, suffix: str, share: float
) -> None:
    path = tmp_path_factory.getbasetemp() / f"cut{suffix}"
    columns: dict[str, list[object]] = {"image": [f"{i}.png" for i in range(50)], "mos": [*range(50)]}
    whole = write_table(path, columns).read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(RatingsError, match=rf"cut{suffix}: cannot be read"):
        read_columns(path)


@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=20, deadline=None)
def test_lines_of_json_that_are_cut_are_refused_but_between_lines(
    tmp_path_factory: pytest.TempPathFactory, write_table: Write, share: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.jsonl"
    names: list[object] = [f"{i}.png" for i in range(20)]
    whole = write_table(path, {"image": names, "mos": [*range(20)]}).read_bytes()
    rest = whole[: int(share * len(whole))]
    path.write_bytes(rest)
    if rest and rest[-1:] in b"}\n":
        table = read_columns(path)
        assert table["image"] == names[: len(rest.splitlines())]
    else:
        with pytest.raises(RatingsError, match=r"cut.jsonl: (line \d+ is not JSON|the table has no rows)"):
            read_columns(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1, 2]", "line 2 is not a JSON object"),
        ('"image"', "line 2 is not a JSON object"),
        ('{"image": "a", "image": "b"}', "line 2 is not JSON: a key stands twice"),
        ('{"image": "a", " image": "b"}', "same heading, 'image'"),
        ("[" * 100_000, "line 2 is not JSON"),
        ('{"mos": ' + "9" * 5000 + "}", "line 2 is not JSON"),
        ("{'image': 'a'}", "line 2 is not JSON"),
    ],
)
def test_lines_that_are_no_objects_are_refused(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"image": "a", "mos": 1}\n' + line, encoding="utf-8")
    with pytest.raises(RatingsError, match=rf"t.jsonl: .*{message}"):
        read_columns(path)


def test_keys_of_json_may_be_absent_and_nested_ones_are_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.JSONL"
    path.write_text(
        '\ufeff{"image": "a", "mos": 5.0, "": 1}\n\n{"image": "b", " raters ": {"n": 3, "m": 4}}\n',
        encoding="utf-8",
    )
    table = read_columns(path)
    assert dict(table) == {"image": ["a", "b"], "mos": ["5", ""], "raters": ["", '{"n": 3, "m": 4}']}


def test_tabs_separate_and_quotes_may_hold_them(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text('\ufeffimage\tmos\t\n"a\tb.png"\t1,5\t\n', encoding="utf-8")
    assert read_columns(path) == {"image": ["a\tb.png"], "mos": ["1,5"]}


def test_only_workbooks_have_sheets(tmp_path: Path, write_table: Write) -> None:
    for suffix in KINDS:
        if suffix != ".xlsx":
            path = write_table(tmp_path / f"t{suffix}", {"image": ["a"], "mos": [1]})
            with pytest.raises(RatingsError, match=rf"t{suffix}: has no sheet 'one'; only workbooks"):
                read_table(path, CARD, Columns(sheet="one"))


@pytest.mark.parametrize(("extra", "package"), [("parquet", "pyarrow"), ("xlsx", "openpyxl")])
def test_a_missing_extra_is_named(
    tmp_path: Path, write_table: Write, monkeypatch: pytest.MonkeyPatch, extra: str, package: str
) -> None:
    path = write_table(tmp_path / f"t.{extra}", {"image": ["a"], "mos": [1]})
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.parquet", None)
    with pytest.raises(MissingExtraError, match=rf"t\.{extra}: .*foveal\[{extra}\]"):
        read_columns(path)


def test_plain_tables_import_nothing_for_the_others(tmp_path: Path, write_table: Write) -> None:
    path = write_table(tmp_path / "t.csv", {"image": ["a"], "mos": [1]})
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from pathlib import Path\n"
        "from foveal.ratings import sources\n"
        "from foveal.ratings.files import read_columns\n"
        "read_columns(Path(sys.argv[1]))\n"
        "print({'pyarrow', 'openpyxl', 'torch', 'openvino'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_kind_has_a_test() -> None:
    assert sorted(READERS) == sorted(KINDS)
