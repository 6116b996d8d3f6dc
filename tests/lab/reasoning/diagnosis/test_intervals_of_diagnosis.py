"""Means, quotients and paired comparisons over images."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foveal.lab.reasoning.diagnosis.intervals import compare_means, mean_interval, quotient_interval, shown


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = mean_interval(values)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


def test_images_without_a_value_do_not_count() -> None:
    assert mean_interval([1.0, math.nan, 3.0]).value == 2.0
    assert math.isnan(mean_interval([math.nan, math.nan]).value)
    assert shown(mean_interval([math.nan])) == {"value": None, "low": None, "high": None}


def test_a_quotient_weighs_images_by_their_denominator() -> None:
    found = quotient_interval([1, 9], [1, 10])
    assert found.value == pytest.approx(10 / 11)
    assert found.low == pytest.approx(0.9)
    assert found.high == pytest.approx(1.0)
    assert math.isnan(quotient_interval([0, 0], [0, 0]).value)


def test_what_is_hard_for_both_cancels() -> None:
    hard = np.random.default_rng(2).gamma(2, 1, 300)
    paired = compare_means(hard, 0.5 * hard)
    assert (paired.ratio.value, paired.ratio.low, paired.ratio.high) == pytest.approx((0.5, 0.5, 0.5))
    assert paired.difference.value == pytest.approx(-hard.mean() / 2)
    assert paired.difference.high < 0
    other = compare_means(hard, 0.5 * np.random.default_rng(3).permutation(hard))
    assert other.ratio.low < 0.48
    assert other.ratio.high > 0.52


def test_nothing_to_divide_by() -> None:
    paired = compare_means([0, 0, 0], [0, 1, 1])
    assert math.isnan(paired.ratio.value)
    assert paired.difference.value == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="2 images of the first but 3 of the second"):
        compare_means([0, 1], [0, 1, 2])
