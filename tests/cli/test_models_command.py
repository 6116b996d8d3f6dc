"""``foveal models``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import foveal.weights
from foveal.cli.run import run


def test_a_card_is_shown_with_its_figures(tiny_model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--model", str(tiny_model_path)]) == 0
    shown = capsys.readouterr().out
    size = tiny_model_path.stat().st_size
    for part in [
        "tiny@0.0.1",
        "A random network for tests.",
        f"{size / 1e6:.2f} MB",
        "Apache-2.0",
        "BIQ2021 official test SRCC: 0.500",
        "90%, measured coverage 91.0%",
    ]:
        assert part in shown


def test_json_holds_the_whole_card(tiny_model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--json", "--model", str(tiny_model_path)]) == 0
    (card,) = json.loads(capsys.readouterr().out)
    assert card["name"] == "tiny"
    assert card["measured"] == {"BIQ2021 official test SRCC": 0.5}
    assert card["calibration"]["measured_coverage"] == 0.91
    assert card["bytes"] == tiny_model_path.stat().st_size


def test_every_shipped_assessor_is_listed(
    tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(foveal.weights, "available", lambda: {"tiny": tiny_model_path})
    assert run(["models"]) == 0
    assert capsys.readouterr().out.startswith("tiny@0.0.1")


def test_nothing_shipped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(foveal.weights, "available", dict)
    assert run(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run(["models"]) == 0
    assert "no assessor is shipped" in capsys.readouterr().err


def test_a_file_that_is_no_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"nonsense")
    assert run(["models", "--model", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"foveal: {path}")
    assert error.count("\n") == 1
