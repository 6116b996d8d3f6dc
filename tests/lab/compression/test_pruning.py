from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from foveal.lab.compression.pruning import MULTIPLIERS, kept, prune, pruned

MATRICES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.floats(-3, 3, width=32),
)


def test_a_layer_worked_out_by_hand():
    # Mean 0, variance (9 + 9 + 1 + 1) / 4 = 5, sigma 2.236.
    matrix = np.array([[-3, 3, -1, 1]], np.float32)
    np.testing.assert_array_equal(pruned(matrix, 0.4), matrix)
    np.testing.assert_array_equal(pruned(matrix, 0.5), [[-3, 3, 0, 0]])
    np.testing.assert_array_equal(pruned(matrix, 1.5), [[0, 0, 0, 0]])


def test_sigma_is_about_the_mean():
    # Mean 10, sigma 1: about zero it would be 10.05, and all weights would go.
    matrix = np.array([[9, 11]], np.float32)
    np.testing.assert_array_equal(pruned(matrix, 1.5), matrix)


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_share_of_bell_shaped_weights_that_stays(multiplier):
    matrix = np.random.default_rng(1).normal(0, 0.05, (500, 500)).astype(np.float32)
    assert kept(matrix, multiplier).mean() == pytest.approx(2 * stats.norm.sf(multiplier), abs=0.004)


@settings(max_examples=40, deadline=None)
@given(MATRICES, st.sampled_from(MULTIPLIERS))
def test_weights_stay_as_they_are_or_become_zero(matrix, multiplier):
    result = pruned(matrix, multiplier)
    assert result.dtype == np.float32
    assert ((result == matrix) | (result == 0)).all()
    gone = np.abs(matrix[~kept(matrix, multiplier)])
    left = np.abs(matrix[kept(matrix, multiplier)])
    assert not gone.size or not left.size or gone.max() < left.min()


@settings(max_examples=40, deadline=None)
@given(MATRICES)
def test_a_stronger_level_prunes_what_a_milder_one_does(matrix):
    masks = [kept(matrix, multiplier) for multiplier in MULTIPLIERS]
    for stronger, milder in pairwise(masks):
        assert (stronger <= milder).all()
    assert masks[-1].all()


def test_every_layer_has_its_own_level():
    matrix = np.array([[-3, 3, -1, 1]], np.float32)
    result = prune({"a": matrix, "b": matrix}, {"a": 0.5, "b": 0.0})
    assert (result["a"] != 0).sum() == 2
    np.testing.assert_array_equal(result["b"], matrix)
    with pytest.raises(KeyError, match="b"):
        prune({"a": matrix, "b": matrix}, {"a": 0.5})


def test_a_negative_level_is_refused():
    with pytest.raises(ValueError, match="multiplier is -1"):
        kept(np.ones((2, 2), np.float32), -1)
