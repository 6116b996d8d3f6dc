from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from foveal.evaluation.correlation import plcc, srcc
from foveal.evaluation.significance import bootstrap_interval, compare

Floats = NDArray[np.float64]


def correlated(rng: np.random.Generator, n: int, rho: float) -> tuple[Floats, Floats]:
    x = rng.normal(size=n)
    return x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)


def slowly_srcc(predicted: Floats, rated: Floats) -> float:
    return float(np.corrcoef(stats.rankdata(predicted), stats.rankdata(rated))[0, 1])


@pytest.mark.parametrize("method", ["bca", "percentile"])
@pytest.mark.parametrize("decimals", [0, 6])
def test_fast_resampling_equals_ranking_every_resample(method: str, decimals: int) -> None:
    # The same seed draws the same images, so intervals must agree to rounding; rounded scores have many ties.
    x, y = (column.round(decimals) for column in correlated(np.random.default_rng(0), 40, 0.6))
    fast = {"srcc": slowly_srcc, "plcc": lambda a, b: float(np.corrcoef(a, b)[0, 1])}
    for name, slow in fast.items():
        quick = bootstrap_interval(x, y, name, resamples=300, method=method, seed=3)
        plain = bootstrap_interval(x, y, slow, resamples=300, method=method, seed=3)
        np.testing.assert_allclose(
            [quick.value, quick.low, quick.high], [plain.value, plain.low, plain.high], atol=1e-9
        )


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_intervals_agree_with_those_of_scipy(method: str) -> None:
    x, y = correlated(np.random.default_rng(1), 80, 0.8)
    theirs = stats.bootstrap(
        (x, y), slowly_srcc, paired=True, vectorized=False, n_resamples=3000, method=method, rng=5
    ).confidence_interval
    ours = bootstrap_interval(x, y, "srcc", resamples=6000, method=method.lower())
    # Both are drawn: ends differ by a few per cent of the interval's length.
    assert ours.low == pytest.approx(theirs.low, abs=0.015)
    assert ours.high == pytest.approx(theirs.high, abs=0.015)


@given(seed=st.integers(0, 1000), n=st.integers(8, 60), rho=st.floats(-0.95, 0.95))
def test_the_estimate_is_the_figure_and_lies_in_an_ordered_interval(seed: int, n: int, rho: float) -> None:
    x, y = correlated(np.random.default_rng(seed), n, rho)
    for name, figure in (("srcc", srcc), ("plcc", plcc)):
        estimate = bootstrap_interval(x, y, name, resamples=200)
        assert estimate.value == pytest.approx(figure(x, y), abs=1e-9)
        assert -1 - 1e-9 <= estimate.low <= estimate.value <= estimate.high <= 1 + 1e-9


@pytest.mark.parametrize("statistic", ["srcc", "plcc"])
def test_intervals_hold_the_truth_as_often_as_they_say(statistic: str) -> None:
    rho = 0.7
    # Spearman's coefficient of a bivariate normal distribution: 6/pi asin(rho/2) (Pearson 1907).
    truth = {"plcc": rho, "srcc": 6 / np.pi * np.arcsin(rho / 2)}[statistic]
    rng = np.random.default_rng(2)
    estimates = [
        bootstrap_interval(*correlated(rng, 100, rho), statistic, resamples=300, level=0.9)
        for _ in range(300)
    ]
    held = np.mean([estimate.low <= truth <= estimate.high for estimate in estimates])
    # Standard error of the share is 1.7 points.
    assert 0.84 <= held <= 0.95


def test_more_images_and_less_confidence_give_shorter_intervals() -> None:
    x, y = correlated(np.random.default_rng(3), 1000, 0.6)

    def length(n: int, level: float) -> float:
        estimate = bootstrap_interval(x[:n], y[:n], level=level, resamples=500)
        return estimate.high - estimate.low

    assert length(1000, 0.95) < 0.5 * length(100, 0.95)
    assert length(1000, 0.8) < length(1000, 0.95)


def test_a_perfect_assessor_has_an_interval_of_no_length() -> None:
    x = np.arange(20.0)
    estimate = bootstrap_interval(x, np.exp(x / 5), "srcc")
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((1.0, 1.0, 1.0))


def test_seeds_repeat_and_differ() -> None:
    x, y = correlated(np.random.default_rng(4), 50, 0.5)
    assert bootstrap_interval(x, y, seed=1) == bootstrap_interval(x, y, seed=1)
    assert bootstrap_interval(x, y, seed=1) != bootstrap_interval(x, y, seed=2)
    assert compare(x, -x, y, seed=1) == compare(x, -x, y, seed=1)


@pytest.mark.parametrize("statistic", ["srcc", "plcc"])
def test_without_a_difference_one_in_twenty_is_found_significant(statistic: str) -> None:
    rng = np.random.default_rng(5)
    p_values = []
    for _ in range(400):
        rated = rng.normal(size=80)
        first, second = (rated + rng.normal(size=80) for _ in range(2))
        p_values.append(compare(first, second, rated, statistic, resamples=200).p_value)
    # Standard error of the share is 1.1 points; the mean of uniform p values is .5 with standard error .014.
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.09
    assert 0.44 <= np.mean(p_values) <= 0.56


