"""Records of each stage: what they ask, what they answer, and what they must never hold."""

from __future__ import annotations

import re

import numpy as np
import pytest

from foveal.explanation.wordings import WORDINGS
from foveal.explanation.words import TOLD, degrees_of
from foveal.lab.reasoning.levels import Q_ALIGN
from foveal.lab.reasoning.reasoner import ASSESS, DESCRIBE
from foveal.lab.reasoning.rule import Rule, fit_rule
from foveal.lab.reasoning.stages import DescribedImages, Mixture, assessing, describing, judging

LEVEL_WORDS = re.compile(r"\b(excellent|good|fair|poor|bad)\b")
COUNT = 60
PICTURE = np.zeros((4, 4, 3), np.uint8)


@pytest.fixture
def images() -> DescribedImages:
    random = np.random.default_rng(5)
    degrees = [{name: int(random.integers(5)) for name in TOLD} for _ in range(COUNT)]
    return DescribedImages(
        degrees, [{}] * COUNT, random.uniform(1, 5, COUNT), lambda image: PICTURE + np.uint8(image)
    )


@pytest.fixture
def rule(images: DescribedImages) -> Rule:
    return fit_rule(images.degrees, images.mos)


def test_stage_1_describes_without_a_word_of_verdict(images: DescribedImages) -> None:
    records = describing(images, 0)(0)
    assert len(records) == COUNT
    for number, record in enumerate(records):
        assert record.question.text == DESCRIBE
        assert np.array_equal(record.question.picture, PICTURE + number)  # type: ignore[arg-type]
        assert degrees_of(record.answer) == images.degrees[number]
        assert not LEVEL_WORDS.search(record.answer)
        assert record.verdict is None


def test_epochs_differ_in_phrasing_and_seeds_repeat_them(images: DescribedImages) -> None:
    first, again, other = describing(images, 3), describing(images, 3), describing(images, 4)
    texts = [[record.answer for record in epoch] for epoch in (first(0), again(0), first(1), other(0))]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    assert texts[0] != texts[3]


def test_the_one_stage_answer_ends_in_the_level_of_the_rating(images: DescribedImages) -> None:
    for record, mos in zip(assessing(images, 0)(0), images.mos, strict=True):
        word = Q_ALIGN.words[int(Q_ALIGN.level_of(mos))]
        assert record.question.text == ASSESS
        assert record.question.picture is not None
        assert record.answer.endswith(f" The quality of the image is {word}.")
        assert record.verdict is not None
        assert Q_ALIGN.words[int(np.argmax(record.verdict))] == word


def test_the_control_learns_verdicts_of_the_rule_from_images(images: DescribedImages, rule: Rule) -> None:
    scores = rule.scores(images.degrees)
    records = assessing(images, 0, scores=scores, width=0.1)(0)
    for record, score in zip(records, scores, strict=True):
        assert record.question.picture is not None
        assert record.answer.endswith(f" {Q_ALIGN.words[int(Q_ALIGN.level_of(score))]}.")
        assert score == rule.score(degrees_of(record.answer))


def test_a_share_of_verdicts_is_asked_for_straight_from_the_image(images: DescribedImages) -> None:
    epoch = assessing(images, 0, direct=0.25)
    records = [record for number in range(20) for record in epoch(number)]
    direct = [record for record in records if record.question.text == Q_ALIGN.question]
    assert len(direct) / len(records) == pytest.approx(0.25, abs=0.05)
    for record in direct:
        assert record.question.picture is not None
        assert not degrees_of(record.answer)
        assert record.answer.startswith(Q_ALIGN.statement)


def test_stage_2_never_sees_a_picture_and_follows_the_rule(images: DescribedImages, rule: Rule) -> None:
    epoch = judging(images, 0, rule=rule, mixture=Mixture(0.5, 0.0, 0.5), width=0.0)
    for record in epoch(0):
        assert record.question.picture is None
        told = degrees_of(record.question.text)
        word = Q_ALIGN.words[int(Q_ALIGN.level_of(rule.score(told)))]
        assert record.answer == f" {word}"


def test_shares_of_the_mixture_are_kept(images: DescribedImages, rule: Rule) -> None:
    generated = [["Very hazy."]] * COUNT
    epoch = judging(images, 1, generated=generated, rule=rule, mixture=Mixture(0.3, 0.5, 0.2))
    texts = [record.question.text.splitlines()[0] for number in range(20) for record in epoch(number)]
    told = [degrees_of(text) for text in texts]
    assert np.mean([text == "Very hazy." for text in texts]) == pytest.approx(0.5, abs=0.06)
    assert np.mean([degrees in images.degrees for degrees in told]) == pytest.approx(0.3, abs=0.06)


def test_without_a_rule_stage_2_follows_the_ratings(images: DescribedImages) -> None:
    records = judging(images, 0, mixture=Mixture(1.0, 0.0, 0.0))(0)
    words = [Q_ALIGN.words[int(level)] for level in Q_ALIGN.level_of(images.mos)]
    assert [record.answer for record in records] == [f" {word}" for word in words]


def test_mixtures_that_cannot_be_made_are_refused(images: DescribedImages, rule: Rule) -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        Mixture(0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="generated descriptions, and there are none"):
        judging(images, 0, rule=rule)
    with pytest.raises(ValueError, match="need a rule"):
        judging(images, 0, mixture=Mixture(0.5, 0.0, 0.5))


def test_impressions_have_merit() -> None:
    assert all(WORDINGS[name].merit == 1 for name in ("rendering", "scene"))
