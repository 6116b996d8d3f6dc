from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from foveal.errors import RatingsError
from foveal.evaluation.correlation import correlations
from foveal.evaluation.report import report
from foveal.evaluation.significance import bootstrap_interval
from foveal.ratings.table import DatasetCard, Ratings

N = 90
RNG = np.random.default_rng(0)
SCORES = RNG.uniform(0, 1, N)
PREDICTED = 1 + 4 * SCORES + RNG.normal(0, 0.6, N)
LEAVE_OUT = tuple(f"{index}.jpg" for index in range(10))


def table(scores: NDArray[np.float64] = SCORES) -> Ratings:
    return Ratings(
        DatasetCard("mini", 0.0, 1.0),
        tuple(Path(f"{index}.jpg") for index in range(N)),
        {"quality": scores, "other": np.full(N, 0.5)},
        subsets=tuple("ba"[index % 2] for index in range(N)),
    )


def test_each_part_holds_the_figures_of_its_own_images() -> None:
    result = report(table(), PREDICTED, leave_out=LEAVE_OUT, resamples=200)
    rated = 1 + 4 * SCORES
    rows = {
        "all": np.arange(N),
        "clean": np.arange(10, N),
        "a": np.arange(1, N, 2),
        "b": np.arange(0, N, 2),
    }
    assert [part.part for part in result.results] == list(rows)
    for part, chosen in rows.items():
        assert result[part].figures == correlations(PREDICTED[chosen], rated[chosen])
        for name in ("srcc", "plcc"):
            interval = bootstrap_interval(PREDICTED[chosen], rated[chosen], name, resamples=200)
            assert getattr(result[part], name) == interval
    with pytest.raises(KeyError, match="no such"):
        result["no such"]


def test_without_subsets_and_exclusions_there_is_one_part() -> None:
    result = report(replace(table(), subsets=()), PREDICTED, resamples=200)
    assert [part.part for part in result.results] == ["all"]


def test_a_subset_may_have_the_name_of_a_part() -> None:
    result = report(replace(table(), subsets=("all",) * 50 + ("",) * 40), PREDICTED, resamples=200)
    assert [part.part for part in result.results] == ["all", "subset all"]
    assert result["subset all"].figures.n == 50


def test_images_without_a_score_do_not_count() -> None:
    scores = SCORES.copy()
    scores[20:30] = np.nan
    assert report(table(scores), PREDICTED, resamples=200)["all"].figures.n == N - 10


def test_directions_show_even_where_lower_is_better() -> None:
    card = DatasetCard("DMOS", 0.0, 1.0, higher_is_better=False)
    result = report(replace(table(), card=card), PREDICTED, resamples=200)
    assert result["all"].figures.srcc < -0.8
    assert result["all"].figures.plcc_4 < -0.8


def test_the_three_forms_say_the_same() -> None:
    result = report(table(), PREDICTED, leave_out=LEAVE_OUT, resamples=200, level=0.9)
    part = result["clean"]
    rows = {row["part"]: row for row in csv.DictReader(io.StringIO(result.to_csv()))}
    assert float(rows["clean"]["srcc"]) == part.srcc.value
    assert float(rows["clean"]["srcc_low_90"]) == part.srcc.low
    assert float(rows["clean"]["plcc_high_90"]) == part.plcc.high
    assert float(rows["clean"]["krcc"]) == part.figures.krcc
    assert float(rows["clean"]["rmse_5"]) == part.figures.rmse_5
    assert rows["clean"]["n"] == "80"
    for text in (result.to_text(), result.to_markdown()):
        assert "90 %" in text
        assert f"{part.srcc.low:.3f} to {part.srcc.high:.3f}" in text
        assert f"{part.figures.plcc_4:.3f}" in text
    assert [len(line) for line in result.to_markdown().splitlines()] == [
        len(result.to_markdown()) // 6 - 1
    ] * 6


def test_unfit_predictions_are_refused() -> None:
    with pytest.raises(ValueError, match="89 predicted scores for 90 images"):
        report(table(), PREDICTED[1:])
    with pytest.raises(ValueError, match="predicted holds 1 NaN"):
        report(table(), np.where(np.arange(N) == 4, np.nan, PREDICTED))


def test_an_unfit_part_is_named() -> None:
    with pytest.raises(ValueError, match="part 'all' of mini: rated scores are all 3"):
        report(table(), PREDICTED, target="other")
    with pytest.raises(
        ValueError, match="part 'z' of mini: a correlation needs at least 3 points, there are 2"
    ):
        report(replace(table(), subsets=("z", "z") + ("",) * (N - 2)), PREDICTED, resamples=200)


def test_unknown_names_and_targets_are_refused() -> None:
    with pytest.raises(RatingsError, match=r"1 name \(90.jpg\) not in the table"):
        report(table(), PREDICTED, leave_out=("90.jpg",))
    with pytest.raises(RatingsError, match="no score 'beauty'"):
        report(table(), PREDICTED, target="beauty")
