"""Weights on grids: scales, rounding, and error compensation beside a slow version of it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from small_graphs import random

from foveal.lab.compression.quantizers import (
    Quantized,
    clipped_scale,
    compensate,
    half_range,
    output_error,
    round_to,
    spread_scale,
)

WEIGHTS = arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 12)),
    elements=st.floats(-8, 8, width=32, allow_subnormal=False),
)
OCTAVE = 8


def inputs(width: int, *, rank: int = 3, count: int = 4000, seed: int = 0) -> NDArray[np.float64]:
    """Vectors that a few directions explain for the most part, as activations are."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(count, rank)) @ rng.normal(size=(rank, width))
    powers = rng.uniform(0.3, 3, width)
    mixed: NDArray[np.float64] = (common + 0.3 * rng.normal(size=(count, width))) * powers
    return mixed


def second_moment(width: int, seed: int = 0, rank: int = 3) -> NDArray[np.float64]:
    vectors = inputs(width, seed=seed, rank=rank)
    moment: NDArray[np.float64] = vectors.T @ vectors / len(vectors)
    return moment


def slow_compensation(
    weights: NDArray[np.float32], second: NDArray[np.float64], scale: NDArray[np.float32], damping: float
) -> NDArray[np.int8]:
    """Optimal Brain Surgeon's update (Frantar & Alistarh 2022, Eq. 2), every inverse computed anew."""
    damped = second + damping * np.diag(second).mean() * np.eye(len(second))
    left = list(np.argsort(-np.diag(second), kind="stable"))
    rest = weights.astype(np.float64)
    levels = np.zeros(rest.shape, np.int8)
    while left:
        inverse = np.linalg.inv(damped[np.ix_(left, left)])
        column = left[0]
        levels[:, column] = np.clip(np.rint(rest[:, column] / scale), -127, 127)
        error = rest[:, column] - levels[:, column] * scale.astype(np.float64)
        rest[:, left] -= np.outer(error / inverse[0, 0], inverse[0])
        left.pop(0)
    return levels


@pytest.mark.parametrize(("bits", "most"), [(2, 1), (3, 3), (4, 7), (8, 127)])
def test_range_of_a_grid(bits: int, most: int) -> None:
    assert half_range(bits) == most


@pytest.mark.parametrize("bits", [1, 1.9, 9])
def test_bits_that_no_grid_has(bits: float) -> None:
    with pytest.raises(ValueError, match=f"bits is {bits}, expected 2 to 8"):
        half_range(bits)


@settings(max_examples=40)
@given(WEIGHTS, st.floats(0.02, 3))
def test_spread_scales_lie_on_a_grid_and_reach_all_weights(weights: NDArray[np.float32], step: float) -> None:
    scale = spread_scale(weights, step)
    assert scale.shape == (len(weights),)
    assert scale.dtype == np.float32
    assert (scale > 0).all()
    places = OCTAVE * np.log2(scale.astype(np.float64))
    np.testing.assert_allclose(places, np.rint(places), atol=1e-5)
    largest, spread = np.abs(weights).max(axis=1), np.sqrt((weights.astype(np.float64) ** 2).mean(axis=1))
    assert (127.001 * scale >= largest).all()
    free = (spread > 1e-6) & (largest < 127 * 0.9 * step * spread)
    np.testing.assert_allclose(scale[free] / (step * spread[free]), 1, atol=0.045)
    rounded = round_to(weights, scale)
    assert (np.abs(rounded.weights - weights) <= 0.501 * scale[:, None]).all()


@given(WEIGHTS, st.integers(-5, 5))
def test_weights_times_a_power_of_two_have_the_same_levels(weights: NDArray[np.float32], power: int) -> None:
    weights = np.where(np.abs(weights) < 1e-3, 0, weights)
    once, other = spread_scale(weights, 0.5), spread_scale(weights * np.float32(2.0**power), 0.5)
    alive = np.abs(weights).max(axis=1) > 0
    np.testing.assert_allclose(other[alive], once[alive] * 2.0**power, rtol=1e-6)


@pytest.mark.parametrize("step", [0, -1, float("nan")])
def test_steps_that_are_none(step: float) -> None:
    with pytest.raises(ValueError, match="expected a number above 0"):
        spread_scale(random(2, 3), step)


def test_a_step_of_one_deviation_takes_two_bits_and_a_tenth() -> None:
    """Rounded Gaussians: by their integral 2.105 bits at one deviation, log2(sqrt(2 pi e) / step) below."""
    weights = random(256, 256)
    for step, bits in ((1, 2.105), (0.5, 3.05), (0.25, 4.05)):
        assert round_to(weights, spread_scale(weights, step)).entropy == pytest.approx(bits, abs=0.04)


def test_rows_of_zeros() -> None:
    weights = np.zeros((2, 8), np.float32)
    for scale in (spread_scale(weights, 1), clipped_scale(weights, 4)):
        assert (scale > 0).all()
        assert not round_to(weights, scale).levels.any()