def test_a_true_difference_is_found_with_its_size_and_sign() -> None:
    rng = np.random.default_rng(6)
    found = 0
    for _ in range(40):
        rated = rng.normal(size=300)
        better, worse = rated + 0.6 * rng.normal(size=300), rated + 1.0 * rng.normal(size=300)
        forth = compare(better, worse, rated, "plcc", resamples=300)
        back = compare(worse, better, rated, "plcc", resamples=300)
        assert forth.difference == pytest.approx(plcc(better, rated) - plcc(worse, rated))
        assert back.difference == -forth.difference
        assert back.p_value == forth.p_value
        assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
        found += forth.p_value < 0.05 and forth.low > 0
    # True correlations are .857 and .707; two independent assessors differ by six standard errors.
    assert found >= 38


def test_pairing_finds_what_separate_intervals_cannot() -> None:
    rng = np.random.default_rng(7)
    rated = rng.normal(size=500)
    common = rated + 0.7 * rng.normal(size=500)
    better, worse = common + 0.1 * rng.normal(size=500), common + 0.3 * rng.normal(size=500)
    separate = [bootstrap_interval(scores, rated) for scores in (better, worse)]
    assert separate[0].low < separate[1].high
    assert compare(better, worse, rated).p_value < 0.01


def test_equal_assessors_do_not_differ() -> None:
    x, y = correlated(np.random.default_rng(8), 50, 0.5)
    same = compare(x, 2 * x + 1, y, "srcc")
    assert same.difference == same.low == same.high == 0
    assert same.p_value == 1.0
    # Here rounding differs, and must not decide.
    same = compare(x, 0.3 * x + 7, y, "plcc")
    assert (same.difference, same.low, same.high) == pytest.approx((0, 0, 0), abs=1e-12)
    assert same.p_value == 1.0


def test_p_values_by_hand() -> None:
    rated = np.arange(30.0)
    # The first is better in all 999 resamples: one is added to none of them, so p = 2 * 1 / 1000.
    assert compare(rated, -rated, rated, "srcc", resamples=999).p_value == pytest.approx(0.002)
    # Scores and ratings of 0 and 1; the second assessor errs in one image of 30. It is worse in the resamples
    # that hold this image, equal in the others: (29/30)^30 = .3617 of all, so p is twice that.
    rated, worse = np.repeat([0.0, 1.0], 15), np.repeat([0.0, 1.0], 15)
    worse[20] = 0.0
    one = compare(rated, worse, rated, "plcc", resamples=4000)
    assert one.p_value == pytest.approx(2 * (29 / 30) ** 30, abs=0.03)
    assert one.low == 0.0


@pytest.mark.parametrize("decimals", [0, 6])
def test_differences_agree_with_the_paired_bootstrap_of_scipy(decimals: int) -> None:
    rng = np.random.default_rng(11)
    rated = rng.normal(size=80)
    first, second = (rated + size * rng.normal(size=80) for size in (0.5, 1.0))
    first, second, rated = (column.round(decimals) for column in (first, second, rated))
    theirs = stats.bootstrap(
        (first, second, rated),
        lambda a, b, c: slowly_srcc(a, c) - slowly_srcc(b, c),
        paired=True,
        vectorized=False,
        n_resamples=1500,
        method="percentile",
        rng=5,
    )
    ours = compare(first, second, rated, "srcc", resamples=6000)
    # Both are drawn: ends differ by a few per cent of the interval's length.
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.02)


def test_nan_is_refused_wherever_it_is() -> None:
    x, y = correlated(np.random.default_rng(12), 20, 0.5)
    broken = np.where(np.arange(20) == 7, np.nan, x)
    for columns in ((broken, y), (y, broken)):
        with pytest.raises(ValueError, match="1 NaN or infinite values, first at 7"):
            bootstrap_interval(*columns)
    for columns in ((broken, x, y), (x, broken, y), (x, y, broken)):
        with pytest.raises(ValueError, match="1 NaN or infinite values, first at 7"):
            compare(*columns)


def test_a_function_may_be_the_statistic() -> None:
    x, y = correlated(np.random.default_rng(9), 60, 0.7)

    def negative_error(predicted: Floats, rated: Floats) -> float:
        return -float(np.mean((predicted - rated) ** 2))

    assert bootstrap_interval(x, y, negative_error, resamples=200).high < 0
    assert compare(y + 0.01, x, y, negative_error, resamples=200).p_value < 0.05


def test_unfit_arguments_are_refused() -> None:
    x, y = correlated(np.random.default_rng(10), 20, 0.5)
    with pytest.raises(ValueError, match="unknown statistic 'tau'"):
        bootstrap_interval(x, y, "tau")
    with pytest.raises(ValueError, match="expected 'bca' or 'percentile'"):
        bootstrap_interval(x, y, method="t")
    with pytest.raises(ValueError, match="resamples are too few"):
        bootstrap_interval(x, y, resamples=10)
    with pytest.raises(ValueError, match="level is 95"):
        compare(x, y, y, level=95)
    with pytest.raises(ValueError, match="constant"):
        compare(x, np.ones(20), y)
    with pytest.raises(ValueError, match="19 predicted scores but 20 rated"):
        compare(x, y[1:], y)


def test_a_figure_that_resampling_mostly_loses_is_refused() -> None:
    # One image of 40 differs; it is absent from 37 % of resamples of each column, so from most of both.
    x, y = np.zeros(40), np.zeros(40)
    x[3] = y[30] = 1.0
    with pytest.raises(ValueError, match="undefined in most resamples"):
        bootstrap_interval(x, y, "srcc")
