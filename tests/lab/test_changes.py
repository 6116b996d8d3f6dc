"""Changes of recipes from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.lab.training.changes import parse_changes


def test_values_are_toml_or_else_text() -> None:
    given = ["training.epochs=3", "a.rate=1e-3", "a.name=vit-tiny", "a.on=true", "a.layers=[4, 8]", "a.b=x=y"]
    assert parse_changes(given) == {
        "training.epochs": 3,
        "a.rate": 1e-3,
        "a.name": "vit-tiny",
        "a.on": True,
        "a.layers": [4, 8],
        "a.b": "x=y",
    }


def test_paths_are_from_here_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.csv").touch()
    monkeypatch.chdir(tmp_path)
    told = parse_changes(["ratings.path=mine.csv", "small.trunk=none", "ratings.name=mine.csv"])
    assert told == {
        "ratings.path": str(tmp_path / "mine.csv"),
        "small.trunk": "none",
        "ratings.name": "mine.csv",
    }


@pytest.mark.parametrize("text", ["epochs", "=3", ""])
def test_what_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not FIELD=VALUE"):
        parse_changes([text])
