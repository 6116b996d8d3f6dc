"""Sets of a benchmark: splits that separate nothing, warnings where the official one does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.evaluation.benchmark.config import BenchmarkError, SetConfig
from foveal.evaluation.benchmark.rated_sets import RatedSet, load_set
from foveal.strict import build


def load(made: Any, *, trains: bool = False, **changes: object) -> RatedSet:
    config = build(SetConfig, made.table(**changes), f"sets.{made.name}")
    return load_set(made.name, config, folder=made.folder.parent, target="quality", trains=trains)


def parts_by_label(rated: RatedSet, split: int, labels: tuple[str, ...]) -> dict[str, set[str]]:
    divided = rated.splits[split].apply(rated.ratings)
    found: dict[str, set[str]] = {}
    for label, part in zip(labels, divided.split, strict=True):
        found.setdefault(label, set()).add(part)
    return found


def test_seeded_splits_keep_groups_and_exact_copies_together(make_set: Callable[..., Any]) -> None:
    rated = load(make_set("one", 40, copies={9: 0, 20: 9, 31: 4}), splits=5, seed=3)
    assert len(rated.splits) == 5
    scenes = tuple(f"scene {row // 2}" for row in range(40))
    for split in range(5):
        for labels in (scenes, rated.contents):
            assert all(len(parts) == 1 for parts in parts_by_label(rated, split, labels).values())
        assert set(rated.splits[split].parts) == {"train", "validation", "test"}
    assert rated.warnings == ("3 images are exact copies of others in the set; copies are kept in one part",)
    assert rated.unclean == frozenset()
    tests = [rated.splits[split].parts["test"] for split in range(5)]
    assert len(set(tests)) == 5


def test_the_seed_counts_on(make_set: Callable[..., Any]) -> None:
    made = make_set("one", 40)
    several, one = load(made, splits=3, seed=3), load(made, splits=1, seed=5)
    assert several.splits[2].parts == one.splits[0].parts


def test_an_official_split_is_taken_as_it_is(make_set: Callable[..., Any]) -> None:
    made = make_set("one", 36)
    rated = load(made, split="official")
    test = [name for row, name in enumerate(made.names) if row // 2 % 3 == 0]
    assert list(rated.splits[0].parts["test"]) == test
    assert [rated.ratings.names[row] for row in rated.rows(0, "test")] == test
    assert (rated.warnings, rated.unclean) == ((), frozenset())


def test_separated_groups_and_copies_are_warned_of_and_not_clean(make_set: Callable[..., Any]) -> None:
    parts = ["test"] * 15 + ["train"] * 15
    rated = load(make_set("one", 30, parts=parts, copies={3: 20}), split="official")
    groups, copies = rated.warnings
    assert "the official split separates 1 group (scene 7): parts of it have seen" in groups
    assert "the official test part holds 1 image (03.png) whose exact copies are in the training" in copies
    assert rated.unclean == {"03.png", "14.png"}


def test_a_clean_part_takes_enough_clean_images(make_set: Callable[..., Any]) -> None:
    made = make_set("one", 30)
    test = [name for row, name in enumerate(made.names) if row // 2 % 3 == 0]
    for left_out, has_clean in ((4, True), (5, False)):
        (made.folder / "near.txt").write_text("\n".join(test[:left_out]), encoding="utf-8")
        rated = load(made, split="official", leave_out="one/near.txt")
        assert rated.has_clean is has_clean
        assert ("too few test images are clean for figures of their own" in rated.warnings) is not has_clean
    assert not load(made, split="official").has_clean


def test_what_is_learnt_from_holds_no_test_image(make_set: Callable[..., Any]) -> None:
    for split, rated in (
        (2, load(make_set("seeded", 40), splits=3, trains=True)),
        (0, load(make_set("official", 36), split="official", trains=True, validation=0.25)),
    ):
        learnt = rated.learnt(split)
        test = set(rated.splits[split].parts["test"])
        assert not test & set(learnt.names)
        assert set(learnt.split) == {"train", "validation"}
        assert len(test) + len(learnt) == len(rated.ratings)
    # The validation part of the official one is drawn from training, by groups.
    assert sum(part == "validation" for part in learnt.split) == 6
    scene = dict(zip(rated.ratings.names, rated.ratings.groups, strict=True))
    parts = {(scene[name], part) for name, part in zip(learnt.names, learnt.split, strict=True)}
    assert len(parts) == len({group for group, _ in parts})


def test_an_official_validation_part_is_kept(make_set: Callable[..., Any]) -> None:
    parts = ["test"] * 10 + ["val"] * 4 + ["train"] * 16
    rated = load(make_set("one", 30, parts=parts), split="official", trains=True)
    assert list(rated.splits[0].parts["validation"]) == [f"{row:02}.png" for row in range(10, 14)]


def test_images_without_the_score_do_not_count(make_set: Callable[..., Any]) -> None:
    made = make_set("one", 30)
    path = made.folder / "ratings.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[0] += ",other"
    lines[1:] = [f"{line},{row}" for row, line in enumerate(lines[1:])]
    lines[3] = "02.png,,scene 1,train,3"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (made.folder / "near.txt").write_text("02.png\n00.png\n", encoding="utf-8")
    columns = {"scores": {"quality": "mos", "other": "other"}, "group": "scene", "split": "part"}
    rated = load(made, split="official", columns=columns, leave_out="one/near.txt")
    assert len(rated.ratings) == 29
    assert "02.png" not in rated.ratings.names
    assert rated.unclean == {"00.png"}


def test_items_tell_images_by_file_name_and_prompt(make_set: Callable[..., Any]) -> None:
    made = make_set("one", 30, copies={5: 4})
    rated = load(made)
    assert rated.contents[5] == rated.contents[4]
    assert len(set(rated.items)) == 30
    config = build(SetConfig, made.table(), "sets.one")
    assert config.columns is not None
    config = replace(config, columns=replace(config.columns, prompt="scene"))
    prompted = load_set("one", config, folder=made.folder.parent, target="quality", trains=False)
    assert not set(prompted.items) & set(rated.items)


@pytest.mark.parametrize(
    ("fields_of", "message"),
    [
        ({"path": "gone.csv"}, "gone.csv: there is no such file"),
        ({"split": "official", "columns": None}, "ratings has no official test part; name the column"),
        ({"leave_out": "one/other.txt"}, r"1 name \(x.png\) not in the table"),
        ({"split": "official", "leave_out": "one/train.txt"}, "none of its 1 images is in a test part"),
        ({"test": 0.01}, "part 3 of 3 would be empty|too few for correlations"),
        ({"high": 10}, "quality outside 0 to 10"),
    ],
)
def test_what_cannot_be_tested_on_is_refused(
    make_set: Callable[..., Any], fields_of: dict[str, Any], message: str
) -> None:
    made = make_set("one", 30)
    (made.folder / "other.txt").write_text("x.png\n", encoding="utf-8")
    (made.folder / "train.txt").write_text("02.png\n", encoding="utf-8")
    with pytest.raises(BenchmarkError, match=f"^sets.one: .*({message})"):
        load(made, **fields_of)


def test_an_official_split_may_have_a_test_part_only(make_set: Callable[..., Any]) -> None:
    rated = load(make_set("one", 30, parts=["test"] * 20 + [""] * 10), split="official", trains=True)
    assert {part: len(names) for part, names in rated.splits[0].parts.items()} == {"test": 20}
    assert not rated.is_learnable
    assert load(make_set("two", 30), split="official", trains=True).is_learnable


def test_constant_ratings_are_refused(make_set: Callable[..., Any]) -> None:
    made = make_set("one", 30)
    path = made.folder / "ratings.csv"
    lines = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [lines[0], *([name, "50", scene, part] for name, _, scene, part in lines[1:])]
    path.write_text("\n".join(",".join(line) for line in lines) + "\n", encoding="utf-8")
    with pytest.raises(BenchmarkError, match=r"sets.one: .* all 10 ratings are 50"):
        load(made, split="official")


def test_a_table_is_not_known_by_its_file_name(make_set: Callable[..., Any]) -> None:
    # "ratings" would be a word of many a card.
    assert load(make_set("one", 30)).titles == ("one",)


def test_rows_are_in_the_order_of_the_table(make_set: Callable[..., Any], tmp_path: Path) -> None:
    rated = load(make_set("one", 40), splits=2)
    for split in range(2):
        rows = rated.rows(split, "test", "train")
        assert (np.diff(rows) > 0).all()
        names = {rated.ratings.names[row] for row in rows}
        assert names == set(rated.splits[split].parts["test"]) | set(rated.splits[split].parts["train"])
