"""``foveal compare``: what it prints and writes, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import foveal
from foveal.artifact import write_artifact
from foveal.artifact.file import Artifact
from foveal.cli.run import run
from foveal.evaluation.paired import paired_difference
from foveal.report.wording import interval, p_value
from prompt_models import make_artifact
from report_pages import Page

Compare = Callable[..., int]
COUNT = 7


@pytest.fixture
def compare(tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """Run ``foveal compare --model tiny`` in the folder that holds ``old`` and ``new``."""
    monkeypatch.chdir(tmp_path)
    return lambda *args: run(["compare", "--model", str(tiny_model_path), *args])


@pytest.fixture
def folders(tmp_path: Path, make_photo: Callable[..., NDArray[np.uint8]]) -> None:
    """Seven pictures and their darker versions in another format; one more on either side."""
    for folder in ("old/deep", "new/deep"):
        (tmp_path / folder).mkdir(parents=True)
    for seed in range(COUNT):
        photo = make_photo(64, 80, seed)
        name = f"deep/{seed}" if seed % 2 else str(seed)
        Image.fromarray(photo).save(tmp_path / "old" / f"{name}.png")
        Image.fromarray(photo // (1 + seed)).save(tmp_path / "new" / f"{name}.jpg")
    Image.fromarray(make_photo(32, 32)).save(tmp_path / "old" / "alone.png")
    Image.fromarray(make_photo(32, 32)).save(tmp_path / "new" / "other.png")


@pytest.fixture(scope="module")
def judge(tiny_model_path: Path) -> foveal.Assessor:
    """The same assessor from Python."""
    return foveal.load(tiny_model_path)


def differences(judge: foveal.Assessor) -> dict[str, float]:
    names = [f"deep/{seed}" if seed % 2 else str(seed) for seed in range(COUNT)]
    return {name: judge(f"new/{name}.jpg").quality - judge(f"old/{name}.png").quality for name in names}


@pytest.mark.usefixtures("folders")
def test_folders_are_compared_pair_by_pair(
    compare: Compare, judge: foveal.Assessor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare("old", "new") == 0
    shown = capsys.readouterr().out
    changes = differences(judge)
    found = paired_difference([changes[name] for name in sorted(changes)])
    assert shown.startswith("new against old\n")
    for said in (
        f"{found.mean:+.3f}  {interval(found, 3)}",
        f"{found.higher}, {found.lower}, {found.equal}",
        f"sign test               {p_value(found.sign_p)}",
        f"Wilcoxon                {p_value(found.wilcoxon_p)}",
        "1 only in old\n  old/alone.png",
        "1 only in new\n  new/other.png",
    ):
        assert said in shown
    fell = shown.split("fell most\n")[1].split("\n\n")[0].splitlines()
    ordered = sorted((name for name in changes if changes[name] < 0), key=changes.__getitem__)
    assert [line.split()[4] for line in fell] == ordered[:5]
    assert [float(line.split()[0]) for line in fell] == [round(changes[name], 2) for name in ordered[:5]]


@pytest.mark.usefixtures("folders")
def test_json_is_for_machines(
    compare: Compare, judge: foveal.Assessor, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("new/broken.png").write_bytes(b"not an image")
    Path("old/broken.png").write_bytes(Path("old/0.png").read_bytes())
    assert compare("old", "new", "--json") == 1
    shown = capsys.readouterr()
    assert shown.err == ""
    values = json.loads(shown.out)
    assert {one["name"]: one["difference"] for one in values["images"]} == {
        **differences(judge),
        "broken.png": None,
    }
    assert values["judged"] == COUNT
    assert values["only_old"] == ["old/alone.png"]
    assert compare("old", "new", "--json", "--keep-going") == 0


@pytest.mark.usefixtures("folders")
def test_failures_are_named(compare: Compare, capsys: pytest.CaptureFixture[str]) -> None:
    Path("new/broken.png").write_bytes(b"not an image")
    Path("old/broken.png").write_bytes(b"")
    assert compare("old", "new") == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("foveal: old/broken.png: ")
    assert "\nfoveal: new/broken.png: " in shown.err
    assert "7, 1 more could not be judged" in shown.out


@pytest.mark.usefixtures("folders")
def test_two_images_that_cannot_be_judged(compare: Compare, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.jpg").write_bytes(b"not an image")
    assert compare("a.jpg", "gone.jpg", "--report", "c.html") == 1
    shown = capsys.readouterr()
    assert "no pair could be judged" in shown.out
    assert shown.err.count("\n") == 2
    assert "No pair has both scores" in Page(Path("c.html").read_text(encoding="utf-8")).words


@pytest.mark.usefixtures("folders")
def test_the_page_shows_the_same_with_pictures_of_both(compare: Compare, judge: foveal.Assessor) -> None:
    assert compare("old", "new", "--report", "c.html", "--report-thumbnails", "4") == 0
    read = Page(Path("c.html").read_text(encoding="utf-8"))
    changes = differences(judge)
    assert dict(zip(read.data["names"], read.data["difference"], strict=True)) == {
        name: round(change, 4) for name, change in changes.items()
    }
    most = sorted(changes, key=lambda name: -abs(changes[name]))[:2]
    places = [read.data["names"].index(name) for name in most]
    assert set(read.data["pictures"]) == {str(2 * place + side) for place in places for side in (0, 1)}
    assert "new against old" in read.words
    assert "2 images without a partner" in read.words
    first = Path("c.html").read_bytes()
    assert compare("old", "new", "--report", "c.html", "--report-thumbnails", "4") == 0
    assert Path("c.html").read_bytes() == first


@pytest.mark.usefixtures("folders")
def test_two_models_judge_the_same_images(
    compare: Compare,
    judge: foveal.Assessor,
    tiny_int8_artifact: Artifact,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other.foveal.safetensors"
    write_artifact(other, tiny_int8_artifact)
    assert compare("--model", str(other), "old", "--json", "--report", "c.html") == 0
    values = json.loads(capsys.readouterr().out)
    assert [values[side]["label"] for side in ("old", "new")] == ["tiny@0.0.1", "tiny-int8@0.0.1"]
    second = foveal.load(other)
    for one in values["images"]:
        assert one["old"]["source"] == one["new"]["source"] == one["name"]
        assert one["difference"] == second(one["name"]).quality - judge(one["name"]).quality
    read = Page(Path("c.html").read_text(encoding="utf-8"))
    assert read.data["same"] is True
    assert len(read.data["pictures"]) == COUNT + 1
    assert "tiny-int8@0.0.1 against tiny@0.0.1" in read.words


@pytest.mark.usefixtures("folders")
def test_two_models_of_one_name_are_told_apart_by_their_files(
    compare: Compare, tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("twin.foveal.safetensors").write_bytes(tiny_model_path.read_bytes())
    assert compare("--model", "twin.foveal.safetensors", "old/0.png", "old/2.png") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"twin.foveal.safetensors against {tiny_model_path}\n")
    assert "too few pairs for an interval" in shown
    assert "0, 0, 2" in shown


@pytest.mark.usefixtures("folders")
def test_two_images_are_one_pair(compare: Compare, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare("old/2.png", "new/2.jpg", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in values["images"]] == ["new/2.jpg"]
    assert values["images"][0]["old"]["source"] == "old/2.png"


@pytest.mark.usefixtures("folders")
def test_a_model_that_reads_prompts_is_compared_by_quality_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_artifact(tmp_path / "prompted.foveal.safetensors", make_artifact())
    assert run(["compare", "--model", "prompted.foveal.safetensors", "old", "new", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["judged"] == COUNT


@pytest.mark.usefixtures("folders")
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["old"], "expected OLD and NEW, got 1 paths"),
        (["old", "new", "more"], "give --model twice"),
        (["old", "new/0.jpg"], "two folders, or two images"),
        (["old", "new", "--model", "a", "--model", "b"], "--model is given 3 times"),
        (["old", "new", "--report", "c.png"], "ends in .html"),
        (["old/deep", "lonely"], "no image on one side has a partner on the other"),
    ],
)
def test_wrong_usage_is_told(
    compare: Compare, args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("lonely").mkdir()
    Path("lonely/x.png").touch()
    assert compare(*args) == 2
    assert said in capsys.readouterr().err
