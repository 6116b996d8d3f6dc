from pathlib import Path

import numpy as np
import pytest

import accuracy
from foveal.ratings.table import DatasetCard, Ratings


@pytest.fixture
def ratings():
    """Forty images of two subsets, rated on 0-100."""
    names = tuple(f"{number:02d}.jpg" for number in range(40))
    return Ratings(
        card=DatasetCard("made up", 0.0, 100.0),
        images=tuple(Path(name) for name in names),
        scores={"quality": np.linspace(0, 100, 40)},
        subsets=("one", "two") * 20,
    )


def scores_around(ratings, error, reach):
    quality = ratings.quality() + error
    return accuracy.Scores(quality, quality - reach, quality + reach)


def test_kept_scores_come_back_in_the_order_of_the_ratings(ratings, tmp_path):
    scores = scores_around(ratings, np.random.default_rng(0).normal(0, 0.3, 40), 0.1)
    path = tmp_path / "scores.csv"
    accuracy.write_scores(path, ratings, scores)
    backwards = ratings.take(range(39, -1, -1))
    again = accuracy.read_scores(path, backwards)
    for name in accuracy.SCORES:
        assert np.array_equal(getattr(again, name), getattr(scores, name)[::-1])


def test_scores_that_miss_an_image_are_refused(ratings, tmp_path):
    path = tmp_path / "scores.csv"
    some = ratings.take(range(39))
    accuracy.write_scores(path, some, scores_around(some, 0.0, 1.0))
    with pytest.raises(ValueError, match=r"1 images have no scores, the first is '39\.jpg'"):
        accuracy.read_scores(path, ratings)


def test_coverage_counts_ratings_inside_by_part(ratings):
    # Images of the second subset are missed, the others lie inside their intervals.
    error = np.where(np.array(ratings.subsets) == "one", 0.4, 0.75)
    scores = scores_around(ratings, error, 0.5)
    near = ["01.jpg", "03.jpg", "05.jpg", "07.jpg"]
    table = accuracy.interval_table(ratings, scores, accuracy.parts_of(ratings, near))
    figures = {row[0]: row[1:] for row in table.rows}
    assert figures == {
        "all": (40, pytest.approx(0.5), pytest.approx(1.0)),
        "clean": (36, pytest.approx(20 / 36), pytest.approx(1.0)),
        "one": (20, pytest.approx(1.0), pytest.approx(1.0)),
        "two": (20, pytest.approx(0.0), pytest.approx(1.0)),
    }


def test_a_better_assessor_has_a_positive_difference_and_a_small_p(ratings):
    noise = np.random.default_rng(1).normal(0, 1, 40)
    good, bad = (scores_around(ratings, share * noise, 1.0) for share in (0.1, 3.0))
    table = accuracy.comparison_table(ratings, good, bad, accuracy.parts_of(ratings, []))
    assert [row[:2] for row in table.rows[:2]] == [("all", "SRCC"), ("all", "PLCC")]
    for _, _, difference, _, p in table.rows:
        assert float(difference) > 0
        assert float(p) < 0.05
