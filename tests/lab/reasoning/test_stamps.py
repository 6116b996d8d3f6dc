"""A run is gone on with by the same recipe only: what changed is named, what does not matter is let pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foveal.lab.reasoning.recipe import ReasoningRecipe, read_reasoning_recipe
from foveal.lab.reasoning.stamps import (
    BEGINNING,
    DESCRIBE_PART,
    GENERATED,
    JUDGE_PART,
    ONE_STAGE_PART,
    Stamps,
)
from foveal.strict import RecipeError

PARTS = (DESCRIBE_PART, GENERATED, JUDGE_PART, ONE_STAGE_PART)
TEXT = '[ratings]\npath = "scores.csv"\nlow = 1\nhigh = 5\n[small]\n[one_stage]\n'


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder whose parts were all made by the plain recipe."""
    folder = tmp_path / "run"
    folder.mkdir()
    stamps = Stamps(folder, recipe(tmp_path))
    stamps.begin()
    for part in PARTS:
        stamps.keep(part)
    return folder


def recipe(folder: Path, **changes: Any) -> ReasoningRecipe:
    path = folder / "recipe.toml"
    path.write_text(TEXT, encoding="utf-8")
    return read_reasoning_recipe(path, {name.replace("__", "."): value for name, value in changes.items()})


def refused(run: Path, **changes: Any) -> set[str]:
    """Parts that may not be used with a changed recipe."""
    stamps = Stamps(run, recipe(run.parent, **changes))
    found = set()
    for part in (BEGINNING, *PARTS):
        try:
            stamps.check(part)
        except RecipeError as error:
            found.add(part if part in str(error) else str(error))
    return found


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, set()),
        ({"ratings__path": "moved/scores.csv"}, set()),
        ({"small__trunk": "moved/compact"}, set()),
        ({"seed": 1}, {BEGINNING, *PARTS}),
        ({"small__align__epochs": 1}, {BEGINNING, *PARTS}),
        ({"small__trunk": "other"}, {BEGINNING, *PARTS}),
        ({"describe__epochs": 1}, {DESCRIBE_PART, GENERATED, JUDGE_PART}),
        ({"samples": 2}, {GENERATED, JUDGE_PART}),
        ({"judge__epochs": 1}, {JUDGE_PART}),
        ({"verdict__width": 0.3}, {JUDGE_PART}),
        ({"verdict__one_stage_width": 0.3}, {ONE_STAGE_PART}),
        ({"verdict__levels": "q-instruct"}, {JUDGE_PART, ONE_STAGE_PART}),
    ],
)
def test_a_change_concerns_the_parts_that_depend_on_it(
    run: Path, changes: dict[str, Any], parts: set[str]
) -> None:
    assert refused(run, **changes) == parts


def test_what_changed_is_named(run: Path) -> None:
    stamps = Stamps(run, recipe(run.parent, describe__rate=0.5, describe__batch=3))
    with pytest.raises(RecipeError, match=r"describe was made with other settings \(describe.batch, desc"):
        stamps.check(DESCRIBE_PART)


def test_a_part_that_nobody_knows_of_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="does not say what describe was made of"):
        Stamps(tmp_path, recipe(tmp_path)).check(DESCRIBE_PART)


def test_a_run_that_was_begun_otherwise_is_refused(run: Path) -> None:
    Stamps(run, recipe(run.parent)).begin()
    with pytest.raises(RecipeError, match="seed"):
        Stamps(run, recipe(run.parent, seed=4)).begin()
