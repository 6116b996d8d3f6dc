import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from foveal.lab.compression.importance import Importance, importance, rank_quantiles, weight_entropy

RNG = np.random.default_rng(0)
MATRICES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
    elements=st.floats(-2, 2, width=32),
)


def layers():
    return {
        "small": RNG.normal(0, 0.05, (8, 8)).astype(np.float32),
        "large": RNG.normal(0, 0.05, (40, 32)).astype(np.float32),
    }


def test_a_layer_worked_out_by_hand():
    # Four bins over 0 to 4 hold 4, 2, 1, 1 of 8 weights: entropy 1.75 bits. Two lie below 0.5.
    matrix = np.array([[0, 0.4, 0.6, 0.9], [1.5, 1.6, 2.5, 4.0]], np.float32)
    one = importance({"a": matrix, "b": np.zeros((2, 12), np.float32)}, near_zero=0.5, bins=4)["a"]
    assert one == Importance(share=0.25, entropy=1.75 / 32, sparsity=0.25, ewds=1.75 / 32 * 0.75)
    assert one.qlis(0.4, "paper") == pytest.approx(0.4 * 0.25 + 0.6 * (1 - one.ewds), rel=1e-12)
    assert one.qlis(0.4, "text") == pytest.approx(0.4 * 0.25 + 0.6 * one.ewds, rel=1e-12)


def test_the_two_signs_order_layers_of_equal_size_in_opposite_ways():
    dense = Importance(0.5, entropy=0.22, sparsity=0.1, ewds=0.198)
    sparse = Importance(0.5, entropy=0.2, sparsity=0.6, ewds=0.08)
    assert dense.qlis(0.3, "text") > sparse.qlis(0.3, "text")
    assert dense.qlis(0.3, "paper") < sparse.qlis(0.3, "paper")
    assert dense.qlis(1, "paper") == dense.qlis(1, "text") == 0.5


@settings(max_examples=40, deadline=None)
@given(st.lists(MATRICES, min_size=1, max_size=5), st.floats(0, 1), st.integers(2, 300))
def test_all_figures_stay_in_their_ranges(matrices, beta, bins):
    found = importance({str(i): matrix for i, matrix in enumerate(matrices)}, bins=bins)
    assert math.isclose(sum(one.share for one in found.values()), 1)
    for one in found.values():
        assert 0 <= one.entropy <= math.log2(bins) / 32 + 1e-12
        assert 0 <= one.ewds <= one.entropy
        assert 0 <= one.sparsity <= 1
        assert 0 <= one.qlis(beta, "paper") <= 1
        assert 0 <= one.qlis(beta, "text") <= 1


@settings(max_examples=40, deadline=None)
@given(MATRICES, st.integers(2, 64))
def test_entropy_is_that_of_scipy(matrix, bins):
    counts = np.histogram(matrix.astype(np.float64), bins)[0]
    assert weight_entropy(matrix, bins) == pytest.approx(stats.entropy(counts, base=2), abs=1e-9)


def test_entropy_of_known_weights():
    assert weight_entropy(np.arange(256, dtype=np.float32)[None]) == 8
    assert weight_entropy(np.full((3, 3), 0.7, np.float32)) == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_rank_quantiles_keep_order_and_share_ties(values):
    quantiles = list(rank_quantiles({str(i): value for i, value in enumerate(values)}).values())
    expected = (stats.rankdata(values) - 0.5) / len(values)
    np.testing.assert_allclose(quantiles, expected, rtol=1e-12)
    assert all(0 < quantile < 1 for quantile in quantiles)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: importance({}), "no layers"),
        (lambda: importance({"x": np.zeros((0, 3), np.float32)}), "x has no weights"),
        (lambda: importance(layers(), bins=1), "bins is 1"),
        (lambda: importance(layers())["small"].qlis(1.5), "beta is 1.5"),
        (lambda: importance(layers())["small"].qlis(0.5, "other"), "'other'.*'paper' or 'text'"),
    ],
)
def test_bad_input_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()
