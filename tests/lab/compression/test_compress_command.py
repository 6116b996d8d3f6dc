"""``foveal compress``: what it takes, what it writes, and errors of one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foveal.artifact.file import read_artifact
from foveal.cli.run import run
from foveal.lab.training.recipe import recipe_from
from foveal.lab.training_run import train
from foveal.ratings.table import Ratings
from foveal.weights import available

Compress = Callable[..., int]


@pytest.fixture(scope="module")
def table(rated_pictures: Ratings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "ratings.csv"
    rows = [
        f"{image},{score}"
        for image, score in zip(rated_pictures.images, rated_pictures.scores["quality"], strict=True)
    ]
    path.write_text("\n".join(["image,mos", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tiny_vit: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that was trained on a table, as the command does it."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = recipe_from(
        {
            "ratings": {"path": table.name, "low": 0, "high": 10},
            "backbone": {"name": str(tiny_vit)},
            "model": {"kind": "probe", "hidden": 6, "views": ["whole"], "layers": [2]},
            "split": {"validation": 0.4},
            "training": {"epochs": 4, "batch": 8},
            "card": {"name": "mine", "licence": "MIT"},
        },
        table.parent,
    )
    return train(recipe, folder=folder, cache=folder / "c.sqlite", cpu=True).folder


@pytest.fixture
def compress(trained: Path, tiny_vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compress:
    monkeypatch.chdir(tmp_path)

    def command(*args: str, model: str = str(trained)) -> int:
        return run(["compress", model, "--backbone", str(tiny_vit), "--calibration", "6", *args])

    return command


@pytest.mark.slow
def test_a_trained_model_becomes_a_small_file(
    compress: Compress, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compress("--target-size", "30kB", "--version", "2.0-small") == 0
    path = tmp_path / "mine-compressed.foveal.safetensors"
    assert path.stat().st_size <= 30_000
    said = capsys.readouterr().out
    assert said.startswith("mine-compressed.foveal.safetensors: 0.03 MB of ")
    assert "CR_file" in said
    assert "CR_paper" in said
    assert "validation SRCC" in said
    assert read_artifact(path).card.model == "mine@2.0-small"


@pytest.mark.slow
def test_a_finished_file_can_be_coded_without_loss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "same"
    assert run(["compress", "foveal-compact", "--lossless", "--out", str(out)]) == 0
    assert "no score changes" in capsys.readouterr().out
    before, after = read_artifact(available()["foveal-compact"]), read_artifact(out)
    assert out.stat().st_size < 1_600_000
    assert after.graph == before.graph
    assert after.weights.keys() == before.weights.keys()
    for name, value in before.weights.items():
        assert after.weights[name].dtype == value.dtype
        assert np.array_equal(after.weights[name], value)


def test_a_folder_cannot_be_coded_without_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compress", str(tmp_path), "--lossless"]) == 2
    assert "--lossless is for model files" in capsys.readouterr().err


def test_training_notes_what_it_learnt_from(trained: Path, table: Path) -> None:
    noted = json.loads((trained.parent / "data.json").read_text(encoding="utf-8"))
    assert Path(noted["folder"], noted["ratings"]["path"]) == table
    assert noted["split"]["validation"] == 0.4


@pytest.mark.slow
def test_pictures_are_enough_for_a_size(
    compress: Compress,
    table: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rated_pictures: Ratings,
) -> None:
    folder = str(rated_pictures.images[0].parent)
    assert compress("--target-size", "0.04MB", "--pictures", folder, "--out", "small", "--weights-only") == 0
    assert (tmp_path / "small").stat().st_size <= 40_000
    assert "SRCC" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "say how far to go"),
        (("--target-size", "1MB", "--max-drop", "0.1"), "say how far to go"),
        (("--target-size", "huge"), "'huge' is no size; write 3MB"),
        (("--target-size", "0MB"), "'0MB' is no size"),
        (("--max-drop", "0"), "--max-drop"),
        (("--max-drop", "0.1", "--pictures", "."), "needs ratings"),
        (("--target-size", "1MB", "--pictures", ".", "--recipe", "x.toml"), "exclude each other"),
        pytest.param(
            ("--target-size", "1MB", "--recipe", "absent.toml"),
            "absent.toml: there is no such file",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    compress: Compress, args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compress(*args) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_a_model_without_a_note_of_its_ratings_needs_to_be_told(
    trained: Path, compress: Compress, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    shutil.copytree(trained, tmp_path / "elsewhere" / "model")
    assert compress("--target-size", "1MB", model="elsewhere/model") == 2
    assert "give --recipe FILE" in capsys.readouterr().err
