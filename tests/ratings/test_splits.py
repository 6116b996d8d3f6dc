from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from foveal.errors import RatingsError
from foveal.ratings.splits import Split, grouped_split, read_split, seeded_splits, write_split
from foveal.ratings.table import DatasetCard, Ratings

GROUPS = st.lists(st.integers(0, 15), min_size=4, max_size=60)


def named(labels: list[int]) -> tuple[list[str], list[str]]:
    return [f"{index:03}.png" for index in range(len(labels))], [f"g{label}" for label in labels]


@pytest.mark.slow
@given(labels=GROUPS, seed=st.integers(0, 1000), share=st.floats(0.05, 0.95))
def test_parts_are_disjoint_complete_near_their_share_and_hold_whole_groups(
    labels: list[int], seed: int, share: float
) -> None:
    names, groups = named(labels)
    largest = max(Counter(groups).values())
    assume(len(names) * min(share, 1 - share) > largest)
    parts = grouped_split(names, groups, (share, 1 - share), seed)
    assert sorted(parts[0] + parts[1]) == names
    group_of = dict(zip(names, groups, strict=True))
    assert not {group_of[name] for name in parts[0]} & {group_of[name] for name in parts[1]}
    assert abs(len(parts[0]) - share * len(names)) <= largest


@given(labels=GROUPS, seed=st.integers(0, 1000), shuffle=st.integers(0, 1000))
# Four images alone make sure that neither half is empty.
def test_neither_the_order_of_rows_nor_the_labels_of_groups_matter(
    labels: list[int], seed: int, shuffle: int
) -> None:
    names, groups = named([*labels, 16, 17, 18, 19])
    rows = list(zip(names, groups, strict=True))
    random.Random(shuffle).shuffle(rows)
    renamed = [f"{hash(group)}" for _, group in rows]
    fractions = (0.5, 0.5)
    expected = grouped_split(names, groups, fractions, seed)
    assert grouped_split([name for name, _ in rows], renamed, fractions, seed) == expected


def test_seeds_give_different_splits_and_each_image_is_tested_at_some_time() -> None:
    names, groups = named(list(range(100)))
    drawn = [grouped_split(names, groups, (0.8, 0.2), seed) for seed in range(40)]
    assert len({parts[1] for parts in drawn}) == 40
    tested = Counter(name for parts in drawn for name in parts[1])
    assert sum(tested.values()) == 40 * 20
    # Binomial with mean 8 and standard deviation 2.5: nobody is far off.
    assert min(tested[name] for name in names) >= 1
    assert max(tested.values()) <= 19


@pytest.mark.slow
def test_a_split_is_the_same_in_every_process() -> None:
    code = (
        "from foveal.ratings.splits import grouped_split;"
        "names = [f'{i}.png' for i in range(30)];"
        "print(grouped_split(names, [f'g{i % 11}' for i in range(30)], (0.7, 0.3), 5))"
    )
    source = str(Path(__file__).resolve().parents[2] / "src")
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": source},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    names, groups = [f"{i}.png" for i in range(30)], [f"g{i % 11}" for i in range(30)]
    assert outputs == {f"{grouped_split(names, groups, (0.7, 0.3), 5)}\n"}


def test_known_draw() -> None:
    # random.Random(3) begins .238, .544, .370, .604, so a, b, c, d are taken in the order a, c, b, d. Each
    # goes where most images are needed (3 and 1 at first): a and c to the first part; then both need one,
    # and the first is served first; d goes to the other.
    assert grouped_split(["d", "b", "a", "c"], ["4", "2", "1", "3"], (0.75, 0.25), 3) == (
        ("a", "b", "c"),
        ("d",),
    )


@pytest.mark.parametrize("fractions", [(), (0.5, 0.4), (1.2, -0.2), (1.0, 0.0), (float("nan"), 1.0)])
def test_impossible_fractions_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="fractions"):
        grouped_split(["a", "b"], ["a", "b"], fractions, 0)


def test_impossible_tables_are_refused() -> None:
    with pytest.raises(RatingsError, match="would be empty: 3 images in 1 groups"):
        grouped_split(["a", "b", "c"], ["g", "g", "g"], (0.8, 0.2), 0)
    with pytest.raises(RatingsError, match="more than once"):
        grouped_split(["a", "a"], ["g", "h"], (0.5, 0.5), 0)
    with pytest.raises(ValueError, match="2 names but 1 groups"):
        grouped_split(["a", "b"], ["g"], (0.5, 0.5), 0)


def ratings(count: int = 60, each: int = 3) -> Ratings:
    images = tuple(Path(f"{index:03}.png") for index in range(count))
    groups = tuple(f"scene {index // each}" for index in range(count))
    return Ratings(DatasetCard("mini", 0, 1), images, {"quality": np.linspace(0, 1, count)}, groups=groups)


def test_ten_splits_take_validation_from_the_rest() -> None:
    table = ratings()
    splits = seeded_splits(table)
    assert len(splits) == 10
    assert len({split.parts["test"] for split in splits}) == 10
    for split in splits:
        applied = split.apply(table)
        assert len(applied.part("test")) == pytest.approx(12, abs=3)
        assert len(applied.part("validation")) == pytest.approx(5, abs=3)
        together = [set(applied.part(part).groups) for part in ("train", "validation", "test")]
        assert sum(map(len, together)) == len(set.union(*together)) == 20
    assert seeded_splits(table, count=2, seed=3) == splits[3:5]
    with pytest.raises(ValueError, match="count"):
        seeded_splits(table, count=0)
    with pytest.raises(ValueError, match="fractions"):
        seeded_splits(table, test=1.5)


def test_a_stored_split_is_names_and_outlives_reordering(tmp_path: Path) -> None:
    table = ratings()
    (split,) = seeded_splits(table, count=1)
    path = tmp_path / "split 0.json"
    write_split(path, split)
    again = read_split(path)
    assert again == split
    assert json.loads(path.read_text(encoding="utf-8"))["parts"]["test"] == list(split.parts["test"])
    backwards = table.take(range(len(table) - 1, -1, -1))
    assert sorted(again.apply(backwards).part("test").names) == sorted(split.apply(table).part("test").names)


def test_applying_leaves_unnamed_images_out_and_refuses_unknown_ones() -> None:
    table = ratings(4)
    applied = Split({"train": ("000.png",), "test": ("003.png",)}).apply(table)
    assert applied.split == ("train", "", "", "test")
    with pytest.raises(RatingsError, match=r"1 name \(x.png\) not in the table"):
        Split({"train": ("x.png",)}).apply(table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "cannot be read as JSON"),
        ("[]", "not a split"),
        ('{"format": "other"}', "not a split"),
        ('{"format": "foveal-split", "version": 2}', "version 2"),
        ('{"format": "foveal-split", "version": 1, "parts": {"train": [1]}}', "lists of names"),
        ('{"format": "foveal-split", "version": 1, "parts": []}', "lists of names"),
        ('{"format": "foveal-split", "version": 1, "parts": {"exam": ["a"]}}', "unknown part 'exam'"),
        ('{"format": "foveal-split", "version": 1, "parts": {"": ["a"]}}', "unknown part ''"),
        (
            '{"format": "foveal-split", "version": 1, "parts": {"train": ["a"], "test": ["a"]}}',
            r"1 image \(a\) more than once",
        ),
    ],
)
def test_files_that_are_no_splits_are_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RatingsError, match=message) as caught:
        read_split(path)
    assert "bad.json" in str(caught.value)


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(RatingsError, match="no such file"):
        read_split(tmp_path / "absent.json")
