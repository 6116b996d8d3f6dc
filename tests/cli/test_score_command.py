"""``foveal score`` in a pipe: what it prints, what it writes, how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import foveal
from foveal.cli.run import run

GOOD = ["a.jpg", "b.png", "c.webp", "inner/d.jpg"]
Score = Callable[..., int]


@pytest.fixture
def score(tiny_model_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Score:
    """Run ``foveal score --model tiny`` in the folder that holds ``photos``."""
    monkeypatch.chdir(photo_folder.parent)
    return lambda *args: run(["score", "--model", str(tiny_model_path), *args])


@pytest.fixture(scope="module")
def judge(tiny_model_path: Path) -> foveal.Assessor:
    """The same assessor from Python."""
    return foveal.load(tiny_model_path)


def lines(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def test_plain_lines_and_python_give_the_same_floats(
    score: Score, judge: foveal.Assessor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score("photos") == 1
    shown = capsys.readouterr()
    assert [line[3] for line in lines(shown.out)] == [f"photos/{name}" for name in GOOD]
    for quality, low, high, path in lines(shown.out):
        assessment = judge(path)
        assert float(quality) == assessment.quality
        assert float(low) == assessment.interval.low
        assert float(high) == assessment.interval.high
    # One line for the failure, and no bar, table or colour.
    assert shown.err.startswith("foveal: photos/broken.jpg: ")
    assert shown.err.count("\n") == 1
    assert "\x1b" not in shown.out + shown.err


def test_json_is_what_python_says(
    score: Score, judge: foveal.Assessor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score("--json", "photos") == 1
    elements = json.loads(capsys.readouterr().out)
    assert len(elements) == 5
    by_source = {element["source"]: element for element in elements}
    failed = by_source.pop("photos/broken.jpg")
    assert failed["quality"] is None
    assert failed["error"]
    for source, element in by_source.items():
        assert element == judge(source).to_dict()


def test_json_of_one_image_is_an_array_too(score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    assert score("--json", "photos/a.jpg") == 0
    (element,) = json.loads(capsys.readouterr().out)
    assert element["source"] == "photos/a.jpg"


def read_table(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pyarrow.parquet.read_table(path).to_pylist())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return [{name: cell or None for name, cell in line.items()} for line in csv.DictReader(file)]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_tables_hold_every_row_to_the_last_bit(
    score: Score, judge: foveal.Assessor, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"scores.{kind}"
    assert score("photos", "gone.jpg", "--out", str(out)) == 1
    rows = read_table(out)
    assert len(rows) == 6
    failed = {row["source"]: row["error"] for row in rows if row["quality"] is None}
    assert set(failed) == {"photos/broken.jpg", "gone.jpg"}
    assert all(failed.values())
    for row in rows:
        assert row["model"] == "tiny@0.0.1"
        if row["quality"] is not None:
            assert float(row["quality"]) == judge(row["source"]).quality
    assert capsys.readouterr().out == ""


def test_below_and_top(score: Score, judge: foveal.Assessor, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [f"photos/{name}" for name in GOOD]
    qualities = {path: judge(path).quality for path in paths}
    best_first = sorted(paths, key=lambda path: -qualities[path])
    limit = qualities[best_first[1]]
    under = [path for path in paths if qualities[path] < limit]

    assert score(*paths, "--below", repr(limit)) == 0
    assert [line[3] for line in lines(capsys.readouterr().out)] == under
    assert score(*paths, "--top", "2") == 0
    assert [line[3] for line in lines(capsys.readouterr().out)] == best_first[:2]
    assert score(*paths, "--below", repr(limit), "--top", "1", "--json") == 0
    assert [element["source"] for element in json.loads(capsys.readouterr().out)] == best_first[2:3]


def test_a_filter_chooses_what_is_printed_and_the_table_gets_all(
    score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.csv"
    assert score("photos", "--out", str(out), "--top", "1", "--keep-going") == 0
    assert len(lines(capsys.readouterr().out)) == 1
    assert len(read_table(out)) == 5


def test_exit_codes(score: Score) -> None:
    assert score("photos/a.jpg") == 0
    assert score("photos/a.jpg", "photos/broken.jpg") == 1
    assert score("photos/a.jpg", "photos/broken.jpg", "--keep-going") == 0
    assert score("photos/notes.txt", "--json", "--keep-going") == 0
    assert score("gone.jpg") == 1


def test_resume_scores_only_what_is_missing(
    score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.csv"
    assert score("photos/a.jpg", "photos/broken.jpg", "--out", str(out), "--resume") == 1
    before = out.read_text()
    asked: list[str] = []
    prepare = foveal.Assessor._prepare

    def noting(self: foveal.Assessor, image: str, name: str | None) -> Any:
        asked.append(image)
        return prepare(self, image, name)

    monkeypatch.setattr(foveal.Assessor, "_prepare", noting)
    # The failure of the first run still counts, and is not told twice.
    capsys.readouterr()
    assert score("photos", "--out", str(out), "--resume") == 1
    assert capsys.readouterr().err == ""
    assert sorted(asked) == ["photos/b.png", "photos/c.webp", "photos/inner/d.jpg"]
    assert out.read_text().startswith(before)
    assert len(read_table(out)) == 5
    # A filter shows the rows of all runs.
    assert score("photos", "--out", str(out), "--resume", "--top", "9", "--keep-going") == 0
    assert len(lines(capsys.readouterr().out)) == 4


def test_an_existing_table_is_safe(score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.csv"
    out.write_text("mine\n")
    assert score("photos", "--out", str(out)) == 2
    assert "exists already" in capsys.readouterr().err
    assert out.read_text() == "mine\n"
    assert score("photos/a.jpg", "--out", str(out), "--overwrite") == 0
    assert len(read_table(out)) == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--resume"], "need --out"),
        (["--overwrite"], "need --out"),
        (["--out", "x.csv", "--resume", "--overwrite"], "exclude each other"),
        (["--out", "x.jsonl", "--resume", "--json"], "does not go with --resume"),
        (["--out", "x.xls"], ".csv, .jsonl or .parquet"),
        (["--top", "0"], "--top"),
        (["--threads", "0"], "--threads"),
        (["--max-pixels", "-3"], "--max-pixels"),
        (["--model", "no-such-model"], "no-such-model"),
        (["--device", "tpu"], "--device"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(
    score: Score, args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score("photos/a.jpg", *args) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert "Traceback" not in shown.err


def test_a_folder_without_images_stops_everything_at_once(
    score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bare").mkdir()
    assert score("photos", str(tmp_path / "bare")) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "bare: no images in this folder" in shown.err


def test_max_pixels(score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    assert score("photos/a.jpg", "--max-pixels", "1000") == 1
    assert "megapixels" in capsys.readouterr().err


def test_threads_and_engine_do_not_change_a_score(score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    score("photos", "--threads", "1", "--engine", "openvino")
    one = capsys.readouterr().out
    score("photos", "--threads", "3", "--device", "cpu")
    assert capsys.readouterr().out == one


def test_a_list_on_standard_input(
    score: Score, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = io.TextIOWrapper(io.BytesIO(b"photos/b.png\nphotos/a.jpg\n"))
    monkeypatch.setattr(sys, "stdin", listed)
    assert score("-") == 0
    assert [line[3] for line in lines(capsys.readouterr().out)] == ["photos/b.png", "photos/a.jpg"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_strange_names(
    score: Score, photo_folder: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    raw = [b'comma, quote".jpg', b"line\nbreak.jpg", b"caf\xe9.jpg", b"[red].jpg", b"-.jpg"]
    folder = tmp_path / "strange"
    folder.mkdir()
    for name in raw:
        (folder / os.fsdecode(name)).write_bytes((photo_folder / "a.jpg").read_bytes())
    out = tmp_path / "x.csv"
    assert score("strange", "--out", str(out)) == 0
    assert score("strange", "--out", str(out), "--resume") == 0
    with out.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        written = [os.fsencode(line["source"]) for line in csv.DictReader(file)]
    assert sorted(written) == sorted(b"strange/" + name for name in raw)

    assert score("strange") == 0
    shown = capfdbinary.readouterr().out.splitlines()
    assert b"strange/caf\xe9.jpg" in {line.split(b"\t")[3] for line in shown}
    assert len(shown) == len(raw)
    assert score("strange", "--json") == 0
    elements = json.loads(capfdbinary.readouterr().out)
    assert sorted(os.fsencode(element["source"]) for element in elements) == sorted(written)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_results_come_while_the_list_still_grows(
    tiny_model_path: Path, photo_folder: Path, form: list[str]
) -> None:
    command = [
        sys.executable,
        "-m",
        "foveal",
        "score",
        "-",
        "--model",
        str(tiny_model_path),
        "--threads",
        "1",
    ]
    with subprocess.Popen([*command, *form], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(40):
            name = photo_folder / f"link{number}.jpg"
            name.symlink_to("a.jpg")
            process.stdin.write(os.fsencode(name) + b"\n")
        process.stdin.flush()
        first = [process.stdout.readline() for _ in range(10)]
        assert b"link8.jpg" in first[-1 if form else 8]
        process.stdin.close()
        rest = process.stdout.read()
    assert process.returncode == 0
    whole = b"".join(first) + rest
    assert len(json.loads(whole) if form else whole.splitlines()) == 40
