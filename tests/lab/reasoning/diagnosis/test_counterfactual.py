"""Counterfactual edits against judges whose rule is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from planted import MERITS, TOY, PlantedReasoner, pictures_of, tell, tiny_llava

from foveal.lab.reasoning.diagnosis.counterfactual import (
    Change,
    edits_of,
    judge_edits,
    most_moving,
    summarise,
    summarise_kinds,
)
from foveal.lab.reasoning.question import Question
from foveal.lab.reasoning.reasoner import OneStage, TwoStage, verdicts


def _by_text(weights: dict[str, float]):
    def rule(question: Question) -> float:
        degrees = {one.attribute: one.degree for one in TOY.statements(question.text)}
        return 3 + sum(weight * (degrees.get(name, 2) - 2) for name, weight in weights.items())

    return rule


def _descriptions(count: int, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed).integers
    return [tell(**{name: int(draw(5)) for name in MERITS}) for _ in range(count)]


def test_edits_go_to_both_ends_and_leave_all_else() -> None:
    found = list(edits_of("A cat. sharpness 1; noise 4; warmth 2;", TOY))
    assert [(edit.attribute, edit.wanted, edit.text) for edit in found] == [
        ("sharpness", 1, "A cat. sharpness 4; noise 4; warmth 2;"),
        ("sharpness", -1, "A cat. sharpness 0; noise 4; warmth 2;"),
        # Noise is at its worst already, and less is better.
        ("noise", 1, "A cat. sharpness 1; noise 0; warmth 2;"),
    ]
    assert list(edits_of("A cat.", TOY)) == []


def test_a_judge_that_follows_the_description_is_always_right() -> None:
    judge = PlantedReasoner(_by_text({"sharpness": 0.5, "noise": -0.5, "contrast": 0.2}))
    changes = judge_edits(judge, [None] * 40, _descriptions(40), TOY)
    whole, *others = summarise(changes, 40)
    assert whole.attribute == "all"
    assert whole.edits == len(changes) == sum(effect.edits for effect in others)
    assert (whole.sign_agreement.value, whole.right_flips.value) == (1, 1)
    assert whole.flips > 0.3
    by_name = {effect.attribute: effect for effect in others}
    assert set(by_name) == {"sharpness", "noise", "contrast"}
    assert others[-1].attribute == "contrast"
    assert by_name["sharpness"].best > 0 > by_name["sharpness"].worst
    assert by_name["noise"].best > 0 > by_name["noise"].worst
    assert json.loads(json.dumps(whole.to_dict()))["sign_agreement"]["value"] == 1


def test_a_judge_that_turns_it_round_is_always_wrong() -> None:
    judge = PlantedReasoner(_by_text({"sharpness": -0.5, "noise": 0.5}))
    whole, *others = summarise(judge_edits(judge, [None] * 30, _descriptions(30), TOY), 30)
    assert (whole.sign_agreement.value, whole.right_flips.value) == (0, 0)
    assert whole.mean_effect.value < 0
    by_name = {effect.attribute: effect for effect in others}
    # Contrast plays no part: no change has a direction.
    assert math.isnan(by_name["contrast"].sign_agreement.value)
    assert by_name["contrast"].mean_effect.value == pytest.approx(0, abs=1e-6)
    assert by_name["contrast"].flips == 0


def test_kinds_show_what_the_whole_hides() -> None:
    judge = PlantedReasoner(_by_text({"sharpness": 0.9, "noise": 0.1}))
    changes = judge_edits(judge, [None] * 30, _descriptions(30), TOY)
    kinds = {"sharpness": "one", "contrast": "one", "noise": "two"}
    one, two = summarise_kinds(changes, kinds, 30)
    assert (one.attribute, two.attribute) == ("one", "two")
    assert one.edits + two.edits == len(changes)
    assert (one.sign_agreement.value, two.sign_agreement.value) == (1, 0)
    assert summarise_kinds(changes, {"warmth": "three"}, 30) == ()


def test_a_judge_that_looks_at_the_image_alone_does_not_move() -> None:
    judge = PlantedReasoner(lambda question: 1 + 4 * float(np.mean(question.picture)) / 255)
    changes = judge_edits(judge, pictures_of(10), _descriptions(10), TOY, first=5)
    assert {change.image for change in changes} == set(range(5, 15))
    assert all(change.after == pytest.approx(change.before) and not change.flipped for change in changes)
    whole = summarise(changes, 15)[0]
    assert math.isnan(whole.right_flips.value)
    assert whole.mean_effect.value == pytest.approx(0, abs=1e-6)


def test_effects_are_those_computed_by_hand() -> None:
    changes = [
        Change(0, "noise", 1, 3.0, 3.5, 2, 1),  # right, and the level with it
        Change(0, "noise", -1, 3.0, 3.2, 2, 1),  # wrong
        Change(1, "noise", -1, 2.0, 1.5, 3, 4),  # right
        Change(1, "noise", 1, 2.0, 2.005, 3, 3),  # too little for a direction
    ]
    _, noise = summarise(changes, 2)
    assert noise.flips == 0.75
    assert noise.right_flips.value == pytest.approx(2 / 3)
    assert noise.sign_agreement.value == pytest.approx(2 / 3)
    effects = np.array([0.5, -0.2, 0.5, 0.005])
    assert noise.mean_effect.value == pytest.approx(effects.mean())
    assert noise.standardised == pytest.approx(effects.mean() / effects.std(ddof=1))
    assert noise.best == pytest.approx(0.2525)
    assert noise.worst == pytest.approx(-0.15)
    # Of two images one or the other is drawn twice: their own means are the ends.
    assert (noise.mean_effect.low, noise.mean_effect.high) == pytest.approx((0.15, 0.2525))


def test_nothing_to_edit() -> None:
    judge = PlantedReasoner(_by_text({}))
    assert judge_edits(judge, [None], ["a cat"], TOY) == []
    assert summarise([], 1) == ()


def test_what_moves_one_verdict_most() -> None:
    judge = PlantedReasoner(_by_text({"sharpness": 0.2, "noise": -0.4, "contrast": -0.1}))
    found = most_moving(judge, None, "sharpness 2; noise 4; contrast 2; warmth 0;", TOY)
    assert [movement.attribute for movement in found] == ["noise", "sharpness", "contrast"]
    assert found[0].low == pytest.approx(2.2, abs=0.15)
    assert found[0].high == pytest.approx(3.8, abs=0.15)
    assert found[-1].span < 0 < found[0].span
    assert most_moving(judge, None, "a cat", TOY) == ()


@pytest.mark.parametrize("stages", [1, 2])
def test_a_real_model_is_asked_as_it_judges(stages: int) -> None:
    model = tiny_llava()
    reasoner = OneStage(model) if stages == 1 else TwoStage(model, model)
    pictures, texts = pictures_of(2), _descriptions(2)
    changes = judge_edits(reasoner, pictures, texts, TOY)
    edits = [edit for text in texts for edit in edits_of(text, TOY)]
    chosen = changes[3]
    asked = verdicts(reasoner, [pictures[chosen.image]] * 2, [texts[chosen.image], edits[3].text])
    assert [chosen.before, chosen.after] == pytest.approx(reasoner.levels.quality(asked).tolist(), abs=1e-5)
    moved = most_moving(reasoner, pictures[0], texts[0], TOY)
    ends = {(change.attribute, change.wanted): change.after for change in changes if change.image == 0}
    assert moved[0].high == pytest.approx(ends.get((moved[0].attribute, 1), changes[0].before), abs=1e-5)
