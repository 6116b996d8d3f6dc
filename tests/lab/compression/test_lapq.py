import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.lab.compression.huffman import mean_bits
from foveal.lab.compression.importance import importance
from foveal.lab.compression.lapq import (
    Plan,
    SearchConfig,
    compress,
    level_shares,
    levels_by_rank,
    search,
)
from foveal.lab.compression.minmax import BITS, quantize_minmax
from foveal.lab.compression.pruning import MULTIPLIERS, pruned

NAMES = tuple("abcdefgh")
RNG = np.random.default_rng(3)
WEIGHTS = {
    name: RNG.normal(0, 0.02 + 0.01 * index, (16, 8 * (index + 1))).astype(np.float32)
    for index, name in enumerate(NAMES)
}
TOTAL = sum(matrix.size for matrix in WEIGHTS.values())
SIGNAL = {name: float((matrix.astype(np.float64) ** 2).sum()) for name, matrix in WEIGHTS.items()}


def error(changed):
    """Mean relative error of layers: a stand-in for lost SRCC, which grows with compression as that does."""
    return float(np.mean([((changed[name] - WEIGHTS[name]) ** 2).sum() / SIGNAL[name] for name in WEIGHTS]))


def stand_in(changed):
    return 0.9 - error(changed)


# What is counted.


def test_nothing_done_is_a_ratio_of_one():
    same = compress(WEIGHTS, Plan({}, {}))
    assert same.ratio == same.huffman_ratio == same.huffman_ratio_with_zeros == 1
    for name in NAMES:
        np.testing.assert_array_equal(same.weights[name], WEIGHTS[name])


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_pruned_ratio_is_weights_by_those_that_are_not_zero(multiplier):
    done = compress(WEIGHTS, Plan(dict.fromkeys(NAMES, multiplier), {}))
    left = sum(int((matrix != 0).sum()) for matrix in done.weights.values())
    assert done.ratio == done.huffman_ratio == TOTAL / left
    places = TOTAL if multiplier else 0
    assert done.huffman_ratio_with_zeros == pytest.approx(32 * TOTAL / (32 * left + places))


@pytest.mark.parametrize("bits", BITS)
def test_quantised_ratio_is_32_by_bits_and_huffman_gains_but_at_one_bit(bits):
    done = compress(WEIGHTS, Plan({}, dict.fromkeys(NAMES, bits)))
    counts = [np.bincount(quantize_minmax(matrix, bits).codes.ravel()) for matrix in WEIGHTS.values()]
    assert done.ratio == 32 / bits
    assert done.huffman_ratio == pytest.approx(32 / mean_bits(counts))
    assert done.huffman_ratio == done.huffman_ratio_with_zeros
    assert done.huffman_ratio == 32 if bits == 1 else done.huffman_ratio > done.ratio


def test_both_count_the_bits_of_weights_that_are_left():
    plan = Plan({"a": 1.5, "b": 0.5}, {"a": 2, "b": 8, "c": 4})
    done = compress(WEIGHTS, plan)
    left = {name: int((matrix != 0).sum()) for name, matrix in done.weights.items()}
    bits = 2 * left["a"] + 8 * left["b"] + 4 * left["c"] + 32 * sum(left[name] for name in NAMES[3:])
    assert done.ratio == pytest.approx(32 * TOTAL / bits)
    assert done.huffman_ratio > done.ratio
    assert done.huffman_ratio_with_zeros < done.huffman_ratio
    assert done.layers["b"].sparsity == pytest.approx(1 - left["b"] / WEIGHTS["b"].size)


def test_pruned_weights_stay_zero_and_others_lie_on_the_grid():
    done = compress(WEIGHTS, Plan(dict.fromkeys(NAMES, 1.0), dict.fromkeys(NAMES, 4)))
    for name, matrix in WEIGHTS.items():
        before = pruned(matrix, 1.0)
        grid = quantize_minmax(before, 4)
        np.testing.assert_array_equal(done.weights[name], np.where(before != 0, grid.weights, 0))


def test_a_layer_that_is_pruned_away_takes_nothing():
    done = compress({"x": np.array([[1, -1]], np.float32)}, Plan({"x": 1.5}, {}))
    assert done.layers["x"].kept == 0
    assert done.ratio == math.inf


# How levels are given out.


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 6),
    st.floats(0, 1),
    st.sampled_from(["narrow", "wide"]),
)
def test_shares_sum_to_one_and_have_the_mean_that_strength_says(levels, strength, shape):
    shares = level_shares(levels, strength, shape)
    assert math.isclose(sum(shares), 1)
    assert min(shares) >= 0
    mean = sum(share * step for step, share in enumerate(reversed(shares)))
    assert mean == pytest.approx(strength * (levels - 1), abs=1e-9)
    if shape == "narrow":
        assert sum(share > 1e-12 for share in shares) <= 2


def test_shares_at_the_ends():
    for shape in ("narrow", "wide"):
        assert level_shares(4, 0, shape) == (0, 0, 0, 1)
        assert level_shares(4, 1, shape) == (1, 0, 0, 0)
    assert level_shares(3, 0.5, "wide") == (0.25, 0.5, 0.25)


def test_the_least_important_layers_get_the_strongest_level():
    scores = {"a": 0.3, "b": 0.9, "c": 0.1, "d": 0.5}
    assert levels_by_rank(scores, BITS, (0.25, 0.25, 0, 0.5)) == {"c": 1, "a": 2, "d": 8, "b": 8}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.floats(0, 1))
