from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from foveal.errors import MissingExtraError
from foveal.evaluation.correlation import correlations, krcc, mean_ranks, plcc, srcc

FIGURES = (srcc, krcc, plcc)
Pairs = tuple[NDArray[np.float64], NDArray[np.float64]]


@st.composite
def pairs(draw: st.DrawFn) -> Pairs:
    """Two columns, of few values (many ties) or of any."""
    n = draw(st.integers(3, 40))
    value = draw(st.sampled_from([st.integers(0, 3).map(float), st.floats(-1e6, 1e6, width=32)]))
    columns = [np.array(draw(st.lists(value, min_size=n, max_size=n))) for _ in range(2)]
    assume(all(np.ptp(column) > 1e-3 * np.abs(column).max() for column in columns))
    return columns[0], columns[1]


@given(pairs())
def test_figures_equal_those_of_scipy(columns: Pairs) -> None:
    x, y = columns
    assert srcc(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)
    assert plcc(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-9)
    np.testing.assert_array_equal(mean_ranks(x), stats.rankdata(x))


@given(pairs())
def test_kendall_is_tau_b_by_its_definition(columns: Pairs) -> None:
    signs = np.array(
        [[np.sign(c[i] - c[j]) for c in columns] for i, j in combinations(range(len(columns[0])), 2)]
    )
    untied = (signs != 0).sum(axis=0)
    assert krcc(*columns) == pytest.approx(signs.prod(axis=1).sum() / np.sqrt(untied.prod()), abs=1e-9)


def test_hand_computed() -> None:
    # Ranks 1 2 3 4 5 and 2 1 4 3 5: squared rank differences add up to 4, so SRCC = 1 - 6*4 / (5*24) = .8;
    # two of ten pairs are discordant, so KRCC = (8 - 2) / 10 = .6.
    assert srcc([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(0.8)
    assert krcc([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(0.6)
    # Deviations -1 0 1 and -4/3 -1/3 5/3: PLCC = 3 / sqrt(2 * 42/9) = .98198.
    assert plcc([1, 2, 3], [1, 2, 4]) == pytest.approx(0.981980506)
    # A tie: ranks 1 2.5 2.5 4 against 1 2 3 4: covariance 4.5, variances 4.5 and 5.
    assert srcc([1, 2, 2, 9], [1, 2, 3, 4]) == pytest.approx(np.sqrt(0.9))


@given(pairs(), st.floats(0.1, 100), st.floats(-100, 100))
def test_figures_are_symmetric_keep_their_sign_and_ignore_units(
    columns: Pairs, scale: float, offset: float
) -> None:
    x, y = columns
    for figure in FIGURES:
        value = figure(x, y)
        assert -1 <= value <= 1
        assert figure(y, x) == pytest.approx(value, abs=1e-9)
        assert figure(-x, y) == pytest.approx(-value, abs=1e-9)
    assert plcc(scale * x + offset, y) == pytest.approx(plcc(x, y), abs=1e-4)


def test_wrong_direction_shows() -> None:
    rng = np.random.default_rng(0)
    rated = rng.uniform(1, 5, 200)
    right = correlations(rated + rng.normal(0, 0.5, 200), rated)
    wrong = correlations(-rated + rng.normal(0, 0.5, 200), rated)
    for name in ("srcc", "krcc", "plcc", "plcc_4", "plcc_5"):
        assert getattr(right, name) > 0.7
        assert getattr(wrong, name) < -0.7


def test_the_summary_holds_each_figure() -> None:
    rng = np.random.default_rng(1)
    rated = rng.uniform(1, 5, 100)
    predicted = np.tanh(rated - 3) + rng.normal(0, 0.1, 100)
    all_of_them = correlations(predicted, rated)
    assert all_of_them.n == 100
    for figure in FIGURES:
        assert getattr(all_of_them, figure.__name__) == figure(predicted, rated)
    assert all_of_them.plcc_4 > all_of_them.plcc
    assert 0 < all_of_them.rmse_5 <= all_of_them.rmse_4 + 1e-3


@pytest.mark.parametrize("exponent", [-300, -160, 160, 300])
def test_extreme_magnitudes_neither_overflow_nor_vanish(exponent: int) -> None:
    x = np.array([1.0, 2.0, 4.0, 3.0]) * 10.0**exponent
    assert plcc(x, [1, 2, 4, 3]) == pytest.approx(1.0)
    assert srcc(x, [1, 2, 4, 3]) == pytest.approx(1.0)


@pytest.mark.parametrize("figure", [*FIGURES, correlations])
@pytest.mark.parametrize(
    ("predicted", "rated", "message"),
    [
        ([1, np.nan, 3], [1, 2, 3], "predicted holds 1 NaN or infinite values, first at 1"),
        ([1, 2, 3], [1, np.inf, np.nan], "rated holds 2 NaN or infinite values, first at 1"),
        ([2, 2, 2], [1, 2, 3], "predicted scores are all 2"),
        ([1, 2, 3], [0.1, 0.1, 0.1], "rated scores are all 0.1"),
        ([1, 2, 3, 4], [1, 2, 3], "4 predicted scores but 3 rated"),
        ([1, 2], [1, 2], "at least 3 points, there are 2"),
        ([], [], "at least 3 points, there are 0"),
        ([[1, 2, 3]], [1, 2, 3], r"shape \(1, 3\)"),
    ],
)
def test_unfit_input_is_refused_with_the_reason(
    figure: Callable[..., object], predicted: list[float], rated: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        figure(predicted, rated)


def test_without_scipy_the_basic_figures_work_and_the_others_name_their_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    x, y = [1.0, 2, 3, 4, 5, 6], [1.0, 3, 2, 4, 6, 5]
    assert srcc(x, y) > 0.8
    assert plcc(x, y) > 0.8
    for figure in (krcc, correlations):
        with pytest.raises(MissingExtraError, match=r"foveal\[evaluation\]"):
            figure(x, y)
