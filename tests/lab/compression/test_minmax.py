import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foveal.lab.compression.minmax import BITS, quantize_minmax

MATRICES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.floats(-3, 3, width=32, allow_subnormal=False),
)


def test_a_layer_worked_out_by_hand():
    grid = quantize_minmax(np.array([[-1.0, -0.2, 0.6, 2.0]], np.float32), 2)
    assert (grid.scale, grid.offset, grid.bits) == (1.0, -1.0, 2)
    np.testing.assert_array_equal(grid.codes, [[0, 1, 2, 3]])
    np.testing.assert_array_equal(grid.weights, [[-1, 0, 1, 2]])


def test_one_bit_leaves_the_two_extremes():
    matrix = np.random.default_rng(0).normal(0, 1, (20, 20)).astype(np.float32)
    values = np.unique(quantize_minmax(matrix, 1).weights)
    np.testing.assert_allclose(values, [matrix.min(), matrix.max()], rtol=1e-6)


def test_an_outlier_makes_the_grid_coarse():
    matrix = np.random.default_rng(0).normal(0, 1, (50, 50)).astype(np.float32)
    plain = np.abs(quantize_minmax(matrix, 4).weights - matrix).mean()
    matrix[0, 0] = 60
    spoilt = np.abs(quantize_minmax(matrix, 4).weights - matrix)[1:].mean()
    assert spoilt > 3 * plain


@settings(max_examples=40, deadline=None)
@given(MATRICES, st.sampled_from(BITS))
def test_codes_and_errors_stay_in_their_ranges(matrix, bits):
    grid = quantize_minmax(matrix, bits)
    assert grid.codes.dtype == np.uint8
    assert grid.codes.shape == matrix.shape
    assert grid.codes.max() <= 2**bits - 1
    assert grid.weights.dtype == np.float32
    assert np.abs(grid.weights - matrix).max() <= grid.scale / 2 + 1e-5
    assert grid.offset == matrix.min()
    assert grid.weights.max() == pytest.approx(matrix.max(), abs=1e-5)


@pytest.mark.parametrize("bits", BITS)
def test_equal_weights_are_kept_exactly(bits):
    matrix = np.full((3, 4), np.float32(0.123))
    grid = quantize_minmax(matrix, bits)
    np.testing.assert_array_equal(grid.weights, matrix)
    assert grid.scale == 0


@pytest.mark.parametrize(
    ("matrix", "bits", "message"),
    [
        (np.ones((2, 2)), 0, "bits is 0"),
        (np.ones((2, 2)), 9, "bits is 9"),
        (np.array([[np.nan]]), 4, "finite"),
        (np.array([[np.inf, 0]]), 4, "finite"),
        (np.ones((0, 2)), 4, "at least one"),
    ],
)
def test_bad_input_is_told(matrix, bits, message):
    with pytest.raises(ValueError, match=message):
        quantize_minmax(matrix.astype(np.float32), bits)
