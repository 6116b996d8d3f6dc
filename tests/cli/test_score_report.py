"""``foveal score --report``: the page holds what the command scored."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import foveal
from constructed_explainer import constructed_explainer
from foveal.artifact import write_artifact
from foveal.cli.run import run
from foveal.explanation import explainer as explainers
from foveal.explanation.explainer import Explainer
from foveal.explanation.file import write_explainer_file
from prompt_models import make_artifact
from report_pages import Page

GOOD = ["a.jpg", "b.png", "c.webp", "inner/d.jpg"]
Score = Callable[..., int]


@pytest.fixture
def score(tiny_model_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Score:
    """Run ``foveal score --model tiny`` in the folder that holds ``photos``."""
    monkeypatch.chdir(photo_folder.parent)
    # The command sets this for its own process: here it must not outlive the test.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    return lambda *args: run(["score", "--model", str(tiny_model_path), *args])


@pytest.fixture
def seer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small explainer in place of the shipped one."""
    path = tmp_path / "seer.foveal-explainer.safetensors"
    write_explainer_file(path, constructed_explainer())
    monkeypatch.setattr(explainers, "shipped", lambda: path)


@pytest.fixture(scope="module")
def judge(tiny_model_path: Path) -> foveal.Assessor:
    """The same assessor from Python."""
    return foveal.load(tiny_model_path)


def page(path: str = "r.html") -> Page:
    return Page(Path(path).read_text(encoding="utf-8"))


def scores(read: Page) -> dict[str, float | None]:
    names = [read.data["root"] + name for name in read.data["names"]]
    return dict(zip(names, read.data["quality"], strict=True))


