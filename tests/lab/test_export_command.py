"""``foveal export``: from a trained model to a file that scores, and errors of one line."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import foveal
from foveal.cli.run import run
from foveal.lab.assess import assess
from foveal.lab.trained import TrainedModel, load_trained
from foveal.lab.training.recipe import recipe_from
from foveal.lab.training_run import train
from foveal.ratings.table import Ratings

Export = Callable[..., int]


@pytest.fixture(scope="module")
def trained(tiny_vit: Path, rated_pictures: Ratings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a trained model."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = recipe_from(
        {
            "ratings": {"path": "", "low": 1, "high": 5},
            "backbone": {"name": str(tiny_vit)},
            "model": {"kind": "probe", "hidden": 6, "views": ["whole"], "layers": [1]},
            "split": {"validation": 0.4},
            "training": {"epochs": 2, "batch": 10},
            "card": {"name": "mine", "licence": "MIT"},
        }
    )
    return train(recipe, rated_pictures, folder=folder, cache=folder / "c.sqlite", cpu=True).folder


@pytest.fixture
def loaded(trained: Path, tiny_vit: Path) -> TrainedModel:
    return load_trained(trained, backbone=tiny_vit)


@pytest.fixture
def export(trained: Path, tiny_vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    monkeypatch.chdir(tmp_path)

    def command(*args: str, model: str = str(trained), backbone: str | None = str(tiny_vit)) -> int:
        given = [] if backbone is None else ["--backbone", backbone]
        return run(["export", model, "mine.foveal.safetensors", *given, *args])

    return command


@pytest.mark.slow
def test_a_trained_model_becomes_a_file_that_scores(
    export: Export,
    loaded: TrainedModel,
    rated_pictures: Ratings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The way of a user: export, look at the card, score."""
    compared = [str(path) for path in rated_pictures.images[:2]]
    assert export(*(word for path in compared for word in ("--check", path))) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert re.fullmatch(
        r"mine\.foveal\.safetensors: 0\.\d MB; largest difference from the model on 2 images: "
        r"quality \d\.\de-\d\d, half width of the interval \d\.\de[-+]\d\d\n",
        captured.out,
    )
    # Nothing is kept beside it.
    assert [path.name for path in tmp_path.iterdir()] == ["mine.foveal.safetensors"]
    assert foveal.load("mine.foveal.safetensors").card.licence == "MIT"

    images = [str(path) for path in rated_pictures.images[5:8]]
    assert run(["score", "--model", "mine.foveal.safetensors", *images]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    expected = assess(loaded, images)
    assert [line[3] for line in lines] == images
    for (quality, low, high, _), row in zip(lines, expected, strict=True):
        assert float(quality) == pytest.approx(row.quality, abs=1e-3)
        assert float(low) == pytest.approx(row.interval.low, abs=1e-3)
        assert float(high) == pytest.approx(row.interval.high, abs=1e-3)


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    """The one line that a refusal is; nothing was written."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("foveal: ")
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "mine.foveal.safetensors").exists()
    return captured.err


def test_models_and_backbones_that_are_not_there(
    export: Export, trained: Path, tiny_vit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(model="nowhere") == 2
    assert "nowhere: neither a shipped model" in refused(capsys, tmp_path)
    assert export(model=str(tiny_vit)) == 2
    assert "config.json: not a model of Foveal" in refused(capsys, tmp_path)
    assert export(backbone=None) == 2
    assert f"{tiny_vit.name}: no folder lies there" in refused(capsys, tmp_path)
    assert export(backbone=str(trained)) == 2
    assert str(trained) in refused(capsys, tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(trained, damaged)
    (damaged / "model.safetensors").write_bytes(b"no tensors")
    assert export(model=str(damaged)) == 2
    assert "model.safetensors: missing, not a safetensors file, or damaged" in refused(capsys, tmp_path)


def test_what_the_model_cannot_do(export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("--draws", "2") == 2
    assert "this model sees no fragments: there is nothing to draw several times" in refused(capsys, tmp_path)


@pytest.mark.parametrize("args", [["--draws", "0"], ["--tolerance", "0"], ["--check", "gone.png"]])
def test_wrong_usage_is_2(export: Export, capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    assert export(*args) == 2
    assert "Usage: foveal export" in capsys.readouterr().err


@pytest.mark.slow
def test_a_tolerance_that_is_not_met_writes_nothing(
    export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("--half", "--tolerance", "1e-12") == 2
    assert "differ from the model's by up to" in refused(capsys, tmp_path)
    assert export("--half", "--tolerance", "0.5") == 0
    half = (tmp_path / "mine.foveal.safetensors").stat().st_size
    capsys.readouterr()
    assert export() == 0
    assert half < 0.8 * (tmp_path / "mine.foveal.safetensors").stat().st_size


def test_the_model_is_loaded_by_the_name_that_is_given(
    export: Export, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options reach the library as they were given."""
    import foveal.lab.export_trained
    from foveal.lab.export_trained import Agreement

    seen: dict[str, object] = {}

    def record(model: TrainedModel, path: str, **options: object) -> Agreement:
        seen.update(options, name=model.record.card.name)
        Path(path).write_bytes(b"artifact")
        return Agreement(1, 0.0, 0.0)

    monkeypatch.setattr(foveal.lab.export_trained, "export_model", record)
    assert export("--draws", "3", "--half", "--tolerance", "0.01") == 0
    assert seen == {"name": "mine", "draws": 3, "store_float16": True, "images": None, "tolerance": 0.01}