@settings(max_examples=40)
@given(WEIGHTS, st.sampled_from([2, 3, 4, 8]))
def test_clipping_is_never_worse_than_the_whole_range(weights: NDArray[np.float32], bits: int) -> None:
    most = half_range(bits)
    whole = (np.maximum(np.abs(weights).max(axis=1), 1e-12) / most).astype(np.float32)
    errors = [
        np.square(round_to(weights, scale, most).weights - weights, dtype=np.float64).sum(axis=1)
        for scale in (clipped_scale(weights, bits), whole)
    ]
    assert (errors[0] <= errors[1] * (1 + 1e-6) + 1e-12).all()


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_clipped_grids_are_near_the_best_there_are(bits: int) -> None:
    """Beside the best of 200 scales, found by trying all of them; an outlier in a row does not spoil it."""
    weights = random(4, 4096)
    weights[1, 7] = 15
    scale = clipped_scale(weights, bits)
    errors = np.square(round_to(weights, scale, half_range(bits)).weights - weights).mean(axis=1)
    for row, error in zip(weights, errors, strict=True):
        tried = [
            np.square(
                round_to(row[None], np.array([size], np.float32), half_range(bits)).weights - row
            ).mean()
            for size in np.linspace(0.1, 3, 200)
        ]
        assert error <= 1.03 * min(tried)


def test_levels_and_scale_make_weights() -> None:
    quantized = Quantized(np.array([[1, -2], [0, 3]], np.int8), np.array([0.5, 2], np.float32))
    assert np.array_equal(quantized.weights, [[0.5, -1], [0, 6]])
    assert quantized.weights.dtype == np.float32


@given(arrays(np.int8, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=st.integers(-3, 3)))
def test_entropy_is_scipys(levels: NDArray[np.int8]) -> None:
    counts = np.bincount(levels.ravel().astype(int) + 3)
    expected = scipy.stats.entropy(counts, base=2)
    assert Quantized(levels, np.ones(len(levels), np.float32)).entropy == pytest.approx(expected, abs=1e-9)


def test_rounding_takes_the_nearest_level_in_range() -> None:
    rounded = round_to(np.array([[0.24, -0.26, 9, -9]], np.float32), np.array([0.5], np.float32), most=7)
    assert np.array_equal(rounded.levels, [[0, -1, 7, -7]])


@pytest.mark.parametrize("width", [1, 5, 70, 130])
def test_compensation_is_that_of_a_slow_version(width: int) -> None:
    weights, second = random(6, width), second_moment(width)
    scale = spread_scale(weights, 1.0)
    expected = slow_compensation(weights, second, scale, 0.01)
    assert np.array_equal(compensate(weights, second, scale).levels, expected)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.3, 1.0, 2.0]))
def test_compensation_is_no_worse_than_rounding(seed: int, step: float) -> None:
    weights, second = random(16, 48, seed=seed), second_moment(48, seed)
    scale = spread_scale(weights, step)
    plain = output_error(round_to(weights, scale).weights - weights, second)
    assert output_error(compensate(weights, second, scale).weights - weights, second) < 0.8 * plain


def test_compensation_takes_away_most_of_the_error_where_inputs_are_correlated() -> None:
    shares = []
    for seed in range(5):
        weights, second = random(32, 96, seed=seed), second_moment(96, seed)
        scale = spread_scale(weights, 1.0)
        plain = output_error(round_to(weights, scale).weights - weights, second)
        shares.append(output_error(compensate(weights, second, scale).weights - weights, second) / plain)
    assert np.mean(shares) < 0.3


@pytest.mark.parametrize("power", [0.0, 1.0, 1e-12, 1e6])
def test_inputs_that_have_nothing_to_do_with_each_other_are_rounded_plainly(power: float) -> None:
    weights = random(5, 80)
    scale = spread_scale(weights, 1.0)
    levels = compensate(weights, power * np.eye(80), scale).levels
    assert np.array_equal(levels, round_to(weights, scale).levels)


def test_dead_inputs_are_rounded_plainly_and_do_not_matter_to_others() -> None:
    weights, second = random(5, 20), second_moment(20)
    scale = spread_scale(weights, 1.0)
    dead, alive = [3, 11, 12, 19], [i for i in range(20) if i not in (3, 11, 12, 19)]
    second[dead], second[:, dead] = 0, 0
    levels = compensate(weights, second, scale, damping=0.01).levels
    assert np.array_equal(levels[:, dead], round_to(weights, scale).levels[:, dead])
    # Damping is a share of the mean power, in which dead inputs count too.
    others = compensate(weights[:, alive], second[np.ix_(alive, alive)], scale, damping=0.01 * 16 / 20)
    assert np.array_equal(levels[:, alive], others.levels)


def test_inputs_that_say_the_same_are_no_trouble() -> None:
    weights = random(5, 30)
    vectors = np.repeat(inputs(10), 3, axis=1)
    second = vectors.T @ vectors / len(vectors)
    scale = spread_scale(weights, 1.0)
    given = output_error(compensate(weights, second, scale).weights - weights, second)
    plain = output_error(round_to(weights, scale).weights - weights, second)
    assert given < 0.5 * plain


@pytest.mark.parametrize("most", [1, 7, 127])
def test_levels_stay_in_range(most: int) -> None:
    weights, second = 5 * random(8, 70), second_moment(70)
    scale = np.full(8, 0.02, np.float32)
    quantized = compensate(weights, second, scale, most)
    assert quantized.levels.dtype == np.int8
    assert np.abs(quantized.levels.astype(int)).max() == most
    assert np.array_equal(quantized.scale, scale)


def test_the_error_of_outputs_is_that_of_all_vectors() -> None:
    change, vectors = random(3, 6), inputs(6, count=50)
    expected = np.mean([np.sum((change @ vector) ** 2) for vector in vectors])
    assert output_error(change, vectors.T @ vectors / 50) == pytest.approx(expected)
