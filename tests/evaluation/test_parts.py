from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from foveal.errors import RatingsError
from foveal.evaluation.parts import check_parts, parts_of
from foveal.ratings.table import DatasetCard, Ratings


def table(scores: Sequence[float], subsets: Sequence[str] = ()) -> Ratings:
    images = tuple(Path(f"{index}.jpg") for index in range(len(scores)))
    other = np.full(len(scores), 50.0)
    card = DatasetCard("mini", 0.0, 100.0)
    return Ratings(card, images, {"quality": np.array(scores), "other": other}, subsets=tuple(subsets))


def test_rows_of_each_part_leave_out_what_is_not_clean_and_what_has_no_score() -> None:
    ratings = table([1, 2, np.nan, 4, 5, 6], ["b", "a", "b", "", "b", "a"])
    parts = parts_of(ratings, ["4.jpg", "2.jpg"])
    assert {part: rows.tolist() for part, rows in parts.items()} == {
        "all": [0, 1, 3, 4, 5],
        "clean": [0, 1, 3, 5],
        "a": [1, 5],
        "b": [0, 4],
    }
    assert list(parts) == ["all", "clean", "a", "b"]
    assert parts_of(ratings, target="other")["all"].tolist() == [0, 1, 2, 3, 4, 5]


def test_subsets_with_the_names_of_parts_are_told_apart() -> None:
    ratings = table([1, 2, 3], ["all", "clean", "clean"])
    assert list(parts_of(ratings)) == ["all", "subset all", "clean"]
    assert list(parts_of(ratings, ["0.jpg"])) == ["all", "clean", "subset all", "subset clean"]


def test_a_table_fit_for_every_figure_passes() -> None:
    check_parts(table([1, 2, 3, 4, 5, 6] * 2, ["a"] * 6 + ["b"] * 6), ["0.jpg"])


@pytest.mark.parametrize(
    ("ratings", "leave_out", "message"),
    [
        (
            table([1, 2, 3, 4, 5]),
            [],
            "part 'all' of mini: 5 rated images are too few for correlations and fits; at least 6 are needed",
        ),
        (table([1, 2, 3, 4, 5, np.nan]), [], "part 'all' of mini: 5 rated images"),
        (table([1, 2, 3, 4, 5, 6, 7]), ["0.jpg", "1.jpg"], "part 'clean' of mini: 5 rated images"),
        (table([1, 2, 3, 4, 5, 6, 7], ["a", *"bbbbbb"]), [], "part 'a' of mini: 1 rated images"),
        (
            table([1, 2, *[30] * 6], [*"aa", *"bbbbbb"]),
            [],
            "part 'a' of mini: 2 rated images",
        ),
        (table([30.0] * 6), [], "part 'all' of mini: all 6 ratings are 30: a correlation with a constant"),
        (table([1, 2, 3, 4, 5, 6]), ["6.jpg"], r"1 name \(6.jpg\) not in the table"),
    ],
)
def test_what_no_scores_could_be_evaluated_on_is_refused(
    ratings: Ratings, leave_out: list[str], message: str
) -> None:
    with pytest.raises(RatingsError, match=message):
        check_parts(ratings, leave_out)