def test_the_page_holds_every_row(
    score: Score, judge: foveal.Assessor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score("photos", "gone.jpg", "--report", "r.html", "--report-details", "0") == 1
    shown = capsys.readouterr()
    assert shown.out.count("\n") == 4  # the lines are the same with and without a report
    assert shown.err.count("\n") == 2
    read = page()
    expected = {f"photos/{name}": round(judge(f"photos/{name}").quality, 4) for name in GOOD}
    assert scores(read) == expected | {"photos/broken.jpg": None, "gone.jpg": None}
    interval = judge("photos/a.jpg").interval
    place = read.data["names"].index("photos/a.jpg")
    assert [read.data["low"][place], read.data["high"][place]] == [
        round(interval.low, 4),
        round(interval.high, 4),
    ]
    assert "4 scored, 2 failed. Judged by tiny@0.0.1." in " ".join(read.words.split())
    assert set(read.data["thumbnails"]) == {str(read.data["names"].index(f"photos/{name}")) for name in GOOD}
    small = Image.open(io.BytesIO(base64.b64decode(read.data["thumbnails"][str(place)])))
    assert (small.format, max(small.size)) == ("JPEG", 160)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_resumed_run_reports_the_earlier_rows_too(score: Score, kind: str) -> None:
    out = f"x.{kind}"
    details = ("--report-details", "0")
    assert score("photos/a.jpg", "photos/broken.jpg", "--out", out) == 1
    Path("photos/a.jpg").unlink()  # the score is kept, the picture is gone
    assert score("photos/b.png", "--out", out, "--resume", "--report", "r.html", *details) == 1
    read = page()
    assert list(scores(read)) == ["photos/a.jpg", "photos/broken.jpg", "photos/b.png"]
    assert list(read.data["thumbnails"]) == ["2"]
    assert "1 picture could not be read again after scoring." in read.words
    assert "photos/broken.jpg" in read.words
    # With nothing left to score the page is the same to the byte.
    before = Path("r.html").read_bytes()
    assert score("photos/b.png", "--out", out, "--resume", "--report", "r.html", *details) == 1
    assert Path("r.html").read_bytes() == before


def test_json_and_a_report_go_together(score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    assert score("photos", "--json", "--report", "r.html", "--report-details", "0", "--keep-going") == 0
    elements = json.loads(capsys.readouterr().out)
    assert {one["source"]: one["quality"] and round(one["quality"], 4) for one in elements} == scores(page())


def test_filters_choose_what_is_printed_and_the_page_gets_all(
    score: Score, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [f"photos/{name}" for name in GOOD]
    assert score(*paths, "--top", "1", "--report", "r.html", "--report-details", "0") == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert len(scores(page())) == 4


def test_budgets_of_pictures(score: Score, judge: foveal.Assessor, seer: None) -> None:
    paths = [f"photos/{name}" for name in GOOD]
    assert score(*paths, "--report", "r.html", "--report-thumbnails", "2", "--report-details", "3") == 0
    read = page()
    ordered = sorted(paths, key=lambda path: judge(path).quality)
    places = {path: str(place) for place, path in enumerate(scores(read))}
    assert set(read.data["thumbnails"]) == {places[ordered[0]], places[ordered[-1]]}
    assert set(read.data["details"]) == {places[ordered[0]], places[ordered[-1]], places[ordered[1]]}
    assert "Explained by constructed@1: 3 images from both ends" in read.words
    assert "Thumbnails of the 2 with the lowest and highest scores" in read.words


def test_explanations_are_those_of_the_explainer_about_this_score(
    score: Score, judge: foveal.Assessor, seer: None
) -> None:
    assert score("photos/a.jpg", "--report", "r.html") == 0
    (told,) = page().data["details"].values()
    expected = Explainer(constructed_explainer(), judge)("photos/a.jpg")
    assert told["description"] == expected.description
    assert told["disagreements"] == [one.text for one in expected.disagreements]
    assert len(told["attributes"]) == len(expected.seen)


def test_without_an_explainer_the_page_has_no_explanations(
    score: Score, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(explainers, "shipped", lambda: tmp_path / "gone.safetensors")
    assert score("photos/a.jpg", "--report", "r.html") == 0
    read = page()
    assert read.data["details"] == {}
    assert "No image is explained: " in read.words
    assert score("photos/a.jpg", "--report", "r.html", "--report-details", "0") == 0
    assert "No image is explained" not in page().words


def test_details_of_none_never_load_an_explainer(score: Score, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("an explainer was loaded")

    monkeypatch.setattr(explainers, "load_explainer", never)
    assert score("photos/a.jpg", "--report", "r.html", "--report-details", "0") == 0


def test_aspects_are_in_the_page(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch, seer: None
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.chdir(photo_folder.parent)
    model = tmp_path / "prompted.foveal.safetensors"
    write_artifact(model, make_artifact())
    args = ["score", "--model", str(model), "--prompt", "red fox", "photos/a.jpg", "--out", "x.csv"]
    # What explains is asked about the image alone, so the shipped assessor takes the place of this one.
    assert run([*args, "--report", "r.html", "--report-details", "1"]) == 0
    read = page()
    with Path("x.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert read.data["aspects"] == {
        name: [round(float(line[name]), 4)] for name in ("authenticity", "correspondence")
    }
    assert list(read.data["details"]) == ["0"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("photos/a.jpg", "ends in .html"),
        ("nowhere/r.html", "there is no folder"),
        ("photos", "is a directory"),
    ],
)
def test_a_place_for_no_page_is_refused_before_anything_is_scored(
    score: Score, target: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("photos/a.jpg").read_bytes()
    assert score("photos", "--out", "x.csv", "--report", target) == 2
    assert said in capsys.readouterr().err
    assert not Path("x.csv").exists()
    assert Path("photos/a.jpg").read_bytes() == before


def test_hostile_file_names_are_harmless(score: Score) -> None:
    picture = Path("photos/a.jpg").read_bytes()
    folder = Path("hostile")
    folder.mkdir()
    names = ["<img src=x onerror=alert(1)>.jpg", '"quoted" & $dollar.jpg', "\u202etxt.jpg", "line\nbreak.jpg"]
    for name in names:
        (folder / name).write_bytes(picture)
    with open(os.fsencode(folder) + b"/caf\xe9.jpg", "wb") as file:  # noqa: PTH123 - a name that is no UTF-8
        file.write(picture)
    assert score("hostile", "--report", "r.html", "--report-details", "0") == 0
    read = page()
    assert set(read.data["names"]) == {*names, "caf\udce9.jpg"}
    assert len(read.data["thumbnails"]) == 5
    assert "img" not in read.tags()


def test_the_same_images_give_the_same_page(score: Score, seer: None) -> None:
    for name in ("one.html", "two.html"):
        assert score("photos", "--report", name, "--report-details", "2", "--keep-going") == 0
    assert Path("one.html").read_bytes() == Path("two.html").read_bytes()


def test_an_interrupted_run_writes_no_page(score: Score, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(foveal.Assessor, "_prepare", interrupted)
    assert score("photos", "--report", "r.html") == 130
    assert not Path("r.html").exists()
