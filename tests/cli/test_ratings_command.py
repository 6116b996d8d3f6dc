"""``foveal ratings``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from foveal.cli.ratings import COMMANDS, ratings
from foveal.cli.run import run
from foveal.ratings import sources
from foveal.ratings.sets.registry import KNOWN_SETS


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A complete FLIVE of two images."""
    flive = replace(sources.DATASETS["flive"], size=2)
    monkeypatch.setattr(sources, "DATASETS", {"flive": flive})
    (tmp_path / "database" / "voc").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        Image.effect_noise((64, 64), 50).convert("RGB").save(tmp_path / "database" / "voc" / name)
    (tmp_path / "labels_image.csv").write_text("name,mos\nvoc/a.jpg,1\nvoc/b.jpg,2\n", encoding="utf-8")
    (tmp_path / "labels640.csv").write_text("name_image\nvoc/b.jpg\n", encoding="utf-8")
    return tmp_path


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ratings", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage: foveal ratings")
    for name, entry in COMMANDS.items():
        assert name in shown
        assert entry.summary in shown
    assert list(ratings.at) == ["list", "check", "audit"]


def test_list_describes_every_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ratings", "list"]) == 0
    shown = capsys.readouterr().out
    for known in KNOWN_SETS:
        assert f"\n{known.key}\n" in "\n" + shown
        assert known.card.licence in shown
        assert known.layout in shown
    assert "quality 0 to 1, lower is better" in shown
    assert "39,810" in shown


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ratings", "list", "--json"]) == 0
    sets = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert list(sets) == [known.key for known in KNOWN_SETS]
    assert sets["csiq"]["scores"] == [
        {"target": "quality", "low": 0.0, "high": 1.0, "higher_is_better": False}
    ]
    assert sets["aigciqa2023"]["images"] == 2400
    targets = [score["target"] for score in sets["aigciqa2023"]["scores"]]
    assert targets == ["quality", "authenticity", "correspondence"]


def test_a_complete_copy_is_0(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ratings", "check", "FLIVE", str(copy)]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1:] == [
        "  rated in the label files: 2 of 2",
        "  images on disk: 2 of 2",
        "complete: all images open",
    ]
    assert shown.err == ""


def test_problems_are_1_and_told_at_once(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "database" / "voc" / "a.jpg").unlink()
    (copy / "labels640.csv").unlink()
    assert run(["ratings", "check", "flive", str(copy)]) == 1
    shown = capsys.readouterr().out
    assert "problem: label file labels640.csv or database/labels640.csv missing; fetch it" in shown
    assert "problem: 1 image (voc/a.jpg) missing in" in shown
    assert shown.endswith("2 problems\n")


def test_a_cut_image_is_found_by_decoding(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy / "database" / "voc" / "a.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert run(["ratings", "check", "flive", str(copy), "--threads", "2"]) == 0
    assert run(["ratings", "check", "flive", str(copy), "--decode"]) == 1
    assert "a.jpg: ends too early" in capsys.readouterr().out


def test_images_elsewhere(copy: Path) -> None:
    elsewhere = (copy / "database").rename(copy / "pictures")
    assert run(["ratings", "check", "flive", str(copy)]) == 1
    assert run(["ratings", "check", "flive", str(copy), "--images", str(elsewhere)]) == 0


def test_names_do_not_drive_the_terminal(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "database" / "voc" / "\x1b[31mred.jpg").write_bytes((copy / "database/voc/a.jpg").read_bytes())
    assert run(["ratings", "check", "flive", str(copy)]) == 1
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b[31mred.jpg" in shown


def test_an_unknown_set_is_2_with_those_that_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ratings", "check", "imagenet", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("foveal: imagenet: no set of this name is known, only agiqa-1k, ")
    assert error.count("\n") == 1
