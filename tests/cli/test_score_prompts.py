"""``foveal score`` with prompts: one for all, one for each, or none on purpose."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import foveal
from foveal.artifact import write_artifact
from foveal.cli.run import run
from prompt_models import LENGTH, make_artifact

GOOD = ["a.jpg", "b.png", "c.webp", "inner/d.jpg"]
COLUMNS = ["source", "quality", "low", "high", "authenticity", "correspondence", "model", "warnings", "error"]
LEFT_OUT = "no score for correspondence: that takes a prompt"
Score = Callable[..., int]


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompted") / "prompted.foveal.safetensors"
    write_artifact(path, make_artifact())
    return path


@pytest.fixture(scope="module")
def judge(model_path: Path) -> foveal.Assessor:
    """The same assessor from Python."""
    return foveal.load(model_path)


@pytest.fixture
def score(model_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Score:
    """Run ``foveal score --model prompted`` in the folder that holds ``photos``, without its broken file."""
    monkeypatch.chdir(photo_folder.parent)
    (photo_folder / "broken.jpg").unlink()
    return lambda *args: run(["score", "--model", str(model_path), *args])


def write_prompts(rows: dict[str, str], name: str = "p.csv") -> str:
    with Path(name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "prompt"), *rows.items()])
    return name


def read_table(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pyarrow.parquet.read_table(path).to_pylist())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return [{name: cell or None for name, cell in line.items()} for line in csv.DictReader(file)]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_one_prompt_for_all(
    score: Score, judge: foveal.Assessor, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score("photos", "--prompt", "a red fox", "--out", f"x.{kind}") == 0
    assert capsys.readouterr().err == ""
    rows = read_table(Path(f"x.{kind}"))
    assert [row["source"] for row in rows] == [f"photos/{name}" for name in GOOD]
    for row in rows:
        assert list(row) == COLUMNS
        expected = judge(row["source"], prompt="a red fox")
        assert float(row["quality"]) == expected.quality
        assert {name: float(row[name]) for name in expected.aspects} == expected.aspects
        assert len(expected.aspects) == 2


def test_json_is_what_python_says(
    score: Score, judge: foveal.Assessor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score("photos/a.jpg", "--prompt", "castle", "--json") == 0
    (element,) = json.loads(capsys.readouterr().out)
    assert element == judge("photos/a.jpg", prompt="castle").to_dict()
    assert set(element["aspects"]) == {"authenticity", "correspondence"}


@pytest.mark.parametrize("args", [["--no-prompt"], ["--prompt", ""]])
def test_no_prompt_on_purpose(score: Score, args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert score("photos", *args, "--out", "x.csv") == 0
    assert capsys.readouterr().err == "foveal: no correspondence for 4 of the images: no prompt to judge by\n"
    for row in read_table(Path("x.csv")):
        assert row["correspondence"] is None
        assert row["authenticity"] is not None
        assert row["warnings"] == LEFT_OUT


def test_nothing_is_said_of_prompts(score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    assert score("photos", "--out", "x.csv") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "correspondence cannot be judged without" in shown.err
    assert "--no-prompt" in shown.err
    assert not Path("x.csv").exists()


def test_a_table_of_prompts(score: Score, judge: foveal.Assessor, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = {
        "photos/a.jpg": "red fox",
        "b.png": "castle",
        "d.jpg": "",
        "gone.jpg": "snow",
        "more.jpg": "by",
    }
    assert score("photos", "--prompts", write_prompts(prompts), "--out", "x.csv") == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "foveal: p.csv: 2 of 5 images in it are not among those to be scored"
    assert told[1].startswith("foveal: photos/c.webp: no prompt: p.csv has no row for this image; add one")
    assert told[2:] == ["foveal: no correspondence for 1 of the images: no prompt to judge by"]
    a, b, c, d = read_table(Path("x.csv"))
    for row, prompt in ((a, "red fox"), (b, "castle")):
        expected = judge(row["source"], prompt=prompt)
        assert float(row["correspondence"]) == expected.aspects["correspondence"]
        assert row["warnings"] is None
    assert a["correspondence"] != b["correspondence"]
    assert (c["quality"], c["correspondence"], c["source"]) == (None, None, "photos/c.webp")
    assert (d["correspondence"], d["warnings"]) == (None, LEFT_OUT)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_resuming_with_prompts(score: Score, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_prompts({f"photos/{name}": f"red {name}" for name in GOOD})
    assert score("photos/a.jpg", "photos/b.png", "--prompts", table, "--out", f"x.{kind}") == 0
    before = read_table(Path(f"x.{kind}"))
    assert score("photos", "--prompts", table, "--out", f"x.{kind}", "--resume") == 0
    after = read_table(Path(f"x.{kind}"))
    assert after[:2] == before
    assert [row["source"] for row in after] == [f"photos/{name}" for name in GOOD]
    assert all(row["correspondence"] is not None for row in after)
    assert "2 of 4 images in it" in capsys.readouterr().err


def test_a_list_on_standard_input(score: Score, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_prompts({"a.jpg": "red", "b.png": "fox"})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"photos/b.png\nphotos/a.jpg\n")))
    assert score("-", "--prompts", table, "--out", "x.csv") == 0
    assert [row["source"] for row in read_table(Path("x.csv"))] == ["photos/b.png", "photos/a.jpg"]


def test_ambiguous_names_stop_everything_at_once(score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/inner/a.jpg").write_bytes(Path("photos/a.jpg").read_bytes())
    assert score("photos", "--prompts", write_prompts({"a.jpg": "red"}), "--out", "x.csv") == 2
    assert "p.csv: row 2, 'a.jpg', could be any of 2 images" in capsys.readouterr().err
    assert not Path("x.csv").exists()


def test_a_long_prompt_is_cut_with_a_warning(score: Score) -> None:
    assert score("photos/a.jpg", "--prompt", "red " * (LENGTH + 1), "--out", "x.csv") == 0
    (row,) = read_table(Path("x.csv"))
    assert row["warnings"] == "prompt cut: it has more than the 8 tokens that the model reads"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--prompt", "x", "--no-prompt"], "exclude each other"),
        (["--prompt", "", "--no-prompt"], "exclude each other"),
        (["--prompt", "x", "--prompts", "p.csv"], "exclude each other"),
        (["--prompts", "p.csv", "--no-prompt"], "exclude each other"),
        (["--prompts", "gone.csv"], "gone.csv: there is no such file"),
        (["--prompts", ""], "unknown kind of table"),
        (["--prompts", "photos/notes.txt"], "unknown kind of table"),
        (["--prompt", "x" * 100_001], "100,001 characters"),
        (["--prompt", "\udce9"], "cannot read its prompt"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(
    score: Score, args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score("photos/a.jpg", *args, "--out", "x.csv") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert not Path("x.csv").exists()


@pytest.mark.parametrize("args", [["--prompt", "red"], ["--prompts", "p.csv"]])
def test_prompts_for_a_model_that_reads_none(
    tiny_model_path: Path, photo_folder: Path, args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["score", "--model", str(tiny_model_path), str(photo_folder / "a.jpg")]
    assert run([*command, *args]) == 2
    assert "tiny@0.0.1 reads no prompts; leave them out" in capsys.readouterr().err
    assert run(command) == 0
    without = capsys.readouterr()
    assert run([*command, "--no-prompt"]) == 0
    assert capsys.readouterr() == without
