"""What stands on both sides of a split is found: groups, copies, sets that share images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.evaluation.benchmark.leaks import crossing, joined_groups, names_set, shared_images
from foveal.ratings.table import DatasetCard, Ratings

LABELS = st.lists(
    st.tuples(st.sampled_from("abcdefg"), st.sampled_from("123456789")), min_size=1, max_size=14
)


def table(groups: list[str], split: list[str]) -> Ratings:
    names = tuple(f"{number}.png" for number in range(len(groups)))
    return Ratings(
        card=DatasetCard("made", 0, 1),
        images=tuple(Path(name) for name in names),
        scores={"quality": np.linspace(0, 1, len(groups))},
        groups=tuple(groups),
        split=tuple(split),
    )


@given(LABELS)
def test_images_are_together_if_a_chain_of_groups_and_copies_joins_them(rows: list[tuple[str, str]]) -> None:
    groups, contents = [group for group, _ in rows], [content for _, content in rows]
    joined = joined_groups(groups, contents)
    # Reachability by squaring the matrix of who shares a label with whom.
    near = np.array([[a[0] == b[0] or a[1] == b[1] for b in rows] for a in rows], bool)
    for _ in rows:
        near = near @ near
    together = [[one == other for other in joined] for one in joined]
    assert together == near.tolist()
    assert set(joined) <= set(groups)


def test_crossing_names_groups_and_copies() -> None:
    groups = ["a", "a", "b", "c", "d", "e", "f", "f"]
    split = ["train", "test", "validation", "test", "test", "test", "", "test"]
    contents = ["0", "1", "2", "2", "4", "0", "4", "7"]
    found = crossing(table(groups, split), contents)
    assert found.groups == ("a",)  # f is only partly in a part at all
    assert found.copies == ("3.png", "5.png")  # the copy of 4.png is in no part
    assert found.tainted == {"1.png", "3.png", "5.png"}


def test_a_clean_split_crosses_nothing() -> None:
    found = crossing(table(["a", "a", "b", "b"], ["train", "validation", "test", "test"]), list("0123"))
    # Training and validation part share a group, which is worth a warning, but taints no test image.
    assert (found.groups, found.copies, found.tainted) == (("a",), (), frozenset())


def test_sets_that_share_images_are_counted_in_both_orders() -> None:
    contents = {"one": ["a", "b", "b", "c"], "two": ["b", "c", "x"], "three": ["y"]}
    assert shared_images(contents) == {("one", "two"): 2, ("two", "one"): 2}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("BIQ2021 official training part (9,000 images)", True),
        ("9,000 photographs of biq2021.", True),
        ("BIQ2021b and others", False),
        ("xBIQ2021", False),
        ("", False),
    ],
)
def test_a_card_names_a_set_by_a_word_of_its_own(text: str, named: bool) -> None:
    assert names_set(text, ("BIQ2021", "biq2021")) is named
    assert not names_set(text, ("",))
