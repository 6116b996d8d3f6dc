"""One stage judges with the image in view, two stages from the description alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foveal.lab.reasoning.levels import Q_ALIGN, Q_BENCH, Q_INSTRUCT
from foveal.lab.reasoning.question import Question
from foveal.lab.reasoning.reasoner import (
    OneStage,
    Reasoner,
    TwoStage,
    answer,
    closed_set_scores,
    draw_levels,
    image_only_scores,
    judge_question,
    verdicts,
)
from foveal.lab.reasoning.vision_language import VisionLanguageModel
from tiny_vlms import FAMILIES, checkered

Load = Callable[[str], VisionLanguageModel]
every_family = pytest.mark.parametrize("name", FAMILIES)
PICTURES = [checkered(40, 60, 0), checkered(60, 30, 1)]


def _reasoners(model: VisionLanguageModel) -> list[Reasoner]:
    return [OneStage(model, most_tokens=8), TwoStage(model, model, most_tokens=8)]


class TestAnswers:
    @every_family
    @pytest.mark.parametrize("stages", [0, 1])
    def test_of_one_and_of_two_stages(self, name: str, stages: int, vlm: Load) -> None:
        reasoner = _reasoners(vlm(name))[stages]
        answers = answer(reasoner, PICTURES, samples=3, temperature=1.0, seed=2)
        assert [len(several) for several in answers] == [3, 3]
        for picture, several in zip(PICTURES, answers, strict=True):
            for given_answer in several:
                assert given_answer.verdict in Q_ALIGN.words
                assert given_answer.probabilities.sum() == pytest.approx(1)
                alone = verdicts(reasoner, [picture], [given_answer.description])[0]
                assert given_answer.probabilities == pytest.approx(alone, abs=1e-5)
        again = answer(reasoner, PICTURES, samples=3, temperature=1.0, seed=2)
        assert [[a.description for a in several] for several in again] == [
            [a.description for a in several] for several in answers
        ]
        assert [[a.verdict for a in several] for several in again] == [
            [a.verdict for a in several] for several in answers
        ]

    @pytest.mark.parametrize("stages", [0, 1])
    def test_at_temperature_0_the_likeliest(self, stages: int, vlm: Load) -> None:
        ((first,), (second,)) = answer(_reasoners(vlm("smolvlm"))[stages], PICTURES)
        for given_answer in (first, second):
            assert given_answer.verdict == Q_ALIGN.words[given_answer.likeliest]
            assert given_answer.likeliest == given_answer.probabilities.argmax()

    def test_several_at_temperature_0_are_refused(self, vlm: Load) -> None:
        with pytest.raises(ValueError, match="needs a temperature above 0"):
            answer(_reasoners(vlm("qwen3-vl"))[0], PICTURES, samples=2)

    def test_of_no_pictures(self, vlm: Load) -> None:
        assert answer(_reasoners(vlm("qwen3-vl"))[1], []) == []

    @pytest.mark.parametrize("stages", [0, 1])
    def test_descriptions_end_before_the_verdict(
        self, stages: int, vlm: Load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said = " It is sharp. The quality of the image is good. And more."
        monkeypatch.setattr(VisionLanguageModel, "go_on", lambda self, asked, **_: [[said] for _ in asked])
        reasoner = _reasoners(vlm("qwen3-vl"))[stages]
        assert reasoner.describe(PICTURES, samples=1, temperature=0, seed=0) == [["It is sharp."]] * 2


class TestTwoStages:
    @every_family
    def test_the_judge_reads_no_picture(self, name: str, vlm: Load) -> None:
        model = vlm(name)
        reasoner = TwoStage(model, model)
        question = reasoner.verdict_question(PICTURES[0], " It is sharp. ")
        assert question.picture is None
        inputs = model.read([question])
        assert model.image_token not in inputs["input_ids"]
        assert not any(key.startswith(("pixel", "image")) for key in inputs)
        family = FAMILIES[name]
        asked = family.plain.format(text=f"It is sharp.\n{Q_ALIGN.question}")
        assert model.write(question) == f"{asked}{family.gap}{Q_ALIGN.statement}"

    @every_family
    def test_the_same_description_of_another_picture_is_judged_the_same(self, name: str, vlm: Load) -> None:
        one, two = _reasoners(vlm(name))
        same = ["It is sharp."] * 2
        first, second = verdicts(two, PICTURES, same)
        assert first == pytest.approx(second, abs=1e-6)
        first, second = verdicts(one, PICTURES, same)
        assert abs(first - second).max() > 1e-3

    def test_the_judge_gives_the_verdict(self, vlm: Load) -> None:
        describer, judge = vlm("qwen3-vl"), vlm("llava-onevision")
        reasoner = TwoStage(describer, judge, most_tokens=6)
        told = reasoner.describe(PICTURES)
        asked = [Question(reasoner.question, picture) for picture in PICTURES]
        written = describer.go_on(asked, temperature=0, most_tokens=6)
        assert told == [[text.strip() for text in texts] for texts in written]
        expected = Q_ALIGN.probabilities(
            judge.next_token([judge_question(text) for (text,) in told]), judge.tokenizer
        )
        assert verdicts(reasoner, PICTURES, [text for (text,) in told]) == pytest.approx(expected, abs=1e-6)

    def test_other_words(self) -> None:
        question = judge_question("It is sharp.", Q_BENCH)
        assert question.text == f"It is sharp.\n{Q_BENCH.question}"
        assert question.so_far == Q_BENCH.statement


class TestOneStage:
    @every_family
    def test_the_verdict_follows_the_description_in_the_answer(self, name: str, vlm: Load) -> None:
        model, family = vlm(name), FAMILIES[name]
        reasoner = OneStage(model)
        question = reasoner.verdict_question(PICTURES[0], " It is sharp. ")
        asked = family.asked.format(text=reasoner.question)
        assert model.write(question) == f"{asked}{family.gap}It is sharp. {Q_ALIGN.statement}"

    def test_nothing_described_leaves_the_statement(self, vlm: Load) -> None:
        question = OneStage(vlm("qwen3-vl")).verdict_question(PICTURES[0], " ")
        assert question.so_far == Q_ALIGN.statement


class TestScores:
    @every_family
    def test_are_the_expected_value_of_the_verdict(self, name: str, vlm: Load) -> None:
        for reasoner in _reasoners(vlm(name)):
            told = ["It is sharp.", "It is blurry and dark."]
            shares = verdicts(reasoner, PICTURES, told)
            expected = [5 * a + 4 * b + 3 * c + 2 * d + e for a, b, c, d, e in shares]
            assert closed_set_scores(reasoner, PICTURES, told) == pytest.approx(expected, abs=1e-5)

    def test_straight_from_the_image(self, vlm: Load) -> None:
        model = vlm("idefics3")
        asked = [Question(Q_INSTRUCT.question, picture, Q_INSTRUCT.statement) for picture in PICTURES]
        shares = Q_INSTRUCT.probabilities(model.next_token(asked), model.tokenizer)
        scored = image_only_scores(model, PICTURES, Q_INSTRUCT)
        assert scored == pytest.approx(shares @ [5, 3, 1], abs=1e-5)

    def test_as_many_pictures_as_descriptions(self, vlm: Load) -> None:
        with pytest.raises(ValueError, match="zip"):
            verdicts(_reasoners(vlm("qwen3-vl"))[0], PICTURES, ["only one"])


class TestDraws:
    @pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
    def test_follow_the_sharpened_probabilities(self, temperature: float) -> None:
        probabilities = np.array([0.5, 0.3, 0.15, 0.05, 0.0])
        count = 40_000
        drawn = draw_levels(np.tile(probabilities, (count, 1)), temperature, seed=3)
        powered = probabilities ** (1 / temperature)
        expected = powered / powered.sum()
        assert np.bincount(drawn, minlength=5) / count == pytest.approx(expected, abs=0.0125)  # 5 deviations

    @given(st.integers(0, 2**32 - 1))
    def test_are_reproducible_and_at_0_the_likeliest(self, seed: int) -> None:
        probabilities = np.random.default_rng(seed).dirichlet(np.ones(5), 6)
        assert (draw_levels(probabilities, 1, seed) == draw_levels(probabilities, 1, seed)).all()
        assert (draw_levels(probabilities, 0, seed) == probabilities.argmax(axis=1)).all()

    def test_leave_the_global_generators_alone(self, vlm: Load) -> None:
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        answer(_reasoners(vlm("qwen3-vl"))[1], PICTURES[:1], samples=2, temperature=1.0)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
