from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.evaluation.scores import Scores
from foveal.evaluation.significance import compare
from foveal.evaluation.versus import against_first
from foveal.ratings.table import DatasetCard, Ratings

N = 60
RNG = np.random.default_rng(0)
RATED = RNG.uniform(1, 5, N)
NOISE = RNG.normal(size=N)
RATINGS = Ratings(
    DatasetCard("mini", 1.0, 5.0),
    tuple(Path(f"{index}.jpg") for index in range(N)),
    {"quality": RATED},
    subsets=("a", "b") * (N // 2),
)
GOOD, FAIR, BAD = (
    Scores(name, RATED + size * NOISE) for name, size in (("good", 0.2), ("fair", 1), ("bad", 5))
)


def test_each_is_compared_with_the_first_in_every_figure_and_part() -> None:
    result = against_first(RATINGS, [FAIR, GOOD, BAD], ["0.jpg"], resamples=300, seed=4)
    assert result.first == "fair"
    assert [(one.assessor, one.part, one.statistic) for one in result.differences] == [
        (name, part, statistic)
        for name in ("good", "bad")
        for part in ("all", "clean", "a", "b")
        for statistic in ("srcc", "plcc")
    ]
    for one in result.differences:
        assert (one.comparison.difference > 0) == (one.assessor == "good")
    in_b = np.arange(1, N, 2)
    expected = compare(BAD.quality[in_b], FAIR.quality[in_b], RATED[in_b], "plcc", resamples=300, seed=4)
    assert result.differences[-1].comparison == expected


def test_both_tables_say_the_same() -> None:
    result = against_first(RATINGS, [FAIR, BAD], resamples=200)
    one = result.differences[0].comparison
    shown, data = result.shown(), result.data()
    assert shown.headings == ("assessor", "part", "figure", "difference", "95 %", "p")
    assert shown.rows[0] == (
        "bad",
        "all",
        "SRCC",
        f"{one.difference:+.3f}",
        f"{one.low:+.3f} to {one.high:+.3f}",
        f"{one.p_value:.4f}",
    )
    assert shown.rows[0][3].startswith("-")
    assert data.headings[-3:] == ("low_95", "high_95", "p_value")
    assert data.rows[0] == ("bad", "fair", "all", "srcc", one.difference, one.low, one.high, one.p_value)


def test_unfit_columns_name_assessor_and_part() -> None:
    flat = Scores("flat", np.where(np.arange(N) % 2, 3.0, RATED))
    with pytest.raises(ValueError, match="flat against fair, part 'b': predicted scores are all 3"):
        against_first(RATINGS, [FAIR, flat], resamples=200)
    with pytest.raises(ValueError, match="1 assessor cannot be compared"):
        against_first(RATINGS, [FAIR])
