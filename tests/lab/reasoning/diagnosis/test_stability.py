"""Instability: known answers, brute force, bounds."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foveal.lab.reasoning.diagnosis.stability import differing, disagreement, late_flips, measure_stability

VERDICTS = hnp.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(2, 6)), elements=st.integers(0, 4))


def test_answers_that_are_always_the_same_are_stable() -> None:
    verdicts = np.repeat([[0], [3], [4]], 5, axis=1)
    assert differing(verdicts).tolist() == [0, 0, 0]
    assert disagreement(verdicts).tolist() == [0, 0, 0]


def test_answers_that_are_never_the_same_are_not() -> None:
    verdicts = np.tile(np.arange(5), (3, 1))
    assert differing(verdicts).tolist() == [1, 1, 1]
    assert disagreement(verdicts).tolist() == [1, 1, 1]


def test_a_computed_example() -> None:
    # Pairs of 0 0 1 1 1: four of 2 x 3 differ, of ten.
    verdicts = [[0, 0, 1, 1, 1], [2, 2, 2, 2, 2], [2, 2, 2, 2, 3]]
    assert differing(verdicts).tolist() == [1, 0, 1]
    assert disagreement(verdicts) == pytest.approx([0.6, 0, 0.4])


@given(VERDICTS)
@settings(max_examples=60, deadline=None)
def test_disagreement_is_the_share_of_pairs_that_differ(verdicts: np.ndarray) -> None:
    expected = [np.mean([one != two for one, two in combinations(row, 2)]) for row in verdicts]
    assert disagreement(verdicts) == pytest.approx(expected)
    assert ((disagreement(verdicts) > 0) == (differing(verdicts) == 1)).all()


@given(VERDICTS, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_answers_and_names_of_levels_do_not_matter(verdicts: np.ndarray, draw) -> None:
    order = list(range(verdicts.shape[1]))
    draw.shuffle(order)
    other = 7 - verdicts[:, order]
    assert disagreement(other) == pytest.approx(disagreement(verdicts))
    assert differing(other).tolist() == differing(verdicts).tolist()


def test_late_flips_look_at_the_last_layers_only() -> None:
    by_layer = [[4, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [2, 2, 2, 2]]
    assert late_flips(by_layer, 1).tolist() == [0, 0, 1, 0]
    assert late_flips(by_layer, 2).tolist() == [0, 1, 1, 0]
    assert late_flips(by_layer, 3).tolist() == [1, 1, 1, 0]
    assert late_flips(by_layer, 9).tolist() == [1, 1, 1, 0]


def test_all_definitions_with_intervals() -> None:
    generator = np.random.default_rng(0)
    drawn = np.where(generator.random((200, 5)) < 0.1, 3, 2)
    by_layer = np.stack([np.full(200, 2), np.where(np.arange(200) < 50, 1, 2), np.full(200, 2)], axis=1)
    found = measure_stability(drawn, np.full((200, 5), 2), by_layer, last=1)
    assert found.differing.value == pytest.approx(differing(drawn).mean())
    # By chance 1 - .9^5 - .1^5 of images differ; the interval is about two binomial deviations wide.
    assert found.differing.low < 1 - 0.9**5 < found.differing.high
    deviation = np.sqrt(found.differing.value * (1 - found.differing.value) / 200)
    assert found.differing.high - found.differing.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert found.disagreement.value < found.differing.value
    assert (found.differing_likeliest.value, found.differing_likeliest.high) == (0, 0)
    assert found.late_flips.value == 0.25
    shown = json.loads(json.dumps(found.to_dict()))
    assert shown["late_flips"]["value"] == 0.25
    assert shown["samples"] == 5


@pytest.mark.parametrize("verdicts", [[[1], [2]], [1, 2, 3], np.zeros((0, 3))])
def test_one_answer_is_not_enough(verdicts: list) -> None:
    with pytest.raises(ValueError, match="expected \\(images, 2 samples or more\\)"):
        disagreement(verdicts)


def test_other_images_in_the_lens_are_refused() -> None:
    with pytest.raises(ValueError, match="images must be equal"):
        measure_stability([[1, 1], [2, 2]], [[1, 1], [2, 2]], [[1, 1]])
    with pytest.raises(ValueError, match="2 layers or more"):
        late_flips([[1], [2]])
    with pytest.raises(ValueError, match="at least 1 layer"):
        late_flips([[1, 1]], 0)