def test_more_important_layers_never_get_a_stronger_level(scores, strength):
    named = {str(index): float(score) for index, score in enumerate(scores)}
    given_out = levels_by_rank(named, MULTIPLIERS, level_shares(5, strength, "wide"))
    for one, score in named.items():
        for other, higher in named.items():
            if higher > score:
                assert given_out[other] <= given_out[one]
            if higher == score:
                assert given_out[other] == given_out[one]


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.5, 0.2, 0.2, 0.2), (1.5, -0.5, 0, 0)])
def test_shares_that_do_not_fit_are_refused(shares):
    with pytest.raises(ValueError, match="expected 4 that sum to 1"):
        levels_by_rank({"a": 1.0}, BITS, shares)


# The search.


def test_choices_keep_to_the_drop_and_are_what_they_say():
    seen = []
    found = search(WEIGHTS, stand_in, SearchConfig(max_drop=0.05), seen.append)
    assert found.baseline == 0.9
    assert found.trials == tuple(seen)
    for trial in (found.lap, found.laq, found.lapq):
        assert trial.passed
        done = compress(WEIGHTS, trial.candidate.plan)
        assert done.ratio == pytest.approx(trial.candidate.ratio)
        assert stand_in(done.weights) == trial.srcc >= 0.85
    for trial in seen:
        assert trial.passed == (trial.srcc >= found.baseline - 0.05)
    assert found.lap.candidate.ratio > 1
    assert found.laq.candidate.ratio > 4
    assert found.lapq.candidate.ratio > max(found.lap.candidate.ratio, found.laq.candidate.ratio)


def test_the_choice_is_the_smallest_that_an_exhaustive_search_finds():
    config = SearchConfig(max_drop=0.1, shapes=("narrow",))
    found = search(WEIGHTS, stand_in, config)
    best = 1.0
    for beta in config.betas:
        for sign in config.signs:
            for strength in config.strengths:
                shares = level_shares(5, strength, "narrow")
                scores = {name: one.qlis(beta, sign) for name, one in importance(WEIGHTS).items()}
                done = compress(WEIGHTS, Plan(levels_by_rank(scores, MULTIPLIERS, shares), {}))
                if stand_in(done.weights) >= 0.8:
                    best = max(best, done.ratio)
    assert found.lap.candidate.ratio == pytest.approx(best)
    assert len(found.trials) < len(config.betas) * len(config.signs) * len(config.strengths)


def test_settings_of_a_choice_give_its_plan_again():
    found = search(WEIGHTS, stand_in, SearchConfig(max_drop=0.05))
    layers = importance(WEIGHTS)
    chosen = found.lapq.candidate
    for setting, levels, planned in (
        (chosen.pruning, MULTIPLIERS, chosen.plan.multipliers),
        (chosen.quantization, BITS, chosen.plan.bits),
    ):
        scores = {name: one.qlis(setting.beta, setting.sign) for name, one in layers.items()}
        assert levels_by_rank(scores, levels, setting.shares) == planned


def test_both_together_are_relaxed_where_they_lose_too_much():
    """Each alone may lose everything that is allowed."""

    def either(changed):
        is_pruned = any((matrix == 0).any() for matrix in changed.values())
        width = max(len(np.unique(matrix)) for matrix in changed.values())
        return 0.9 - 0.02 * (is_pruned and width < 256)

    found = search(WEIGHTS, either)
    assert found.lap.candidate.ratio > 1
    assert found.laq.candidate.ratio > 4
    assert found.lapq.passed
    plan = found.lapq.candidate.plan
    assert not any(plan.multipliers.values()) or set(plan.bits.values()) == {8}
    tried = [trial for trial in found.trials if trial.method == "LAPQ"]
    assert not tried[0].passed


def test_where_everything_loses_too_much_nothing_is_done_by_layer():
    def fragile(changed):
        return 0.9 if all((changed[name] == WEIGHTS[name]).all() for name in NAMES) else 0.2

    found = search(WEIGHTS, fragile)
    assert found.lap.candidate.ratio == 1
    assert found.lap.passed
    assert found.laq.candidate.plan.bits == dict.fromkeys(NAMES, 8)
    assert not found.laq.passed
    assert found.lapq.candidate.plan == found.laq.candidate.plan
    assert not found.lapq.passed
    # A family whose mildest candidate fails is given up, and no plan is measured twice.
    assert len(found.trials) <= 12


def test_where_nothing_is_lost_the_strongest_is_chosen():
    found = search(WEIGHTS, lambda changed: 0.5, SearchConfig(strengths=(0.1, 0.5, 1.0)))
    assert set(found.lap.candidate.plan.multipliers.values()) == {1.5}
    assert found.laq.candidate.ratio == 32
    assert found.lapq.candidate.ratio == pytest.approx(32 * found.lap.candidate.ratio)


def test_no_plan_is_measured_twice():
    seen = []

    def watched(changed):
        seen.append(tuple(matrix.tobytes() for matrix in changed.values()))
        return stand_in(changed)

    search(WEIGHTS, watched, SearchConfig(max_drop=0.05))
    assert len(seen) == len(set(seen))


def test_a_search_is_repeatable():
    first, second = (search(WEIGHTS, stand_in, SearchConfig(max_drop=0.05)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_drop": -0.1}, "max_drop is -0.1"),
        ({"strengths": ()}, "strengths are"),
        ({"strengths": (0.0, 0.5)}, "above 0"),
    ],
)
def test_bad_settings_are_told(values, message):
    with pytest.raises(ValueError, match=message):
        SearchConfig(**values)
