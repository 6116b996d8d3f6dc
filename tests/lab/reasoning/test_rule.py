"""The additive rule: monotone where merit says so, equal to least squares where nothing binds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.explanation.wordings import WORDINGS
from foveal.lab.reasoning.levels import Q_ALIGN, Q_BENCH
from foveal.lab.reasoning.rule import Rule, fit_rule, level_weights

NAMES = ("sharpness", "noise", "brightness")


def draw(count: int, seed: int = 0) -> list[dict[str, int]]:
    random = np.random.default_rng(seed)
    return [{name: int(random.integers(5)) for name in NAMES} for _ in range(count)]


def test_a_rule_that_made_the_ratings_is_found_again() -> None:
    truth = Rule(3.0, {
        "sharpness": np.array([-0.6, -0.3, 0.0, 0.3, 0.4]),
        "noise": np.array([0.2, 0.1, 0.0, -0.2, -0.5]),
        "brightness": np.array([-0.3, 0.1, 0.3, 0.1, -0.2]),
    })  # fmt: skip
    described = draw(4000)
    found = fit_rule(described, [truth.score(degrees) for degrees in described], ridge=1e-6)
    for name in NAMES:
        expected = truth.effects[name] - np.mean([truth.effects[name][d[name]] for d in described])
        assert found.effects[name] == pytest.approx(expected, abs=0.01)


def test_effects_that_go_against_merit_are_flattened() -> None:
    described = draw(2000)
    wrong_way = [3 - 0.2 * degrees["sharpness"] + 0.2 * degrees["noise"] for degrees in described]
    rule = fit_rule(described, wrong_way)
    assert rule.effects["sharpness"] == pytest.approx(np.zeros(5), abs=1e-6)
    assert rule.effects["noise"] == pytest.approx(np.zeros(5), abs=1e-6)


@given(st.integers(0, 1000))
def test_effects_are_monotone_and_centred_whatever_the_ratings(seed: int) -> None:
    described = draw(200, seed)
    rule = fit_rule(described, np.random.default_rng(seed).uniform(1, 5, 200))
    for name in NAMES:
        assert np.all(np.diff(rule.effects[name]) * WORDINGS[name].merit >= 0)
        assert np.mean([rule.effects[name][d[name]] for d in described]) == pytest.approx(0, abs=1e-9)


def test_scores_stay_on_the_scale_and_skip_what_is_not_told() -> None:
    rule = Rule(3.0, {"sharpness": np.array([-9.0, 0, 0, 0, 9.0])})
    assert (rule.score({"sharpness": 0}), rule.score({"sharpness": 4}), rule.score({"haze": 2})) == (1, 5, 3)


def test_what_cannot_be_learnt_from_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more"):
        fit_rule([{"noise": 1}], [3.0])
    with pytest.raises(ValueError, match="same attributes"):
        fit_rule([{"noise": 1}, {"haze": 1}], [3.0, 2.0])


@given(st.lists(st.floats(1, 5), min_size=1), st.sampled_from([0.0, 0.05, 0.2, 0.6]))
def test_the_heaviest_level_is_that_of_equal_ranges(scores: list[float], width: float) -> None:
    clear = [score for score in scores if min(abs(score - cut) for cut in (1.8, 2.6, 3.4, 4.2)) > 1e-6]
    if not clear:
        return
    weights = level_weights(clear, Q_ALIGN, width)
    assert weights.sum(axis=1) == pytest.approx(np.ones(len(clear)))
    assert (weights.argmax(axis=1) == Q_ALIGN.level_of(clear)).all()


def test_wider_weights_are_softer() -> None:
    peaks = [level_weights([3.3], Q_ALIGN, width).max() for width in (0.0, 0.2, 0.4, 0.8)]
    assert peaks == sorted(peaks, reverse=True)
    assert level_weights([3.0], Q_BENCH, 0.5)[0] == pytest.approx([0.5, 0.5])
