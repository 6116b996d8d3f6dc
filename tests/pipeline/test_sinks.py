"""Tables on disk: nothing lost, nothing repeated, nothing foreign destroyed, whatever happens."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.assessment import Assessment, Failure, Interval
from foveal.errors import ImageNotFoundError, MissingExtraError, OutputError
from foveal.pipeline.rows import COLUMNS, Row, to_row
from foveal.pipeline.sinks import open_sink

MODEL = "m@1"
KINDS = [".csv", ".jsonl", ".parquet"]
HARD_NAMES = [
    "plain.jpg",
    "with, comma.jpg",
    'with "quotes".jpg',
    "with\nline\r\nbreaks.jpg",
    '"\n"',
    "\r",
    os.fsdecode(b"caf\xe9.jpg"),
    "été 写真.jpg",
]


def assessed(source: str, quality: float = 3.1) -> Assessment:
    return Assessment(
        quality, Interval(quality - 0.1, quality + 1 / 3, 0.9), MODEL, source, warnings=("dark",)
    )


def missing(source: str) -> Failure:
    return Failure(source, ImageNotFoundError(source, "no such file", "check its spelling"))


RESULTS = [assessed(name, 1 + i / 3) for i, name in enumerate(HARD_NAMES)] + [missing("gone.jpg")]
ROWS = [to_row(result, MODEL) for result in RESULTS]


def write(path: Path, results: list[Assessment | Failure] = RESULTS, **options: bool) -> list[Row]:
    """Write what has no row yet, as score_many does, and give all rows at the end."""
    with open_sink(path, model=MODEL, **options) as sink:
        for result in results:
            if str(result.source) not in sink:
                sink.append(result)
        return list(sink.rows())


def interrupt(path: Path, results: list[Assessment | Failure]) -> None:
    """Write rows, then leave as Ctrl-C does."""
    sink = open_sink(path, model=MODEL)
    for result in results:
        sink.append(result)
    sink.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)


def left_over(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("kind", [".csv", ".jsonl"])
def test_rows_come_back_as_they_were(tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"x{kind}"
    assert write(out) == ROWS
    assert left_over(tmp_path) == {out.name}


def test_parquet_holds_all_rows_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    write(out)
    assert left_over(tmp_path) == {out.name}
    table = pyarrow.parquet.read_table(out)
    assert tuple(table.column_names) == COLUMNS
    lines = table.to_pylist()
    assert [line["quality"] for line in lines] == [row.quality for row in ROWS]
    assert [line["low"] for line in lines] == [row.low for row in ROWS]
    assert [line["warnings"] for line in lines] == [list(row.warnings) for row in ROWS]
    assert lines[-1]["error"] == "no such file; check its spelling"
    # Parquet's text is UTF-8: stray bytes of a name are shown as escapes.
    assert [line["source"] for line in lines[:6]] == HARD_NAMES[:6]
    assert lines[6]["source"] == "caf\\udce9.jpg"


def test_parquet_of_no_rows_has_the_columns(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", [])
    assert tuple(pyarrow.parquet.read_schema(tmp_path / "x.parquet").names) == COLUMNS


@pytest.mark.parametrize("kind", [".csv", ".jsonl"])
def test_resuming_after_a_cut_at_any_byte_gives_the_same_file(tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"x{kind}"
    write(out)
    whole = out.read_bytes()
    last = whole.index(b"caf")
    for cut in [*range(0, last, 11), *range(last, len(whole))]:
        out.write_bytes(whole[:cut])
        write(out, resume=True)
        assert out.read_bytes() == whole, f"cut at byte {cut}"


def test_resuming_parquet_after_a_cut_of_its_journal_at_any_byte(tmp_path: Path) -> None:
    out, journal = tmp_path / "x.parquet", tmp_path / "x.parquet.journal.jsonl"
    interrupt(out, RESULTS)
    assert left_over(tmp_path) == {journal.name}
    whole = journal.read_bytes()
    # Every cut in the last two rows; and some before.
    for cut in [0, 1, 40, *range(len(whole) - 250, len(whole) + 1, 7)]:
        out.unlink(missing_ok=True)
        journal.write_bytes(whole[:cut])
        write(out, resume=True)
        sources = pyarrow.parquet.read_table(out).column("source").to_pylist()
        assert len(sources) == len(set(sources)) == len(ROWS)
        assert left_over(tmp_path) == {out.name}


@settings(max_examples=25, deadline=None)
@given(kills=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 200)), max_size=4))
def test_resuming_again_and_again(
    tmp_path_factory: pytest.TempPathFactory, kills: list[tuple[int, int]]
) -> None:
    """Runs that end after some rows, each with its last row torn by some bytes."""
    out = tmp_path_factory.mktemp("table") / "x.csv"
    for count, torn in kills:
        write(out, RESULTS[:count], resume=True)
        os.truncate(out, max(0, out.stat().st_size - torn))
    rows = write(out, resume=True)
    assert sorted(rows, key=lambda row: row.source) == sorted(ROWS, key=lambda row: row.source)


@pytest.mark.parametrize("kind", KINDS)
def test_a_complete_table_takes_more_rows(tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"x{kind}"
    write(out)
    rows = write(out, [*RESULTS, assessed("new.jpg")], resume=True)
    assert [row.source for row in rows][-2:] == ["gone.jpg", "new.jpg"]
    assert len(rows) == len(ROWS) + 1
    assert [row.quality for row in rows[:-1]] == [row.quality for row in ROWS]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_file_under_another_spelling_is_done(tmp_path: Path, kind: str) -> None:
    with open_sink(tmp_path / f"x{kind}", model=MODEL) as sink:
        sink.append(assessed("photos/a.jpg"))
        assert "./photos/../photos/a.jpg" in sink
        assert str(Path("photos/a.jpg").absolute()) in sink
        assert "photos/b.jpg" not in sink


@pytest.mark.parametrize("kind", KINDS)
def test_an_existing_table_is_refused_unless_resumed_or_overwritten(tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"x{kind}"
    write(out)
    with pytest.raises(OutputError, match=r"exists already; use --resume .* or --overwrite"):
        write(out)
    assert [row.source for row in write(out, [assessed("only.jpg")], overwrite=True)] == ["only.jpg"]


def test_an_interrupted_parquet_run_is_not_overlooked(tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    interrupt(out, RESULTS[:1])
    with pytest.raises(OutputError, match="exists already"):
        write(out)
    assert len(write(out, [RESULTS[1]], overwrite=True)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_another_model_are_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"x{kind}"
    write(out)
    before = out.read_bytes()
    with pytest.raises(OutputError, match=r"written by m@1, not by other@2"):
        open_sink(out, model="other@2", resume=True)
    assert out.read_bytes() == before
    assert left_over(tmp_path) == {out.name}
    write(out, resume=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "content",
    [
        b"name,score\na.jpg,3\n",
        b'{"file": "a"}\n',
        b"no line end",
        b"\0\0\0\0",
        b"source,quality\n",
        b"PAR1PAR1",
    ],
)
def test_foreign_files_are_refused_and_left_alone(tmp_path: Path, kind: str, content: bytes) -> None:
    out = tmp_path / f"x{kind}"
    out.write_bytes(content)
    with pytest.raises(OutputError, match=out.name):
        open_sink(out, model=MODEL, resume=True)
    assert out.read_bytes() == content
    assert left_over(tmp_path) == {out.name}


@pytest.mark.parametrize("kind", [".csv", ".jsonl"])
def test_a_table_damaged_in_the_middle_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"x{kind}"
    write(out, [assessed(f"{number}.jpg") for number in range(6)])
    lines = out.read_bytes().splitlines(keepends=True)
    content = b"".join([*lines[:3], b"nonsense\n", *lines[3:]])
    out.write_bytes(content)
    with pytest.raises(OutputError, match=r"damaged at byte \d+"):
        open_sink(out, model=MODEL, resume=True)
    assert out.read_bytes() == content


@pytest.mark.parametrize("kind", KINDS)
def test_two_writers_of_one_table(tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"x{kind}"
    with open_sink(out, model=MODEL):
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(OutputError, match="another process is writing"):
                open_sink(out, model=MODEL, **options)
    write(out, resume=True)


def test_a_killed_writer_holds_no_lock(tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    script = (
        "import sys, time; from foveal.pipeline.sinks import open_sink\n"
        f"sink = open_sink({str(out)!r}, model={MODEL!r}); print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        with pytest.raises(OutputError, match="another process is writing"):
            open_sink(out, model=MODEL, resume=True)
        writer.send_signal(signal.SIGKILL)
    assert write(out, resume=True) == ROWS
    assert left_over(tmp_path) == {out.name}


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_keeps_whole_rows_and_names_the_file(tmp_path: Path, kind: str) -> None:
    resource = pytest.importorskip("resource")
    out = tmp_path / f"x{kind}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system itself writes the part of a row that still fits, then refuses the rest.
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(OutputError, match=rf"{out.name}.*cannot write .*--resume"):
            write(out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (left,) = tmp_path.iterdir()
    assert left.read_bytes().endswith(b"\n")
    assert left.stat().st_size < 500
    assert [row.quality for row in write(out, resume=True)] == [row.quality for row in ROWS]


def test_a_write_that_fails_at_once_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_sink(tmp_path / "x.csv", model=MODEL) as sink:
        sink.append(RESULTS[0])
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OutputError, match=r"x\.csv: cannot write \(No space left on device\)"):
            sink.append(RESULTS[1])
        monkeypatch.undo()
        assert list(sink.rows()) == ROWS[:1]


def test_a_parquet_file_is_whole_or_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "x.parquet"
    write(out, RESULTS[:2])
    before = out.read_bytes()

    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    sink = open_sink(out, model=MODEL, resume=True)
    sink.append(RESULTS[2])
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"x\.parquet: cannot write"), sink:
        pass
    monkeypatch.undo()
    assert out.read_bytes() == before
    assert len(write(out, RESULTS[:3], resume=True)) == 3


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for path, reason in [
        (tmp_path / "x.txt", r"x\.txt: .*\.csv, \.jsonl or \.parquet"),
        (tmp_path / "x", r"x: unknown kind"),
        (tmp_path / "none" / "x.csv", "no folder"),
        (tmp_path / "folder.csv", "is a folder"),
    ]:
        with pytest.raises(OutputError, match=reason):
            open_sink(path, model=MODEL, resume=True)
    with pytest.raises(OutputError, match="not both"):
        open_sink(tmp_path / "x.csv", model=MODEL, resume=True, overwrite=True)


def test_parquet_without_pyarrow_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"foveal\[parquet\]"):
        open_sink(tmp_path / "x.parquet", model=MODEL)
    assert left_over(tmp_path) == set()
