"""A whole run of a reasoning recipe on a handful of pictures: parts, resumption, and the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from foveal.cli.run import run as foveal
from foveal.lab.reasoning.recipe import read_reasoning_recipe
from foveal.lab.reasoning.run import train_reasoning
from foveal.lab.reasoning.vision_language import VisionLanguageModel
from foveal.strict import RecipeError

pytestmark = pytest.mark.slow

RECIPE = """
[ratings]
path = "scores.csv"
low = 1
high = 5
[split]
kind = "seeded"
validation = 0.25
[small]
[small.decoder]
width = 32
depth = 2
heads = 2
inner = 64
vocabulary = 420
[descriptions]
attributes = ["rendering", "scene", "sharpness", "noise"]
folds = 2
[describe]
epochs = 2
batch = 8
[judge]
epochs = 2
batch = 8
[one_stage]
epochs = 2
batch = 8
"""


@pytest.fixture
def recipe(tmp_path: Path, make_photo: Callable[..., NDArray[np.uint8]]) -> Path:
    rows = ["image,mos"]
    for number in range(24):
        Image.fromarray(make_photo(240, 260, number)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{1 + 4 * number / 23}")
    (tmp_path / "scores.csv").write_text("\n".join(rows), encoding="utf-8")
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def test_a_run_makes_three_models_and_goes_on_where_it_stopped(recipe: Path, tmp_path: Path) -> None:
    read = read_reasoning_recipe(recipe)
    told: list[str] = []
    out = tmp_path / "run"
    figures = train_reasoning(read, out, tell=lambda what, *_: told.append(what))
    assert set(figures) == {"two-stage", "one-stage"}
    assert all(0 <= values["degrees_right"] <= 1 for values in figures.values())
    assert json.loads((out / "run.json").read_text())["validation"].keys() == figures.keys()
    for part in ("describe", "judge", "one-stage"):
        losses = json.loads((out / part / "training.json").read_text())["losses"]
        assert len(losses) == 2
        assert losses[1] < losses[0]
        assert VisionLanguageModel.load(out / part).image_token
    generated = json.loads((out / "generated.json").read_text())
    assert len(generated) == 18
    effects = json.loads((out / "rule.json").read_text())["effects"]
    assert set(effects) == {"rendering", "scene", "sharpness", "noise"}

    # The judge is trained anew once it is gone; what is finished is left alone.
    before = (out / "describe" / "model.safetensors").stat().st_mtime_ns
    shutil.rmtree(out / "judge")
    told.clear()
    train_reasoning(read, out, tell=lambda what, *_: told.append(what))
    assert set(told) == {"judge"}
    with pytest.raises(RecipeError, match="describe was made with other settings"):
        train_reasoning(read_reasoning_recipe(recipe, {"describe.epochs": 1}), out)
    assert (out / "describe" / "model.safetensors").stat().st_mtime_ns == before


def test_the_control_trains_beside_stages_that_are_there(recipe: Path, tmp_path: Path) -> None:
    out, control = tmp_path / "run", tmp_path / "control"
    train_reasoning(read_reasoning_recipe(recipe), out, cache=tmp_path / "cache")
    shutil.copytree(out, control, ignore=shutil.ignore_patterns("one-stage"))
    told: list[str] = []
    read = read_reasoning_recipe(recipe, {"verdict.one_stage_rule": True, "verdict.one_stage_width": 0.1})
    train_reasoning(read, control, cache=tmp_path / "cache", tell=lambda what, *_: told.append(what))
    assert set(told) == {"one-stage"}
    first, second = (VisionLanguageModel.load(folder / "one-stage").model for folder in (out, control))
    weights = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert any(not one.equal(other) for one, other in weights)


def test_the_same_recipe_gives_the_same_models(recipe: Path, tmp_path: Path) -> None:
    read = read_reasoning_recipe(recipe, {"one_stage.epochs": 1})
    for name in ("a", "b"):
        train_reasoning(read, tmp_path / name, cache=tmp_path / "cache")
    for part in ("describe", "judge", "one-stage"):
        first, second = ((tmp_path / name / part / "model.safetensors").read_bytes() for name in ("a", "b"))
        assert first == second


def test_the_command_checks_and_trains(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert foveal(["train", str(recipe), "--out", str(tmp_path / "out"), "--check"]) == 0
    assert "18 images to train, 6 to validate" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    arguments = ["train", str(recipe), "--out", str(tmp_path / "out"), "--set", "describe.epochs=1"]
    assert foveal(arguments) == 0
    assert "two-stage: validation srcc" in capsys.readouterr().out


def test_wrong_recipes_end_in_a_line(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(recipe), "--out", str(tmp_path / "out"), "--set", "small.trunk=nowhere"]
    assert foveal(arguments) == 2
    assert "nowhere" in capsys.readouterr().err
