from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.evaluation.coverage import coverage_table
from foveal.evaluation.scores import Scores
from foveal.ratings.table import DatasetCard, Ratings

RATED = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
RATINGS = Ratings(
    DatasetCard("mini", 1.0, 5.0),
    tuple(Path(f"{index}.jpg") for index in range(5)),
    {"quality": RATED},
    subsets=("a", "a", "b", "b", "b"),
)


def test_shares_and_widths_by_hand() -> None:
    # Inside, at the lower end, at the upper end, below, above.
    low = np.array([0.5, 2.0, 2.0, 4.1, 3.0])
    high = np.array([1.5, 3.0, 3.0, 5.0, 4.9])
    scores = [Scores("bare", RATED), Scores("mine", RATED, low, high)]
    table = coverage_table(RATINGS, scores, ["4.jpg"])
    assert table.rows == (
        ("mine", "all", 5, 0.6, pytest.approx(5.8 / 5)),
        ("mine", "clean", 4, 0.75, pytest.approx(3.9 / 4)),
        ("mine", "a", 2, 1.0, pytest.approx(1.0)),
        ("mine", "b", 3, pytest.approx(1 / 3), pytest.approx(3.8 / 3)),
    )
    assert coverage_table(RATINGS, scores[:1]).rows == ()


def test_intervals_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"mine: the interval of 3.jpg runs from 4 down to 3.5"):
        coverage_table(RATINGS, [Scores("mine", RATED, RATED, np.array([1, 2, 3, 3.5, 5.0]))])
    with pytest.raises(ValueError, match="mine: 4 intervals for 5 images"):
        coverage_table(RATINGS, [Scores("mine", RATED, RATED[1:], RATED[1:])])
