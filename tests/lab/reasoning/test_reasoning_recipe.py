"""Recipes of two-stage reasoning: every field is checked, and those that are shipped can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.explanation.words import TOLD
from foveal.lab.reasoning.recipe import read_reasoning_recipe
from foveal.strict import RecipeError

RECIPES = Path(__file__).parents[3] / "recipes"
LEAST = '[ratings]\npath = "scores.csv"\nlow = 1\nhigh = 5\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(LEAST + text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(path.name for path in RECIPES.glob("two-stage-*.toml")))
def test_shipped_recipes_can_be_read(name: str) -> None:
    recipe = read_reasoning_recipe(RECIPES / name)
    assert (recipe.small is None) != (recipe.large is None)
    assert recipe.folder == RECIPES


def test_both_ways_of_the_small_recipe_have_the_same_budget() -> None:
    """Whoever compares one stage with two must not give less training to one: on images, or in all."""
    recipe = read_reasoning_recipe(RECIPES / "two-stage-small-vit.toml")
    assert recipe.one_stage is not None
    for field in ("batch", "rate", "adaptation"):
        assert getattr(recipe.one_stage, field) == getattr(recipe.describe, field)
    epochs = recipe.describe.epochs, recipe.one_stage.epochs, recipe.describe.epochs + recipe.judge.epochs
    assert list(epochs) == sorted(epochs)


def test_defaults_and_changes(tmp_path: Path) -> None:
    path = write(tmp_path, "[small]\n[small.decoder]\nwidth = 64\n")
    recipe = read_reasoning_recipe(path, {"describe.epochs": 2, "verdict.levels": "q-instruct"})
    assert recipe.small is not None
    assert (recipe.small.trunk, recipe.small.decoder.width, recipe.describe.epochs) == ("compact", 64, 2)
    assert recipe.descriptions.attributes == TOLD
    assert recipe.verdict.levels == "q-instruct"
    assert recipe.one_stage is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name one model"),
        ('[small]\n[large]\nname = "x/y"\n', "name one model"),
        ('[large]\nname = "x/y"\n', "descriptions.impressions: name the trunk"),
        ('[small]\n[descriptions]\nattributes = ["beauty"]\n', "beauty"),
        ("[small]\n[descriptions]\nattributes = []\n", "none"),
        ("[small]\n[descriptions]\nfolds = 1\n", "folds is 1"),
        ("[small]\n[small.decoder]\nwidth = 30\nheads = 4\n", "cannot be divided"),
        ("[small]\n[mixture]\nreference = 0.9\n", "add up to 1"),
        ('[small]\n[verdict]\nlevels = "stars"\n', "levels is 'stars'"),
        ("[small]\n[verdict]\nwidth = -1.0\n", "0 or more"),
        ("[small]\n[verdict]\nrule = false\none_stage_rule = true\n", "one_stage_rule needs rule"),
        ("[small]\n[describe]\nepochs = 0\n", "above 0"),
        (
            '[small]\n[describe.adaptation]\nlanguage = "frozen"\nprojector = false\n',
            "nothing would be trained",
        ),
        ("[small]\n[describe.adaptation]\nrank = 0\n", "rank 0"),
        ("[small]\nsize = 3\n", "size"),
        ("[small]\n[judge]\nwarmup = 1.0\n", "warmup"),
    ],
)
def test_what_cannot_be_followed_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_reasoning_recipe(write(tmp_path, text))


def test_samples_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f"samples = 0\n{LEAST}[small]\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="samples is 0"):
        read_reasoning_recipe(path)
