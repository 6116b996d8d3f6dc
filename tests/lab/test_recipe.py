"""Recipes: every field read, every wrong one refused by its name; those that are shipped can be followed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveal.lab.backbones import VisionBackbone, load_backbone
from foveal.lab.models.base import Backbones, summarise_parameters
from foveal.lab.models.glia import GliaConfig, GliaNet
from foveal.lab.models.mst_clipiqa import MstClipIqa
from foveal.lab.models.probe import ProbeConfig, ProbeModel
from foveal.lab.models.registry import MODELS
from foveal.lab.models.regressor import Regressor
from foveal.lab.training.prepare import make_model
from foveal.lab.training.recipe import Recipe, read_recipe, recipe_from
from foveal.ratings.splits import read_split
from foveal.strict import RecipeError

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
SHIPPED = {
    "clipiqa-regressor": Regressor,
    "dinoiqa-regressor": Regressor,
    "glia-readout-vit-tiny": GliaNet,
    "glia-vit-tiny": GliaNet,
    "mlp-probe-vit-tiny": ProbeModel,
    "mst-paper-vit-tiny": MstClipIqa,
    "mst-vit-tiny": MstClipIqa,
    "probe": ProbeModel,
}
GIVEN = {"kind", "model", "options", "folder"}


def tables(kind: str = "probe", **changes: Any) -> dict[str, Any]:
    """The shortest recipe there is."""
    return {
        "ratings": {"path": "scores.csv", "low": 0, "high": 10},
        "backbone": {"name": "vit"},
        "model": {"kind": kind},
        **changes,
    }


def put(values: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    """The same tables with a field at a dotted name."""
    first, _, rest = name.partition(".")
    return {**values, first: put(values.get(first, {}), rest, value) if rest else value}


def leaves(kind: type, where: str) -> Iterator[tuple[str, Any]]:
    """Names and types of all fields below a dataclass that are not tables with fields of their own."""
    hints = get_type_hints(kind)
    for item in fields(kind):
        hint, name = hints[item.name], f"{where}{item.name}"
        if is_dataclass(hint) and isinstance(hint, type):
            yield from leaves(hint, f"{name}.")
        elif item.name not in GIVEN or where:
            yield name, hint


FIELDS = [("probe", *leaf) for leaf in leaves(Recipe, "")]
for model_kind, model in MODELS.items():
    FIELDS += [(model_kind, *leaf) for leaf in leaves(model.config, "model.")]

WRONG: dict[Any, st.SearchStrategy[Any]] = {
    int: st.one_of(st.booleans(), st.floats(), st.text(max_size=3), st.just([1]), st.just({})),
    float: st.one_of(st.booleans(), st.text(max_size=3), st.just([0.1]), st.just({})),
    str: st.one_of(st.booleans(), st.integers(), st.floats(), st.just(["a"]), st.just({})),
    bool: st.one_of(st.integers(), st.text(max_size=3), st.just([]), st.just({})),
    tuple: st.one_of(st.booleans(), st.integers(), st.text(max_size=3), st.just({}), st.just([{}])),
}
TABLE: st.SearchStrategy[Any] = st.one_of(st.booleans(), st.integers(), st.text(max_size=3), st.just([1]))
WORD: st.SearchStrategy[Any] = st.one_of(
    st.booleans(), st.integers(), st.sampled_from(["", "no such word"]), st.just([])
)


def wrong_for(hint: Any) -> st.SearchStrategy[Any]:
    """Values that a field of this type cannot hold."""
    arguments = [argument for argument in get_args(hint) if argument is not type(None)]
    if type(None) in get_args(hint):
        hint = arguments[0]
    origin = get_origin(hint)
    if origin is tuple:
        return WRONG[tuple]
    if hint in WRONG:
        return WRONG[hint]
    return WORD if all(isinstance(argument, str) for argument in arguments) else TABLE


def test_the_walk_over_the_fields_misses_none() -> None:
    names = {name for _, name, _ in FIELDS}
    assert len(names) > 70
    assert {
        "targets",
        "ratings.columns.scores",
        "split.validation_limit",
        "backbone.tuning.rank",
        "training.losses.plcc",
        "training.augmentation.least_kept",
        "training.group_lr",
        "card.licence",
        "model.readout",
        "model.hidden",
    } <= names


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_field_refuses_other_types_by_its_name(data: st.DataObject) -> None:
    kind, name, hint = data.draw(st.sampled_from(FIELDS))
    value = data.draw(wrong_for(hint))
    with pytest.raises(RecipeError, match=rf"^{re.escape(name)}(\[0\])?: ") as caught:
        recipe_from(put(tables(kind), name, value))
    # The message shows what was found, to be found again in the file.
    assert repr(value[0] if "[0]" in str(caught.value).partition(":")[0] else value) in str(caught.value)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, name, _ in FIELDS])
def test_a_slip_in_the_name_of_a_field_is_met_with_the_right_name(kind: str, name: str) -> None:
    where, _, last = name.rpartition(".")
    slip = f"{where}.{last}_" if where else f"{last}_"
    with pytest.raises(RecipeError, match=rf"^{re.escape(slip)}: unknown field; did you mean '{last}'\?$"):
        recipe_from(put(tables(kind), slip, 1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "ratings: missing; it has no default"),
        (tables(modle={"kind": "probe"}), "modle: unknown field; did you mean 'model'?"),
        (tables(zoo=1), "zoo: unknown field; known are ratings, backbone, "),
        (tables(options={}), "options: unknown field; known are ratings, backbone, "),
        (tables(folder="x"), "folder: unknown field; known are ratings, backbone, "),
        ({key: value for key, value in tables().items() if key != "model"}, "model: missing; it has no"),
        ({key: value for key, value in tables().items() if key != "backbone"}, "backbone: missing; it has"),
        (tables(model={}), "model.kind: missing; it has no default"),
        (tables(model="probe"), "model: expected a table, found 'probe'"),
        (tables(model={"kind": "vgg"}), "model.kind: 'vgg' is not one of 'glia', 'probe'"),
        (tables(model={"kind": ["glia"]}), "model.kind: ['glia'] is not one of 'glia', 'probe'"),
        (tables(ratings={"low": 0, "high": 1}), "ratings.path: missing; it has no default"),
        (tables(backbone={}), "backbone.name: missing; it has no default"),
        (tables(ratings={"path": "a.csv"}), "ratings: state low and high, the two ends of the scores' scale"),
        (tables(ratings={"path": "a.csv", "low": 0}), "ratings: state low and high"),
        (
            tables(ratings={"path": "d", "dataset": "biq2021", "low": 0, "high": 1}),
            "ratings: scale and columns of biq2021 are known: leave out low, high, higher_is_better and",
        ),
        (
            tables(ratings={"path": "d", "dataset": "biq2021", "higher_is_better": False}),
            "ratings: scale and columns of biq2021 are known",
        ),
        (
            tables(ratings={"path": "d", "dataset": "biq2021", "columns": {"group": "g"}}),
            "ratings: scale and columns of biq2021 are known",
        ),
        (put(tables(), "ratings.missing", "skip"), "ratings.missing: 'skip' is not one of 'error', 'drop'"),
        (put(tables(), "split.validation", 0), "split: validation is 0.0, expected above 0 and below 1"),
        (put(tables(), "split.validation", 1), "split: validation is 1.0, expected above 0 and below 1"),
        (put(tables(), "split.test", 1.0), "split: test is 1.0, expected 0 to below 1"),
        (put(tables(), "split.seed", -1), "split: seed is -1, expected 0 or more"),
        (put(tables(), "split.limit", -2), "split: limit is -2, expected 0 or more"),
        (put(tables(), "split.validation_limit", -3), "split: validation_limit is -3, expected 0 or more"),
        (put(tables(), "split.file", "s.json"), "split: a seeded split is drawn, not read: leave file out"),
        (
            tables(split={"kind": "given", "test": 0.2}),
            "split: a given split has its own test part: leave test out, or set kind to 'seeded'",
        ),
        (put(tables(), "backbone.attention", "a/kernel"), "backbone.attention: 'a/kernel' is not one of"),
        (put(tables(), "backbone.tuning.kind", "all"), "backbone.tuning.kind: 'all' is not one of 'frozen',"),
        (put(tables(), "backbone.tuning.rank", 4), "backbone.tuning: rank is for kind 'lora'; leave it out"),
        (
            put(tables(), "targets", []),
            "the recipe: targets are [], expected 'quality' first and each one once",
        ),
        (
            put(tables(), "targets", ["clarity", "quality"]),
            "the recipe: targets are ['clarity', 'quality'], exp",
        ),
        (
            put(tables(), "targets", ["quality", "quality"]),
            "the recipe: targets are ['quality', 'quality'], exp",
        ),
        (
            put(tables(), "card.name", "My Model"),
            "card: name 'My Model' is not of lower-case letters, digits",
        ),
        (put(tables(), "card.version", ""), "card: version is empty"),
        (put(tables(), "training.batch", 1), "training: batch is 1, expected 2 or more"),
        (put(tables(), "training.lr", 0), "training: lr is 0.0, expected a number above 0"),
        (put(tables(), "training.lr", 10**400), "training.lr: larger than any number can be here"),
        (
            put(tables(), "training.group_lr", {"head": -1}),
            "training: group_lr.head is -1.0, expected a number",
        ),
        (
            put(tables(), "training.augmentation.least_kept", 0),
            "training.augmentation: least_kept is 0.0, expec",
        ),
        (put(tables(), "training.losses.plcc", -1), "training.losses: "),
        (put(tables(), "model.dropout", 1), "model: dropout is 1.0, expected 0 to below 1"),
        (put(tables("glia"), "model.heads", 5), "model: width 64 cannot be divided among 5 heads"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}"):
        recipe_from(values)


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


TEXT = """
targets = ["quality", "clarity"]
[ratings]
path = "scores.csv"
low = 0
high = 100
higher_is_better = false
columns = { scores = { quality = "MOS", clarity = "C" }, group = "scene" }
[backbone]
name = "vit"
tuning = { kind = "lora", rank = 2, alpha = 4, targets = ["q", "v"] }
[model]
kind = "probe"
layers = [1, 3]
[training]
epochs = 7
lr = 1
"""


def test_a_recipe_says_what_its_file_says(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, TEXT))
    assert recipe.targets == ("quality", "clarity")
    assert (recipe.ratings.low, recipe.ratings.high, recipe.ratings.higher_is_better) == (0.0, 100.0, False)
    assert recipe.ratings.columns.scores == {"quality": "MOS", "clarity": "C"}
    assert recipe.ratings.columns.group == "scene"
    assert recipe.backbone.tuning.targets == ("q", "v")
    assert (recipe.model, recipe.options) == ("probe", ProbeConfig(layers=(1, 3)))
    assert (recipe.training.epochs, recipe.training.lr, recipe.training.batch) == (7, 1.0, 32)
    assert recipe.folder == tmp_path


def test_changes_replace_single_fields(tmp_path: Path) -> None:
    path = write(tmp_path, TEXT)
    changes = {
        "training.epochs": 3,
        "training.losses.plcc": 0.5,
        "ratings.path": "other.csv",
        "model.layers": [2],
        "card.name": "mine",
        "targets": ["quality"],
    }
    recipe = read_recipe(path, changes)
    assert (recipe.training.epochs, recipe.training.lr) == (3, 1.0)
    assert recipe.training.losses.plcc == 0.5
    assert (recipe.ratings.path, recipe.ratings.high) == ("other.csv", 100.0)
    assert recipe.options == ProbeConfig(layers=(2,))
    assert recipe.card.name == "mine"
    assert recipe.targets == ("quality",)
    assert read_recipe(path).training.epochs == 7
    # A table as a whole is replaced as a whole.
    assert read_recipe(path, {"model": {"kind": "glia"}}).options == GliaConfig()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.epoch": 3}, "training.epoch: unknown field; did you mean 'epochs'"),
        ({"training.epochs": "three"}, "training.epochs: expected a whole number, found 'three'"),
        ({"targets.first": 1}, r"targets: expected a table, found \['quality', 'clarity'\]"),
        ({"training": 3}, "training: expected a table, found 3"),
        ({"nothing.at.all": 3}, "nothing: unknown field; known are"),
    ],
)
def test_changes_are_checked_like_the_file(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path, TEXT)
    with pytest.raises(RecipeError, match=f"^{re.escape(str(path))}: {message}"):
        read_recipe(path, changes)


def test_files_that_are_no_recipe_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gone\.toml: there is no such file$"):
        read_recipe(tmp_path / "gone.toml")
    with pytest.raises(RecipeError, match=r"recipe\.toml: cannot be read as TOML: .*line 1"):
        read_recipe(write(tmp_path, "[ratings\npath = 3"))
    with pytest.raises(RecipeError, match="cannot be read as TOML: "):
        read_recipe(tmp_path)
    latin = tmp_path / "latin.toml"
    latin.write_bytes('name = "\xe9"'.encode("latin-1"))
    with pytest.raises(RecipeError, match=r"latin\.toml: cannot be read as TOML: "):
        read_recipe(latin)
    # Ours, but of another kind of run.
    with pytest.raises(RecipeError, match=r"foveal-compact\.toml: \w+: unknown field"):
        read_recipe(RECIPES / "foveal-compact.toml")


@pytest.fixture(scope="module")
def backbone(tiny_vit: Path) -> VisionBackbone:
    return load_backbone(tiny_vit)


def test_all_recipes_of_this_kind_are_tested() -> None:
    with_models = {path.stem for path in RECIPES.glob("*.toml") if "[model]" in path.read_text()}
    assert with_models == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_can_be_read(name: str) -> None:
    recipe = read_recipe(RECIPES / f"{name}.toml")
    assert recipe.folder == RECIPES
    if recipe.split.file is not None:
        parts = read_split(recipe.folder / recipe.split.file).parts
        assert {part: len(names) for part, names in parts.items()} == {"validation": 1000}
    if name != "probe":  # that one is a template for ratings and a card of one's own
        assert recipe.card.name.startswith(name)
        assert recipe.card.licence == "Apache-2.0"
        assert recipe.card.summary
        assert "1,000 held out" in recipe.card.training_data


@pytest.mark.parametrize("name", SHIPPED)
def test_models_of_shipped_recipes_can_be_built(name: str, backbone: VisionBackbone, tiny_vit: Path) -> None:
    path = RECIPES / f"{name}.toml"
    recipe = read_recipe(path)
    if 12 in getattr(recipe.options, "layers", ()) and getattr(recipe.options, "features", "") != "pooled":
        with pytest.raises(ValueError, match="has 3 layers, not 12"):
            make_model(recipe, Backbones(backbone))
        recipe = read_recipe(path, {"model.layers": [1, 3]})
    fine = None if recipe.fine_backbone is None else load_backbone(tiny_vit)
    network = make_model(recipe, Backbones(backbone, fine))
    assert isinstance(network, SHIPPED[name])
    assert network.targets == ("quality",)
    assert network.trainable_count() > 0
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.slow
def test_the_shipped_glia_trains_899_394_parameters(shared_folder: Path) -> None:
    """The count that docs and paper speak of: fewer than 900,000."""
    folder = shared_folder / "backbones" / "vit-tiny-augreg"
    if not folder.is_dir():
        pytest.skip(f"no backbone: {folder} is not there")
    network = make_model(read_recipe(RECIPES / "glia-vit-tiny.toml"), Backbones(load_backbone(folder)))
    assert summarise_parameters(network)["trainable"] == 899_394
