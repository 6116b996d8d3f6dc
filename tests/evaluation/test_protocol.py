from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from foveal.errors import RatingsError
from foveal.evaluation.correlation import Correlations
from foveal.evaluation.protocol import FIGURES, SplitResult, SplitsReport, fixed, over_splits
from foveal.ratings.splits import Split, seeded_splits
from foveal.ratings.table import DatasetCard, Ratings

N = 120
RNG = np.random.default_rng(0)
SCORES = RNG.uniform(0, 100, N)
NOISY = 1 + SCORES / 25 + RNG.normal(0, 0.5, N)


def table(scores: NDArray[np.float64] = SCORES) -> Ratings:
    """Images in groups of three, rated on 0-100."""
    images = tuple(Path(f"{index:03d}.jpg") for index in range(N))
    groups = tuple(f"scene {index // 3}" for index in range(N))
    return Ratings(DatasetCard("mini", 0.0, 100.0), images, {"quality": scores}, groups=groups)


def noisy(part: Ratings) -> NDArray[np.float64]:
    return np.array([NOISY[int(name[:3])] for name in part.names])


def never(train: Ratings, validation: Ratings) -> Any:
    raise AssertionError("nothing may be fitted before all splits are checked")


def test_figures_are_those_of_scipy_on_each_test_part() -> None:
    splits = seeded_splits(table(), count=3)
    result = over_splits(table(), splits, fixed(noisy))
    assert [one.origin for one in result.results] == [split.origin for split in splits]
    for one, split in zip(result.results, splits, strict=True):
        rows = [int(name[:3]) for name in split.parts["test"]]
        assert one.figures.n == len(rows) == N - one.rest
        assert one.figures.srcc == pytest.approx(stats.spearmanr(NOISY[rows], SCORES[rows]).statistic)
        assert one.figures.krcc == pytest.approx(stats.kendalltau(NOISY[rows], SCORES[rows]).statistic)
        assert one.figures.plcc == pytest.approx(stats.pearsonr(NOISY[rows], SCORES[rows]).statistic)


def test_the_test_part_is_never_seen_by_what_fits() -> None:
    ratings = table()
    splits = seeded_splits(ratings, count=4, seed=7)
    fitted: list[tuple[set[str], set[str]]] = []
    predicted: list[set[str]] = []

    def fit(train: Ratings, validation: Ratings) -> Callable[[Ratings], ArrayLike]:
        fitted.append((set(train.names), set(validation.names)))
        # Whatever else a table carries must not lead to the other images either.
        assert len(train) == len(train.images) == len(train.quality()) == len(train.groups)

        def predict(part: Ratings) -> ArrayLike:
            predicted.append(set(part.names))
            return noisy(part)

        return predict

    over_splits(ratings, splits, fit)
    for split, (train, validation), test in zip(splits, fitted, predicted, strict=True):
        assert train == set(split.parts["train"])
        assert validation == set(split.parts["validation"])
        assert test == set(split.parts["test"])
        assert not test & (train | validation)


def test_each_split_is_predicted_by_what_was_fitted_on_it() -> None:
    ratings = table()
    splits = seeded_splits(ratings, count=2)

    def fit(train: Ratings, validation: Ratings) -> Callable[[Ratings], ArrayLike]:
        # Odd fits turn the scores round: their figures must show it.
        sign = 1 if set(train.names) == set(splits[0].parts["train"]) else -1
        return lambda part: sign * noisy(part)

    first, second = over_splits(ratings, splits, fit).results
    assert first.figures.srcc > 0.7
    assert second.figures.srcc < -0.7


def test_images_without_a_score_do_not_count() -> None:
    scores = SCORES.copy()
    scores[::4] = np.nan
    ratings = replace(table(), scores={"quality": scores, "other": SCORES})
    splits = seeded_splits(ratings, count=2)
    for one, split in zip(over_splits(ratings, splits, fixed(noisy)).results, splits, strict=True):
        rows = [int(name[:3]) for name in split.parts["test"]]
        assert one.figures.n == sum(row % 4 != 0 for row in rows)
        assert one.figures.n + one.rest == N * 3 // 4
    assert over_splits(ratings, splits, fixed(noisy), "other").results[0].rest == 96


def figures(srcc: float, n: int = 20) -> Correlations:
    return Correlations(n, srcc, srcc / 2, srcc - 1, 0.5, 0.6, 0.25, 0.2)


