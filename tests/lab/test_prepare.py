"""From a recipe to parts and backbone: scales, groups that stay together, test images that stay put."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveal.errors import BackboneError, RatingsError
from foveal.lab.backbones.tuning import TuningMode
from foveal.lab.models.base import Backbones
from foveal.lab.models.glia import GliaNet
from foveal.lab.models.probe import ProbeModel
from foveal.lab.training.data import RatedImages
from foveal.lab.training.features import backbone_fingerprint
from foveal.lab.training.prepare import Parts, divide, load_ratings, load_vision, locate_backbone, make_model
from foveal.lab.training.recipe import BackboneConfig, ColumnNames, RatingsConfig, SplitConfig, recipe_from
from foveal.ratings.splits import Split, write_split
from foveal.ratings.table import DatasetCard, Ratings

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def table(groups: Sequence[str] = (), count: int = 0, **columns: Any) -> Ratings:
    """Ratings of images that are not looked at."""
    count = count or len(groups)
    names = tuple(f"{number:03}.png" for number in range(count))
    return Ratings(
        card=DatasetCard("made", 0, 10),
        images=tuple(Path(name) for name in names),
        scores={"quality": np.linspace(0, 10, count)},
        groups=tuple(groups) or names,
        **columns,
    )


def names_of(parts: Parts) -> list[set[str]]:
    return [
        set(part.names) if part is not None else set() for part in (parts.train, parts.validation, parts.test)
    ]


# Ratings: any range, any direction.


def write_csv(folder: Path, rows: Sequence[tuple[str, ...]]) -> Path:
    path = folder / "scores.csv"
    path.write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    for name, *_ in rows[1:]:
        (folder / name).touch()
    return path


@settings(CALM, max_examples=30)
@given(
    ends=st.tuples(st.floats(-1e4, 1e4), st.floats(1e-2, 1e4)),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=6),
)
def test_scores_of_any_range_become_1_to_5_and_those_of_the_other_direction_are_mirrored(
    ends: tuple[float, float], shares: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    low, high = ends[0], ends[0] + ends[1]
    scores = [min(max(low + share * (high - low), low), high) for share in shares]
    folder = tmp_path_factory.mktemp("scores")
    write_csv(folder, [("image", "mos"), *((f"{i}.png", repr(score)) for i, score in enumerate(scores))])
    up, down = (
        load_ratings(RatingsConfig("scores.csv", low=low, high=high, higher_is_better=higher), folder)
        for higher in (True, False)
    )
    expected = [1 + 4 * (score - low) / (high - low) for score in scores]
    # What the network learns from, not only what the table says of itself.
    target, mirrored = (RatedImages(ratings, {}).rated[:, 0] for ratings in (up, down))
    torch.testing.assert_close(target, torch.tensor(expected), rtol=0, atol=1e-5)
    torch.testing.assert_close(mirrored, 6 - target, rtol=0, atol=1e-5)
    assert up.scores["quality"].tolist() == down.scores["quality"].tolist() == scores
    # The direction matters: the best of one table is the worst of the other.
    if len(set(shares)) == len(shares) > 1 and target.max() - target.min() > 1e-3:
        assert int(target.argmax()) == int(mirrored.argmin())


def test_columns_folder_and_groups_are_those_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    rows = [
        ("file", "MOS", "C", "scene", "part"),
        ("a.png", "1", "", "s", "train"),
        ("b.png", "7", "2", "", "test"),
    ]
    write_csv(tmp_path, rows)
    for name in ("a.png", "b.png"):
        (tmp_path / name).rename(tmp_path / "pictures" / name)
    columns = ColumnNames("file", {"quality": "MOS", "clarity": "C"}, group="scene", split="part")
    config = RatingsConfig("scores.csv", images="pictures", low=1, high=7, columns=columns)
    ratings = load_ratings(config, tmp_path)
    assert ratings.images == (tmp_path / "pictures" / "a.png", tmp_path / "pictures" / "b.png")
    assert ratings.groups == ("s", "b.png")
    assert ratings.split == ("train", "test")
    rated = RatedImages(ratings, {}, ("quality", "clarity")).rated
    torch.testing.assert_close(rated, torch.tensor([[1, torch.nan], [5, 1 + 4 / 6]]), equal_nan=True)
    assert ratings.card.name == "scores"


def test_absent_images_are_an_error_unless_dropped(tmp_path: Path) -> None:
    write_csv(tmp_path, [("image", "mos"), ("a.png", "1"), ("b.png", "2")])
    (tmp_path / "a.png").unlink()
    config = RatingsConfig("scores.csv", low=0, high=5)
    with pytest.raises(RatingsError, match=r"a\.png"):
        load_ratings(config, tmp_path)
    assert load_ratings(replace(config, missing="drop"), tmp_path).names == ("b.png",)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (RatingsConfig("gone.csv", low=0, high=5), "gone.csv"),
        (RatingsConfig("scores.csv", low=5, high=0), "a scale from 5 to 0 has no extent"),
        (RatingsConfig("scores.csv", low=0, high=float("nan")), "a scale from 0 to nan has no extent"),
        (RatingsConfig("scores.csv", low=1.5, high=5), r"quality outside 1.5 to 5: a.png \(1\)"),
        (RatingsConfig("scores.csv", low=0, high=5, columns=ColumnNames(group="scene")), "scene"),
        (
            RatingsConfig(".", dataset="nothing"),
            "nothing: no set of this name is known, only agiqa-1k, .*biq2021",
        ),
    ],
)
def test_ratings_that_cannot_be_are_refused(tmp_path: Path, config: RatingsConfig, message: str) -> None:
    write_csv(tmp_path, [("image", "mos"), ("a.png", "1"), ("b.png", "2")])
    with pytest.raises(RatingsError, match=message):
        load_ratings(config, tmp_path)


# Seeded splits.


@settings(CALM, max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 3), min_size=20, max_size=30),
    seed=st.integers(0, 2**40),
    test=st.sampled_from([0.0, 0.2, 0.4]),
    order=st.randoms(use_true_random=False),
)
def test_seeded_parts_divide_all_images_and_no_group(
    sizes: list[int], seed: int, test: float, order: Any
) -> None:
    groups = [f"scene {number}" for number, size in enumerate(sizes) for _ in range(size)]
    order.shuffle(groups)
    ratings = table(groups)
    config = SplitConfig(validation=0.3, test=test, seed=seed)
    parts = divide(ratings, config)
    train, validation, tested = names_of(parts)
    assert train | validation | tested == set(ratings.names)
    assert len(train) + len(validation) + len(tested) == len(ratings)
    assert train
    assert validation
    assert bool(tested) == bool(test)
    there = [
        {group for name, group in zip(ratings.names, ratings.groups, strict=True) if name in part}
        for part in (train, validation, tested)
    ]
    assert sum(map(len, there)) == len(sizes)
    # Scores stay with their images, and the order of the rows does not matter.
    for part in (parts.train, parts.validation):
        assert [ratings.scores["quality"][i] for i in ratings.indices(part.names)] == list(
            part.scores["quality"]
        )
    shuffled = list(range(len(ratings)))
    order.shuffle(shuffled)
    assert names_of(divide(ratings.take(shuffled), config)) == [train, validation, tested]


def test_shares_and_seeds_of_a_split() -> None:
    ratings = table(count=400)
    first, second = (divide(ratings, SplitConfig(validation=0.2, test=0.25, seed=seed)) for seed in (1, 2))
    assert [len(part) for part in names_of(first)] == [240, 60, 100]
    assert all(a != b for a, b in zip(names_of(first), names_of(second), strict=True))
    assert names_of(divide(ratings, SplitConfig(validation=0.2, test=0.25, seed=1))) == names_of(first)


def test_a_seeded_split_leaves_the_owners_test_part_alone_unless_told_otherwise() -> None:
    split = ("train", "test", "validation", "") * 10
    ratings = table(count=40, split=split)
    owners = {name for name, part in zip(ratings.names, split, strict=True) if part == "test"}
    for seed in range(5):
        train, validation, tested = names_of(divide(ratings, SplitConfig(seed=seed)))
        assert tested == owners
        assert train | validation == set(ratings.names) - owners
    # With a share for the test all is drawn anew, as protocols of ten random splits have it.
    _, _, drawn = names_of(divide(ratings, SplitConfig(seed=1, test=0.25)))
    assert len(drawn) == 10
    assert drawn != owners


def test_too_few_images_or_groups_are_refused() -> None:
    with pytest.raises(RatingsError, match="part 2 of 2 would be empty: 6 images in 1 groups are too few"):
        divide(table(["one"] * 6), SplitConfig())


def test_limits_draw_some_images_whatever_the_order() -> None:
    ratings = table(count=60)
    whole = divide(ratings, SplitConfig(validation=0.5, seed=3))
    config = SplitConfig(validation=0.5, seed=3, limit=7, validation_limit=9)
    some = divide(ratings, config)
    assert (len(some.train), len(some.validation)) == (7, 9)
    assert set(some.train.names) < set(whole.train.names)
    assert set(some.validation.names) < set(whole.validation.names)
    assert names_of(divide(ratings.take(range(59, -1, -1)), config)) == names_of(some)
    given = replace(ratings, split=("train",) * 40 + ("validation",) * 20)
    config_given = SplitConfig("given", limit=7, validation_limit=9)
    turned = divide(given.take(range(59, -1, -1)), config_given)
    assert names_of(turned) == names_of(divide(given, config_given))
    # A longer run sees the images of the shorter one, and more; and a limit beyond all takes all.
    longer = divide(ratings, replace(config, limit=12))
    assert set(some.train.names) < set(longer.train.names)
    assert names_of(divide(ratings, replace(config, limit=99, validation_limit=0))) == names_of(whole)


# Splits of the table and of files.


def test_a_given_split_is_taken_and_images_of_no_part_are_left_out() -> None:
    ratings = table(count=5, split=("train", "", "validation", "test", "train"))
    parts = divide(ratings, SplitConfig("given"))
    assert names_of(parts) == [{"000.png", "004.png"}, {"002.png"}, {"003.png"}]
    without = divide(table(count=20, split=("train",) * 20), SplitConfig("given", validation=0.25))
    assert [len(part) for part in names_of(without)] == [15, 5, 0]
    assert without.test is None


def test_without_a_training_part_there_is_nothing_to_learn_from() -> None:
    with pytest.raises(RatingsError, match="made has no part 'train'; there is no split"):
        divide(table(count=9), SplitConfig("given"))
    with pytest.raises(RatingsError, match="made has no part 'train'; there is test"):
        divide(table(count=9, split=("test",) * 9), SplitConfig("given"))


@pytest.fixture
def given_ratings() -> Ratings:
    return table(count=6, split=("train", "train", "train", "test", "test", ""))


def divide_by(ratings: Ratings, folder: Path, **parts: tuple[str, ...]) -> Parts:
    write_split(folder / "split.json", Split(parts))
    return divide(ratings, SplitConfig("given", file="split.json", validation=0.5), folder)


def test_a_file_of_names_refines_the_tables_split(given_ratings: Ratings, tmp_path: Path) -> None:
    held = divide_by(given_ratings, tmp_path, validation=("001.png",))
    assert names_of(held) == [{"000.png", "002.png"}, {"001.png"}, {"003.png", "004.png"}]
    more = divide_by(
        given_ratings, tmp_path, train=("005.png",), test=("000.png", "003.png"), validation=("002.png",)
    )
    assert names_of(more) == [{"001.png", "005.png"}, {"002.png"}, {"000.png", "003.png", "004.png"}]


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_file_of_names_may_not_move_a_test_image(given_ratings: Ratings, tmp_path: Path, part: str) -> None:
    with pytest.raises(RatingsError, match=r"split\.json: 003\.png is in the test part; it must stay there"):
        divide_by(given_ratings, tmp_path, **{part: ("001.png", "003.png")})


def test_files_of_names_that_do_not_fit_are_refused(given_ratings: Ratings, tmp_path: Path) -> None:
    with pytest.raises(RatingsError, match=r"made: 1 name \(nobody\.png\) not in the table"):
        divide_by(given_ratings, tmp_path, validation=("nobody.png",))
    with pytest.raises(RatingsError, match=r"gone\.json: there is no such file"):
        divide(given_ratings, SplitConfig("given", file="gone.json"), tmp_path)
    (tmp_path / "split.json").write_text(json.dumps({"parts": {}}), encoding="utf-8")
    with pytest.raises(RatingsError, match=r"split\.json: not a split written by Foveal"):
        divide(given_ratings, SplitConfig("given", file="split.json"), tmp_path)


# Backbone and model.


def test_a_backbone_is_found_beside_the_recipe_or_as_it_stands(tiny_vit: Path) -> None:
    assert locate_backbone(tiny_vit.name, tiny_vit.parent) == tiny_vit
    assert locate_backbone(os.fspath(tiny_vit), Path("elsewhere")) == tiny_vit
    assert locate_backbone("vit-tiny-16", tiny_vit.parent) == "vit-tiny-16"
    with pytest.raises(
        BackboneError, match="no-such-vit: no folder lies there and no backbone has this name"
    ):
        load_vision(BackboneConfig("no-such-vit"), tiny_vit.parent)


def test_a_backbone_comes_frozen_with_its_reference(tiny_vit: Path) -> None:
    backbone, described = load_vision(BackboneConfig(tiny_vit.name), tiny_vit.parent)
    assert not any(True for _ in backbone.trainable())
    assert described.name == tiny_vit.name
    assert described.fingerprint == backbone_fingerprint(backbone)
    assert (described.revision, described.attention, described.tuning) == ("", "sdpa", TuningMode())
    assert backbone.core.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    "tuning", [TuningMode("last", blocks=1), TuningMode("lora", rank=2, alpha=4, targets=("q", "fc2"))]
)
def test_tuning_sets_free_but_the_reference_is_to_the_weights_on_disk(
    tiny_vit: Path, tuning: TuningMode
) -> None:
    _, described = load_vision(BackboneConfig(os.fspath(tiny_vit)))
    tuned, same = load_vision(BackboneConfig(os.fspath(tiny_vit), tuning=tuning, attention="eager"))
    assert any(True for _ in tuned.trainable())
    assert same.fingerprint == described.fingerprint
    assert (same.tuning, same.attention) == (tuning, "eager")
    assert tuned.core.config._attn_implementation == "eager"


def test_too_many_blocks_to_tune_are_refused(tiny_vit: Path) -> None:
    with pytest.raises(ValueError, match="has 3 blocks: cannot set the last 9 free"):
        load_vision(BackboneConfig(os.fspath(tiny_vit), tuning=TuningMode("last", blocks=9)))


def test_models_come_with_the_recipes_options_and_the_generators_weights(tiny_vit: Path) -> None:
    values: dict[str, Any] = {
        "ratings": {"path": "", "low": 1, "high": 5},
        "backbone": {"name": os.fspath(tiny_vit)},
        "targets": ["quality", "clarity"],
    }
    backbone, _ = load_vision(BackboneConfig(os.fspath(tiny_vit)))
    probe = recipe_from({**values, "model": {"kind": "probe", "hidden": 5, "views": ["crop"]}})
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(make_model(probe, Backbones(backbone)))
    first, second, third = (model.trained_state()["probe.hidden.weight"] for model in made)
    assert isinstance(made[0], ProbeModel)
    assert first.shape == (5, 2 * 24)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert made[0].targets == ("quality", "clarity")
    glia = make_model(
        recipe_from({**values, "model": {"kind": "glia", "layers": [1, 3], "width": 8}}), Backbones(backbone)
    )
    assert isinstance(glia, GliaNet)
    assert glia.config.width == 8
