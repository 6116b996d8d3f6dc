"""Paired differences against SciPy, and against enumeration where SciPy only approximates."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from foveal.evaluation.paired import (
    EXACT_UP_TO,
    FEWEST,
    paired_difference,
    sign_test,
    signed_rank_test,
)

Floats = NDArray[np.float64]


def drawn(seed: int, n: int, shift: float = 0.0) -> Floats:
    return np.random.default_rng(seed).normal(shift, 1, n)


@given(higher=st.integers(0, 3000), lower=st.integers(0, 3000))
def test_the_sign_test_is_the_binomial_test(higher: int, lower: int) -> None:
    n = higher + lower
    expected = stats.binomtest(higher, n).pvalue if n else 1.0
    assert sign_test(higher, lower) == pytest.approx(expected, rel=1e-8, abs=1e-300)


@given(seed=st.integers(0, 1000), n=st.integers(1, EXACT_UP_TO), shift=st.floats(-1, 1))
def test_few_differences_are_weighed_exactly_as_scipy_does(seed: int, n: int, shift: float) -> None:
    values = drawn(seed, n, shift)
    expected = stats.wilcoxon(values, method="exact").pvalue
    assert signed_rank_test(values) == pytest.approx(expected, rel=1e-9)


@given(seed=st.integers(0, 1000), n=st.integers(EXACT_UP_TO + 1, 400), decimals=st.sampled_from([1, 2, 9]))
def test_many_differences_are_normal_as_scipy_has_it_with_zeros_and_ties(
    seed: int, n: int, decimals: int
) -> None:
    values = np.concatenate([drawn(seed, n, 0.1), drawn(seed + 1, n, 0.1)]).round(decimals)
    assert (values != 0).sum() > EXACT_UP_TO
    expected = stats.wilcoxon(values, zero_method="wilcox", correction=False, method="asymptotic").pvalue
    assert signed_rank_test(values) == pytest.approx(expected, rel=1e-9)


@given(values=st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=10))
def test_ties_of_few_differences_are_weighed_over_all_signs(values: list[float]) -> None:
    kept = [value for value in values if value]
    ranks = stats.rankdata(np.abs(kept)) if kept else np.array([])
    observed = ranks[np.array(kept) > 0].sum() if kept else 0.0
    sums = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
        for signs in itertools.product((0, 1), repeat=len(kept))
    ]
    tail = min(sum(one <= observed for one in sums), sum(one >= observed for one in sums))
    assert signed_rank_test(values) == pytest.approx(min(1.0, 2 * tail / len(sums)))


def test_a_published_example() -> None:
    # The differences of Cushny and Peebles' sleep data as Student took them (The probable error of a mean,
    # Biometrika 6, 1908): none is below zero, so both p values are those of the outermost of 2**9 signs.
    differences = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    found = paired_difference(differences)
    assert found.mean == pytest.approx(1.58)
    assert (found.higher, found.lower, found.equal) == (9, 0, 1)
    assert found.sign_p == pytest.approx(2 / 2**9)
    assert found.wilcoxon_p == pytest.approx(2 / 2**9)


def test_the_interval_of_the_mean_is_that_of_scipy() -> None:
    values = np.exp(drawn(3, 80))  # skewed, so that BCa differs from percentiles
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20000, method="BCa", rng=4).confidence_interval
    found = paired_difference(values, resamples=20000)
    assert found.low is not None
    assert found.high is not None
    length = theirs.high - theirs.low
    assert found.low == pytest.approx(theirs.low, abs=0.03 * length)
    assert found.high == pytest.approx(theirs.high, abs=0.03 * length)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), n=st.integers(FEWEST, 60), shift=st.floats(-1, 1))
def test_turning_the_sides_turns_the_signs_and_no_p_value(seed: int, n: int, shift: float) -> None:
    values = drawn(seed, n, shift)
    one, other = paired_difference(values, resamples=300), paired_difference(-values, resamples=300)
    assert (one.higher, one.lower) == (other.lower, other.higher)
    assert one.sign_p == other.sign_p
    assert one.wilcoxon_p == pytest.approx(other.wilcoxon_p, rel=1e-12)
    assert one.mean == -other.mean
    assert one.low is not None
    assert other.high is not None
    assert one.low == pytest.approx(-other.high, abs=1e-9)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for seed in range(300):
        found = paired_difference(drawn(seed, 40, 0.3), level=0.9, resamples=400, seed=seed)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.3 <= found.high
    # 270 of 300 are expected; four standard deviations of the binomial distribution are 21.
    assert 249 <= held <= 291


def test_the_same_seed_gives_the_same_interval_and_another_gives_another() -> None:
    values = drawn(1, 50)
    assert paired_difference(values, seed=2) == paired_difference(values, seed=2)
    assert paired_difference(values, seed=2).low != paired_difference(values, seed=3).low


@pytest.mark.parametrize("n", [1, FEWEST - 1])
def test_so_few_pairs_have_no_interval(n: int) -> None:
    found = paired_difference(drawn(0, n))
    assert (found.low, found.high) == (None, None)
    assert found.pairs == n


def test_pairs_without_any_difference() -> None:
    found = paired_difference([0.0] * 12)
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)
    assert (found.sign_p, found.wilcoxon_p) == (1.0, 1.0)
    assert found.equal == 12


def test_p_values_of_very_many_pairs_do_not_overflow() -> None:
    assert sign_test(100_000, 0) == 0.0
    assert 0 < sign_test(50_500, 49_500) < 0.01
    assert math.isfinite(signed_rank_test(np.ones(5000)))


@pytest.mark.parametrize(
    ("values", "level", "said"),
    [([], 0.95, "no differences"), ([1.0, math.nan], 0.95, "NaN"), ([1.0], 1.0, "level is 1.0")],
)
def test_unfit_input_is_refused(values: list[float], level: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        paired_difference(values, level=level)
