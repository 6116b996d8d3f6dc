"""Grounding: regression, information and contradictions on data whose answer is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from planted import MERITS, TOY, tell

from foveal.lab.reasoning.diagnosis.grounding import contradictions, measure_grounding
from foveal.lab.reasoning.diagnosis.information import entropy, mutual_information, tell_of_verdict
from foveal.lab.reasoning.diagnosis.ridge import PENALTIES, explain, ridge
from foveal.lab.reasoning.levels import Q_ALIGN

LABELS = hnp.arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 5))


def _degrees(images: int = 120, samples: int = 3, attributes: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 5, (images, samples, attributes)).astype(float)


def test_a_linear_verdict_is_explained() -> None:
    degrees = _degrees()
    scores = 3 + degrees @ np.array([0.3, -0.2, 0.0, 0.1])
    found = explain(degrees, scores)
    assert found.r2 > 0.999
    assert found.predicted == pytest.approx(scores, abs=0.02)


def test_a_random_verdict_is_not() -> None:
    scores = np.random.default_rng(5).normal(size=(120, 3))
    assert -0.1 < explain(_degrees(), scores).r2 < 0.05


def test_whether_an_attribute_is_mentioned_can_explain() -> None:
    degrees = _degrees()
    silent = np.random.default_rng(6).random(degrees.shape) < 0.5
    degrees[silent] = np.nan
    assert explain(degrees, 2.0 + silent[..., 1]).r2 > 0.999


def test_an_attribute_that_is_never_mentioned_does_no_harm() -> None:
    degrees = _degrees()
    scores = degrees[..., 0]
    degrees[..., 3] = np.nan
    assert explain(degrees, scores).r2 > 0.999


def test_samples_of_one_image_do_not_predict_each_other() -> None:
    # Each image has its own score and pattern of degrees, shared by its samples: folds by answers would
    # let forty columns remember fifty images.
    generator = np.random.default_rng(7)
    degrees = np.repeat(generator.integers(0, 5, (50, 1, 40)).astype(float), 3, axis=1)
    scores = np.repeat(generator.normal(size=(50, 1)), 3, axis=1)
    assert explain(degrees, scores).r2 < 0.1


def test_a_constant_score_has_no_variance_to_explain() -> None:
    assert math.isnan(explain(_degrees(), np.full((120, 3), 2.5)).r2)
    with pytest.raises(ValueError, match="two images or more"):
        explain(_degrees(), np.zeros((120, 2)))


def test_ridge_is_the_solution_of_its_equations() -> None:
    generator = np.random.default_rng(8)
    design, target = generator.normal(size=(30, 5)), generator.normal(size=30)
    weights = ridge(design, target, np.array([2.0]))
    assert design.T @ (target - design @ weights) == pytest.approx(2.0 * weights)


def test_the_penalty_has_the_least_generalised_error() -> None:
    generator = np.random.default_rng(9)
    design = generator.normal(size=(40, 12))
    target = 0.5 * design[:, 0] - 0.5 * design[:, 1] + generator.normal(size=40)

    def error(penalty: float) -> float:
        hat = design @ np.linalg.inv(design.T @ design + penalty * np.eye(12)) @ design.T
        return float(((target - hat @ target) ** 2).sum() / (39 - np.trace(hat)) ** 2)

    best = min(PENALTIES, key=error)
    assert 0 < list(PENALTIES).index(best) < len(PENALTIES) - 1
    assert ridge(design, target) == pytest.approx(ridge(design, target, np.array([best])))


@given(LABELS)
@settings(max_examples=50, deadline=None)
def test_information_on_itself_is_entropy(labels: np.ndarray) -> None:
    assert mutual_information(labels, labels) == pytest.approx(entropy(labels), abs=1e-9)
    assert mutual_information(labels, 9 - labels) == pytest.approx(entropy(labels), abs=1e-9)
    assert mutual_information(labels, np.zeros_like(labels)) == pytest.approx(0, abs=1e-9)


@given(LABELS, st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_information_is_symmetric(labels: np.ndarray, seed: int) -> None:
    other = np.random.default_rng(seed).integers(0, 3, len(labels))
    assert mutual_information(labels, other) == pytest.approx(mutual_information(other, labels), abs=1e-9)


def test_computed_examples() -> None:
    # Two fair classes among eight: 1 bit, and (2 - 1) / (2 x 8) nats of correction.
    fair = [0, 0, 0, 0, 1, 1, 1, 1]
    assert entropy(fair) == pytest.approx(1 + 1 / (16 * math.log(2)))
    # Independent by design: 1 + 1 - 2 bits, corrected by (1 + 1 - 3) / 16 nats.
    assert mutual_information(fair, [0, 1] * 4) == pytest.approx(-1 / (16 * math.log(2)))


def test_the_correction_takes_the_bias_out() -> None:
    generator = np.random.default_rng(10)
    found = [mutual_information(*generator.integers(0, 4, (2, 200))) for _ in range(200)]
    # Without it, independent labels of 4 x 4 classes would give 9 / (2 x 200) nats on average.
    assert abs(np.mean(found)) < 0.3 * 9 / 400 / math.log(2)
    with pytest.raises(ValueError, match="equally many"):
        mutual_information([1, 2], [1])


def test_an_attribute_that_decides_tells_more_than_chance() -> None:
    degrees = _degrees(images=60)[..., :2]
    verdicts = degrees[..., 0].astype(int)
    decides, other = (
        tell_of_verdict(name, degrees[..., place], verdicts) for place, name in enumerate(("one", "two"))
    )
    assert decides.bits == pytest.approx(entropy(verdicts))
    assert decides.p_value == pytest.approx(1 / 201)
    assert abs(decides.chance) < 0.1
    assert abs(other.bits) < 0.1
    assert other.p_value > 0.01
    assert other.mentioned == 1


def test_chance_knows_that_answers_of_an_image_belong_together() -> None:
    # Every image has one degree and one verdict for all its samples, unrelated: many samples look like
    # much information, and so does chance.
    generator = np.random.default_rng(11)
    degrees = np.repeat(generator.integers(0, 5, (30, 1)).astype(float), 10, axis=1)
    verdicts = np.repeat(generator.integers(0, 5, (30, 1)), 10, axis=1)
    found = tell_of_verdict("one", degrees, verdicts)
    assert found.chance > 0.2
    assert found.bits == pytest.approx(found.chance, abs=0.25)


def test_sides_and_contradictions() -> None:
    tones = np.array([[3, 3, 3], [1, 1, 1], [-3, -3, -3]])
    values = np.array([[5, 3, 1]] * 3)
    assert contradictions(tones, values).tolist() == [[0, -1, 1], [-1, -1, -1], [1, -1, 0]]
    assert contradictions(tones, values, dead_zone=0).tolist()[1] == [0, -1, 1]


def test_everything_together() -> None:
    generator = np.random.default_rng(12)
    degrees = generator.integers(0, 5, (80, 4, len(MERITS)))
    texts = [[tell(**dict(zip(MERITS, map(int, row), strict=True))) for row in told] for told in degrees]
    tones = (np.sign(degrees - 2) * list(MERITS.values())).sum(axis=2)
    # Judged by the tone, but for the first eight images, which are judged against it.
    tones[:8] *= -1
    chances = Q_ALIGN.soft((3 + 2 * tones / 3).clip(1, 5).ravel()).reshape(80, 4, 5)
    found = measure_grounding(texts, chances, chances.argmax(axis=2), Q_ALIGN, TOY)
    assert 0.4 < found.r2.value < 0.9
    assert found.r2.low < found.r2.value < found.r2.high
    assert found.by_image[8:].max() == 0
    assert found.contradiction.value == pytest.approx((np.abs(tones[:8]) > 1).sum() / 320)
    assert found.contradiction_of_sided.value > found.contradiction.value
    assert found.parsed == 1
    bits = {one.attribute: one.bits for one in found.information}
    assert bits["warmth"] < 0.05 < bits["noise"]
    assert json.loads(json.dumps(found.to_dict()))["parsed"] == 1


def test_descriptions_in_other_words_explain_nothing() -> None:
    chances = np.random.default_rng(13).dirichlet(np.ones(5), (20, 2))
    found = measure_grounding([["a cat", ""]] * 20, chances, chances.argmax(axis=2), Q_ALIGN, TOY)
    assert found.parsed == 0
    assert found.r2.value == pytest.approx(0, abs=1e-9)
    assert found.sided == 0
    assert math.isnan(found.contradiction_of_sided.value)


def test_the_first_statement_of_an_attribute_counts() -> None:
    degrees = TOY.degrees(["noise 3; noise 1; sharpness 0;", "nothing"])
    assert degrees[0, list(MERITS).index("noise")] == 3
    assert np.isnan(degrees[1]).all()
    assert TOY.tones(["noise 4; sharpness 0; warmth 4;", ""]).tolist() == [-2, 0]
