from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import RatingsError
from foveal.ratings.table import DatasetCard, Ratings, Scale

MOS = DatasetCard("mini", 0.0, 100.0)
DMOS = DatasetCard("mini DMOS", 0.0, 1.0, higher_is_better=False)


def table(values: list[float], card: DatasetCard = MOS, **columns: object) -> Ratings:
    images = tuple(Path(f"folder/{index}.png") for index in range(len(values)))
    return replace(Ratings(card, images, {"quality": np.array(values)}), **columns)


def test_scores_stay_as_shipped_and_quality_is_on_the_common_scale() -> None:
    ratings = table([0.0, 25.0, 100.0])
    assert ratings.scores["quality"].tolist() == [0.0, 25.0, 100.0]
    assert ratings.quality().tolist() == [1.0, 2.0, 5.0]


def test_a_scale_where_lower_is_better_is_turned_round_for_quality_only() -> None:
    ratings = table([0.0, 0.25, 1.0], DMOS)
    assert ratings.scores["quality"].tolist() == [0.0, 0.25, 1.0]
    assert ratings.quality().tolist() == [5.0, 4.0, 1.0]


@given(
    low=st.floats(-1e3, 1e3),
    extent=st.floats(0.1, 1e3),
    places=st.lists(st.floats(0, 1), min_size=1),
    up=st.booleans(),
)
def test_quality_lies_on_the_scale_and_keeps_or_turns_the_order(
    low: float, extent: float, places: list[float], up: bool
) -> None:
    scale = Scale(low, low + extent, up)
    scores = np.clip(low + extent * np.sort(places), scale.low, scale.high)
    quality = scale.to_quality(scores)
    assert quality.min() >= 1 - 1e-9
    assert quality.max() <= 5 + 1e-9
    assert (np.diff(quality if up else quality[::-1]) >= 0).all()


def test_defaults_name_images_by_file_and_leave_each_alone() -> None:
    ratings = table([1.0, 2.0])
    assert ratings.names == ("0.png", "1.png")
    assert ratings.groups == ratings.names
    assert ratings.subsets == ratings.split == ("", "")
    assert ratings.prompts is None
    assert len(ratings) == 2


def test_every_column_follows_when_images_are_taken() -> None:
    ratings = table(
        [1.0, 2.0, 3.0],
        std={"quality": np.array([0.1, 0.2, 0.3])},
        groups=("a", "a", "b"),
        subsets=("x", "y", "z"),
        split=("train", "test", "train"),
        prompts=("a cat", "a dog", "a cow"),
    )
    taken = ratings.take([2, 0])
    assert taken.names == ("2.png", "0.png")
    assert taken.images == (Path("folder/2.png"), Path("folder/0.png"))
    assert taken.scores["quality"].tolist() == [3.0, 1.0]
    assert taken.std["quality"].tolist() == [0.3, 0.1]
    assert (taken.groups, taken.subsets, taken.prompts) == (("b", "a"), ("z", "x"), ("a cow", "a cat"))
    assert ratings.part("train").names == ("0.png", "2.png")
    assert ratings.take(ratings.indices(["1.png"])).names == ("1.png",)


def test_several_targets_have_their_own_scales_and_may_miss_scores() -> None:
    card = DatasetCard(
        "generated", 0.0, 5.0, other_scales={"artefacts": Scale(0, 10, higher_is_better=False)}
    )
    ratings = Ratings(
        card,
        (Path("a.png"), Path("b.png")),
        {"quality": np.array([5.0, np.nan]), "artefacts": np.array([np.nan, 2.5])},
    )
    assert ratings.targets == ("quality", "artefacts")
    np.testing.assert_array_equal(ratings.quality(), [5.0, np.nan])
    np.testing.assert_array_equal(ratings.quality("artefacts"), [np.nan, 4.0])


def test_a_table_cannot_be_changed_behind_its_back() -> None:
    scores = np.array([1.0, 2.0])
    ratings = Ratings(MOS, (Path("a.png"), Path("b.png")), {"quality": scores})
    scores[0] = 99.0
    assert ratings.scores["quality"][0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        ratings.scores["quality"][0] = 99.0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"scores": {"quality": np.array([1.0])}}, "scores 'quality' holds 1 values for 2 images"),
        ({"scores": {"quality": np.ones((2, 2))}}, r"shape \(2, 2\)"),
        ({"scores": {}}, "no scores"),
        ({"scores": {"quality": np.array([1.0, 100.1])}}, "outside 0 to 100: 1.png .100.1"),
        ({"scores": {"quality": np.array([1.0, np.inf])}}, "outside 0 to 100"),
        ({"scores": {"quality": np.array([1.0, np.nan])}}, "score missing: 1.png"),
        (
            {"scores": {"quality": np.array([1.0, np.nan]), "alignment": np.array([1.0, np.nan])}},
            "score missing: 1.png",
        ),
        ({"std": {"quality": np.array([1.0, -1.0])}}, "std of quality: 1.png"),
        ({"std": {"beauty": np.array([1.0, 1.0])}}, "std of 'beauty', but no such score"),
        ({"groups": ("a",)}, "groups holds 1 values for 2 images"),
        ({"prompts": ("a",)}, "prompts holds 1 values"),
        ({"names": ("a", "a")}, "1 name .a. more than once"),
        ({"images": (Path("a.png"), Path("a.png")), "names": ("a", "b")}, "1 image .a.png. more than once"),
        ({"split": ("train", "exam")}, "unknown part 'exam'"),
    ],
)
def test_malformed_columns_are_refused_with_the_reason(columns: dict[str, object], message: str) -> None:
    with pytest.raises(RatingsError, match=message):
        table([1.0, 2.0], **columns)


def test_what_is_not_in_the_table_is_named() -> None:
    ratings = table([1.0, 2.0], split=("train", "train"))
    with pytest.raises(RatingsError, match="no part 'test'; there is train"):
        ratings.part("test")
    with pytest.raises(RatingsError, match="no score 'beauty'; it has quality"):
        ratings.quality("beauty")
    with pytest.raises(RatingsError, match=r"2 names \(x.png, y.png\) not in the table"):
        ratings.indices(["0.png", "x.png", "y.png"])
    with pytest.raises(RatingsError, match="more than once"):
        ratings.take([0, 0])


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (5.0, 1.0), (0.0, np.inf), (np.nan, 1.0)])
def test_a_scale_needs_an_extent(low: float, high: float) -> None:
    with pytest.raises(RatingsError, match="extent"):
        Scale(low, high)
