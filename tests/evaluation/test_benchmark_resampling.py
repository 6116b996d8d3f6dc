"""Bootstrap over test parts: against plain repetition of images, SciPy, and the bootstrap of one part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from foveal.evaluation.benchmark.resampling import ScoredPart, bca, draw
from foveal.evaluation.benchmark.weighted import FIGURES, agreement
from foveal.evaluation.correlation import correlations
from foveal.evaluation.logistic import fit_logistic
from foveal.evaluation.significance import bootstrap_interval

Floats = NDArray[np.float64]


def columns(seed: int, n: int, decimals: int = 6) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    rated = rng.uniform(1, 5, n)
    return (rated + rng.normal(0, 0.7, n)).round(decimals), rated.round(decimals)


def slowly(figure: str, predicted: Floats, rated: Floats, mapped: Floats) -> float:
    """A figure of repeated images, by SciPy."""
    of: dict[str, Callable[[], float]] = {
        "srcc": lambda: stats.spearmanr(predicted, rated).statistic,
        "krcc": lambda: stats.kendalltau(predicted, rated).statistic,
        "plcc": lambda: stats.pearsonr(predicted, rated).statistic,
        "plcc_4": lambda: stats.pearsonr(mapped, rated).statistic,
        "rmse_4": lambda: float(np.sqrt(np.mean((mapped - rated) ** 2))),
    }
    return of[figure]()


@pytest.mark.parametrize("decimals", [0, 6])
@settings(max_examples=12, deadline=None)
@given(
    weights=st.lists(st.integers(0, 4), min_size=20, max_size=20).filter(lambda w: np.count_nonzero(w) > 4)
)
def test_weighted_figures_equal_those_of_repeated_images(decimals: int, weights: list[int]) -> None:
    predicted, rated = columns(1, 20, decimals)
    found = agreement(predicted, rated).resampled(np.array([weights, [1] * 20], np.float64))
    mapped = fit_logistic(predicted, rated).mapped
    for row, counts in enumerate((weights, [1] * 20)):
        drawn = [np.repeat(column, counts) for column in (predicted, rated, mapped)]
        if any(np.ptp(column) < 1e-9 for column in drawn):
            continue
        expected = [slowly(figure, *drawn) for figure in FIGURES]
        np.testing.assert_allclose(found[row], expected, atol=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
def test_figures_of_a_part_are_those_of_the_house(sign: int) -> None:
    predicted, rated = columns(2, 60)
    found = agreement(sign * predicted, rated)
    whole = correlations(sign * predicted, rated)
    expected = [getattr(whole, figure) for figure in FIGURES]
    np.testing.assert_allclose(found.values, expected, atol=1e-12)
    # Everything drawn once is the part itself, the sign of the curve's direction included.
    np.testing.assert_allclose(found.resampled(np.ones((1, 60)))[0], expected, atol=1e-9)
    assert np.sign(found.values[:4]).tolist() == [sign] * 4


@pytest.mark.parametrize("predicted", [[2.0] * 8, [1.0, 2.0]])
def test_what_is_undefined_is_nan(predicted: list[float]) -> None:
    rated = np.linspace(1, 5, len(predicted))
    found = agreement(np.array(predicted), rated)
    assert np.isnan(found.values).all()
    assert np.isnan(found.resampled(np.ones((3, len(rated))))).all()


def test_without_a_curve_only_the_mapped_figures_are_undefined() -> None:
    # Four points cannot determine four parameters.
    found = agreement(np.array([1.0, 3.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_allclose(found.values[:3], [0.8, 2 / 3, 0.8])
    assert np.isnan(found.values[3:]).all()


def test_a_resample_without_images_is_nan() -> None:
    predicted, rated = columns(3, 10)
    with np.errstate(all="raise"):
        assert np.isnan(agreement(predicted, rated).resampled(np.zeros((1, 10)))).all()


@pytest.mark.parametrize("figure", ["srcc", "plcc"])
def test_one_part_without_groups_is_the_usual_bootstrap(figure: Literal["srcc", "plcc"]) -> None:
    predicted, rated = columns(4, 50)
    draws = draw(
        [ScoredPart(np.arange(50), predicted, rated)], [str(row) for row in range(50)], resamples=400, seed=3
    )
    column = FIGURES.index(figure)
    for coverage in (0.95, 0.8):
        ours = bca(float(draws.mean[column]), draws.draws[:, column], draws.left_out[:, column], coverage)
        theirs = bootstrap_interval(predicted, rated, figure, resamples=400, level=coverage, seed=3)
        np.testing.assert_allclose(
            (draws.mean[column], *ours), (theirs.value, theirs.low, theirs.high), atol=1e-9
        )


def test_several_parts_see_the_same_groups_drawn() -> None:
    predicted, rated = columns(5, 40)
    groups = [f"g{row // 3}" for row in range(40)]
    rows = [np.arange(0, 24), np.arange(12, 36)]  # 36 to 39 are tested by nobody
    parts = [ScoredPart(part, predicted[part], rated[part]) for part in rows]
    found = draw(parts, groups, resamples=100, seed=8)
    labels = [f"g{number}" for number in range(12)]
    drawn = np.random.Generator(np.random.PCG64(8)).integers(0, len(labels), (100, len(labels)))
    counts = [{label: int((draw == number).sum()) for number, label in enumerate(labels)} for draw in drawn]
    counts += [{label: int(label != left) for label in labels} for left in labels]
    expected = []
    for count in counts:
        figures = []
        for part in rows:
            repeated = np.repeat(part, [count[groups[row]] for row in part])
            figures.append(stats.kendalltau(predicted[repeated], rated[repeated]).statistic)
        expected.append(np.mean(figures))
    column = FIGURES.index("krcc")
    np.testing.assert_allclose(found.draws[:, column], expected[:100], atol=1e-9)
    np.testing.assert_allclose(found.left_out[:, column], expected[100:], atol=1e-9)
    np.testing.assert_allclose(
        found.values[:, column], [stats.kendalltau(predicted[p], rated[p]).statistic for p in rows]
    )


def test_large_groups_give_wider_intervals() -> None:
    rng = np.random.default_rng(6)
    scene = np.repeat(rng.normal(0, 1, 20), 10)
    rated = np.clip(3 + scene / 2 + rng.normal(0, 0.3, 200), 1, 5)
    # Wrong about whole scenes: ten images of one are hardly more than one.
    predicted = rated + np.repeat(rng.normal(0, 0.5, 20), 10)
    part = [ScoredPart(np.arange(200), predicted, rated)]
    alone = draw(part, [str(row) for row in range(200)], resamples=300, seed=0)
    grouped = draw(part, [str(row // 10) for row in range(200)], resamples=300, seed=0)
    assert grouped.draws[:, 0].std() > 1.5 * alone.draws[:, 0].std()


def test_blocks_do_not_change_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    predicted, rated = columns(7, 30)
    part, groups = [ScoredPart(np.arange(30), predicted, rated)], [str(row) for row in range(30)]
    at_once = draw(part, groups, resamples=100, seed=1)
    monkeypatch.setattr("foveal.evaluation.benchmark.resampling._CELLS", 200)
    monkeypatch.setattr("foveal.evaluation.benchmark.weighted._BLOCK", 7)
    in_blocks = draw(part, groups, resamples=100, seed=1)
    np.testing.assert_allclose(in_blocks.draws, at_once.draws, atol=1e-12)
    np.testing.assert_allclose(in_blocks.left_out, at_once.left_out, atol=1e-12)


@pytest.mark.parametrize("undefined", [1, 60])
def test_an_interval_takes_most_resamples_to_be_defined(undefined: int) -> None:
    draws = np.linspace(0, 1, 100)
    draws[:undefined] = np.nan
    ends = bca(0.5, draws, np.linspace(0.4, 0.6, 10), 0.9)
    assert np.isnan(ends).all() == (undefined > 50)
    assert np.isnan(bca(float("nan"), draws, draws, 0.9)).all()