def test_the_summary_by_hand() -> None:
    # Values .6 .7 .9 on 20 test images of 100: mean .7333, variance .02333, and 1/3 + 20/80 of it; the
    # 97.5 % point of Student's t with two degrees of freedom is 4.302653 (any table of it).
    result = SplitsReport(tuple(SplitResult("", 80, figures(value)) for value in (0.9, 0.6, 0.7)), 0.95)
    of = result.spread("srcc")
    assert (of.median, of.lowest, of.highest) == (0.7, 0.6, 0.9)
    assert of.mean == pytest.approx(11 / 15)
    assert of.std == pytest.approx(np.sqrt(0.07 / 3))
    reach = 4.302653 * np.sqrt(0.07 / 3 * (1 / 3 + 0.25))
    assert (of.low, of.high) == pytest.approx((11 / 15 - reach, 11 / 15 + reach))
    assert result.spread("plcc").highest == pytest.approx(-0.1)
    summary = {row[0]: row[1:] for row in result.summary().rows}
    assert list(summary) == list(FIGURES.values())
    assert summary["SRCC"] == (0.7, of.mean, of.std, f"{of.low:.3f} to {of.high:.3f}", 0.6, 0.9)
    assert summary["RMSE-5"] == (0.2, pytest.approx(0.2), pytest.approx(0), "0.200 to 0.200", 0.2, 0.2)
    assert "95 % of the mean" in result.summary().headings
    with pytest.raises(ValueError, match="unknown figure 'rmse'"):
        result.spread("rmse")


def test_the_tables_hold_every_figure_of_every_split() -> None:
    results = tuple(SplitResult(f"split {seed}", 80, figures(seed / 10)) for seed in (7, 8))
    report = SplitsReport(results, 0.9)
    assert report.data().rows == tuple(
        (number, f"split {number + 6}", *astuple(one.figures)) for number, one in enumerate(results, 1)
    )
    assert report.data().headings[2:] == tuple(field.name for field in fields(Correlations))
    assert report.table().rows[1] == (2, 20, 0.8, 0.4, pytest.approx(-0.2), 0.5, 0.25, 0.6, 0.2)
    assert "90 % of the mean" in report.summary().headings


def test_splits_that_would_leak_are_refused_before_anything_is_fitted() -> None:
    ratings = table()
    good = seeded_splits(ratings, count=1)[0]
    train, validation, test = (good.parts[part] for part in ("train", "validation", "test"))
    refused = {
        "mine: there is no validation part; a split needs all three": {"train": train, "test": test},
        "mine: there is no train and no validation part": {"test": test, "validation": ()},
        r"mine: 1 group \(scene \d+\) in more than one part; make the split with grouped_split": {
            "train": (*train, test[0]),
            "validation": validation,
            "test": test[1:],
        },
        r"1 name \(999.jpg\) not in the table": {**good.parts, "train": (*train, "999.jpg")},
    }
    for message, parts in refused.items():
        with pytest.raises(RatingsError, match=message):
            over_splits(ratings, [good, Split(parts, "mine")], never)
    with pytest.raises(RatingsError, match=r"split 2: there is no validation"):
        over_splits(ratings, [good, Split({"train": train, "test": test})], never)


def test_a_part_of_a_group_may_be_left_out_of_the_split() -> None:
    good = seeded_splits(table(), count=1)[0]
    lean = Split({**good.parts, "train": good.parts["train"][1:]}, "lean")
    assert over_splits(table(), [lean, good], fixed(noisy)).results[0].rest == good_rest(good) - 1


def good_rest(split: Split) -> int:
    return len(split.parts["train"]) + len(split.parts["validation"])


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (lambda part: noisy(part)[1:], r"split 0, .*: 23 predicted scores for 24 images"),
        (lambda part: np.full(len(part), 2.0), r"split 0, .*: predicted scores are all 2"),
        (lambda part: np.where(part.quality() > 3, np.nan, 1), r"split 0, .*: predicted holds \d+ NaN"),
        (lambda part: noisy(part)[:, None], r"split 0, .*: predicted has shape \(24, 1\)"),
    ],
)
def test_unfit_predictions_name_their_split(predict: Callable[[Ratings], ArrayLike], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        over_splits(table(), seeded_splits(table(), count=2), fixed(predict))


def test_unfit_arguments_are_refused() -> None:
    splits = seeded_splits(table(), count=2)
    with pytest.raises(ValueError, match="1 split has no spread"):
        over_splits(table(), splits[:1], never)
    with pytest.raises(ValueError, match="level is 95"):
        over_splits(table(), splits, never, level=95)
    with pytest.raises(RatingsError, match="no score 'beauty'"):
        over_splits(table(), splits, never, "beauty")
