"""Grids for activations: exact where they can be, near the best range elsewhere, outliers passed by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from foveal.lab.compression.activation_grid import MOST_OUTLIERS, Grid, fit_grid

CHANNELS = 6


def ones(count: int = CHANNELS) -> NDArray[np.float64]:
    return np.ones(count)


def normal(shape: tuple[int, int], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_pixels_less_128_are_held_exactly() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.float32) - 128
    grid = fit_grid(pixels, ones(3))
    assert (grid.scale, grid.zero) == (1.0, 128)
    np.testing.assert_array_equal(grid.round(pixels), pixels)


def test_whole_numbers_beyond_int8_are_not_taken_for_pixels() -> None:
    values = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.float32)
    assert fit_grid(values, ones(3)).high > 200


finite = st.floats(-50, 50, width=32)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (30, CHANNELS), elements=finite), st.booleans())
def test_any_activation_gets_a_grid_that_holds_zero(values: NDArray[np.float32], signed: bool) -> None:
    """Padding and ReLU give exact zeros; a zero that moved would shift everything."""
    grid = fit_grid(values, ones(), signed=signed)
    assert grid.scale > 0
    assert grid.low <= 0 <= grid.high
    assert grid.round(np.zeros((1, CHANNELS), np.float32)).tolist() == [[0.0] * CHANNELS]
    if signed:
        assert grid.zero == 0
    else:
        assert 0 <= grid.zero <= 255


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (30, CHANNELS), elements=finite))
def test_values_inside_the_grid_move_by_half_a_step_at_most(values: NDArray[np.float32]) -> None:
    grid = fit_grid(values, ones())
    inside = (values >= grid.low) & (values <= grid.high)
    moved = np.abs(grid.round(values) - values)
    assert np.all(moved[inside] <= grid.scale * 0.5001 + 1e-5)


def test_rounding_is_what_onnx_defines() -> None:
    """QuantizeLinear: saturate(round half to even(x / scale) + zero); here by hand."""
    grid = Grid(scale=0.5, zero=3)
    values = np.array([[-9.0, -1.5, 0.25, 0.75, 1.0, 200.0]], np.float32)
    assert grid.round(values).tolist() == [[-1.5, -1.5, 0.0, 1.0, 1.0, 126.0]]


def test_the_range_is_near_the_best_that_can_be_found_by_trying() -> None:
    """Against a search over all ranges that rounds for real, with the documented weight of cut values."""
    values = normal((4000, CHANNELS)) * 2
    values[::700] *= 4

    def loss(grid: Grid) -> float:
        error = (grid.round(values) - values) ** 2
        cut = (values < grid.low) | (values > grid.high)
        return float(np.where(cut, 8 * error, error).sum())

    tried = [Grid(half / 127.5, 128) for half in np.geomspace(2, np.abs(values).max(), 60)]
    assert loss(fit_grid(values, ones())) < 1.03 * min(map(loss, tried))


def test_channels_that_cost_more_decide_the_range() -> None:
    values = normal((2000, CHANNELS))
    values[:, 0] *= 12
    costly, cheap = ones(), ones()
    costly[0], cheap[0] = 1e3, 1e-6
    wide = fit_grid(values, costly, most_outliers=0).high
    narrow = fit_grid(values, cheap, most_outliers=0).high
    assert wide > 3 * narrow


def test_a_channel_with_massive_values_is_passed_by() -> None:
    """As in a ViT-Tiny's eighth block: one channel reaches 200 in 1.6 % of tokens, the others 7."""
    values = normal((3000, CHANNELS))
    values[::60, 4] = 200
    grid = fit_grid(values, ones())
    assert grid.outliers == (4,)
    assert grid.high < 10
    assert np.abs(grid.round(values) - values).max() < 0.6
    np.testing.assert_allclose(grid.round(values)[::60, 4], 200, atol=grid.scale)
    # Nothing is passed by where that is not allowed, and then either the rest or the peak suffers.
    alone = fit_grid(values, ones(), most_outliers=0)
    assert alone.outliers == ()
    assert np.abs(alone.round(values) - values).max() > 0.35


def test_even_channels_are_not_passed_by() -> None:
    assert fit_grid(normal((2000, 40)), ones(40)).outliers == ()
    many = normal((2000, 40))
    many[::50, : 2 * MOST_OUTLIERS] = 300
    assert len(fit_grid(many, ones(40)).outliers) <= MOST_OUTLIERS


def test_an_activation_that_is_always_zero_has_a_grid() -> None:
    zeros = np.zeros((10, CHANNELS), np.float32)
    for signed in (False, True):
        grid = fit_grid(zeros, np.zeros(CHANNELS), signed=signed)
        assert grid.round(zeros).tolist() == zeros.tolist()


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="no samples of an activation"):
        fit_grid(np.zeros((0, CHANNELS), np.float32), ones())
