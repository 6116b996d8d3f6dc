"""Explanations end to end, by an explainer of which every weight is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import foveal
from constructed_explainer import BRIGHT, DARK, LEVELS, constructed_explainer
from foveal.assessor import Assessor
from foveal.attributes import measure
from foveal.errors import CorruptArtifactError, ImageNotFoundError
from foveal.explanation.explainer import MOVED, Explainer, other_degrees
from foveal.explanation.explanation import Explanation
from foveal.explanation.file import ExplainerModel
from foveal.explanation.words import edited, statements, write

Picture = NDArray[np.uint8]


def bright(photo: Picture) -> Picture:
    return (photo // 2 + 127).astype(np.uint8)


def dark(photo: Picture) -> Picture:
    return (photo // 3).astype(np.uint8)


@pytest.fixture(scope="module")
def picture(make_photo: Callable[..., Picture]) -> Picture:
    return bright(make_photo(200, 260))


@pytest.fixture(scope="module")
def explanation(explainer: Explainer, picture: Picture) -> Explanation:
    """Of a bright picture."""
    return explainer(picture, name="näme.jpg")


def test_score_and_interval_are_the_assessors(
    explanation: Explanation, tiny_assessor: Assessor, picture: Picture
) -> None:
    assessment = tiny_assessor(picture)
    assert (explanation.quality, explanation.interval) == (assessment.quality, assessment.interval)
    assert (explanation.source, explanation.assessment.model) == ("näme.jpg", "tiny@0.0.1")


def test_description_statements_and_readings(explanation: Explanation, picture: Picture) -> None:
    assert explanation.description == BRIGHT
    assert [one.attribute for one in explanation.seen] == [one.attribute for one in statements(BRIGHT)]
    readings = measure(picture)
    for one in explanation.seen:
        if one.attribute in ("rendering", "scene"):
            assert one.measured is None
            assert not one.differs
        else:
            reading = readings[one.attribute]
            assert one.measured is not None
            assert (one.measured.degree, one.measured.value) == (reading.degree, reading.value)
            assert one.differs == (abs(one.said.degree - reading.degree) >= 2)
    sharpness = next(one for one in explanation.seen if one.attribute == "sharpness")
    assert (sharpness.said.phrase, sharpness.said.degree, sharpness.said.place) == (
        "very sharp",
        4,
        "strongest in the centre",
    )


def test_the_verdict_depends_on_the_words_alone(
    explainer: Explainer, make_photo: Callable[..., Picture]
) -> None:
    first, second = (explainer(bright(make_photo(100, 160, seed))) for seed in (1, 2))
    assert first.description == second.description
    assert first.verdict == second.verdict
    assert first.quality != second.quality
    # and the same model, given another description of the very same image, judges otherwise
    model = constructed_explainer((DARK, DARK))
    other = Explainer(model, explainer._assessor)(bright(make_photo(100, 160, 1)))
    assert other.verdict.quality < first.verdict.quality - 1


def test_the_verdict_is_the_expected_level(explainer: Explainer, photo: Picture) -> None:
    verdict = explainer(dark(photo)).verdict
    assert list(verdict.probabilities) == list(LEVELS)
    assert sum(verdict.probabilities.values()) == pytest.approx(1)
    assert verdict.quality == pytest.approx(
        sum(LEVELS[word] * p for word, p in verdict.probabilities.items())
    )
    assert (verdict.level, verdict.value) == ("bad", 1.0)


def test_what_if_is_the_verdict_of_the_edited_description(
    explainer: Explainer, explanation: Explanation
) -> None:
    for one in explanation.seen:
        statement = next(s for s in statements(BRIGHT) if s.attribute == one.attribute)
        assert [change.degree for change in one.what_if] == list(other_degrees(statement))
        texts = [edited(BRIGHT, one.attribute, change.degree) for change in one.what_if]
        for change, row in zip(one.what_if, explainer._judge.judge(texts), strict=True):
            quality = float(row @ np.array(list(LEVELS.values())))
            assert change.quality == pytest.approx(quality, abs=1e-5)
            assert change.change == pytest.approx(quality - explanation.verdict.quality, abs=1e-5)
            assert list(LEVELS)[int(row.argmax())] == change.level


def test_what_moves_most_is_named_in_both_directions(explanation: Explanation) -> None:
    changes = [change for one in explanation.seen for change in one.what_if]
    assert explanation.up is not None
    assert explanation.down is not None
    assert explanation.up.change == max(change.change for change in changes) > MOVED
    assert explanation.down.change == min(change.change for change in changes) < -MOVED
    # by the judge's own weights: a stunning scene counts as good, a blurry one as bad
    assert (explanation.up.attribute, explanation.up.phrase) == ("scene", "a stunning scene")
    assert (explanation.down.attribute, explanation.down.phrase) == ("sharpness", "very blurry")


def test_degrees_that_could_be_said_instead() -> None:
    told = {one.attribute: one for one in statements(write({"sharpness": 4, "noise": 2, "brightness": 1}))}
    assert other_degrees(told["sharpness"]) == (0,)
    assert other_degrees(told["noise"]) == (0, 4)
    assert other_degrees(told["brightness"]) == (0, 2, 3, 4)


def test_nothing_known_is_said_to_be_so(tiny_assessor: Assessor, photo: Picture) -> None:
    explanation = Explainer(constructed_explainer(("Hm.", "Hm.")), tiny_assessor)(photo)
    assert (explanation.seen, explanation.up, explanation.down) == ((), None, None)
    assert "the description tells of nothing that is known" in explanation.warnings


def test_a_description_that_was_cut_is_said_to_be(
    explainer_model: ExplainerModel, tiny_assessor: Assessor, photo: Picture
) -> None:
    settings = explainer_model.settings
    short = replace(settings, conversation=replace(settings.conversation, most_tokens=1))
    explanation = Explainer(replace(explainer_model, settings=short), tiny_assessor)(photo)
    assert "the description was cut off at its greatest length" in explanation.warnings


def test_the_same_image_is_explained_alike_everywhere(
    explainer: Explainer, make_photo: Callable[..., Picture]
) -> None:
    pictures = [make_photo(120 + 30 * seed, 200, seed) for seed in range(2)]
    alone = [json.dumps(explainer(picture).to_dict()) for picture in pictures]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda picture: json.dumps(explainer(picture).to_dict()), pictures * 2))
    assert together == alone * 2


def test_json_holds_all_and_reads_back(explanation: Explanation) -> None:
    told = json.loads(json.dumps(explanation.to_dict(), allow_nan=False))
    assert told["source"] == "näme.jpg"
    assert told["interval"] == [explanation.interval.low, explanation.interval.high]
    assert told["verdict"]["probabilities"] == dict(explanation.verdict.probabilities)
    assert np.shape(told["map"]) == (7, 7)
    assert told["model"] == "constructed@1"
    assert [one["attribute"] for one in told["attributes"]] == [one.attribute for one in explanation.seen]
    for one, own in zip(told["attributes"], explanation.seen, strict=True):
        assert ("value" in one["said"], one["measured"] is None) == (False, own.measured is None)


def test_images_that_cannot_be_read_are_named(explainer: Explainer) -> None:
    with pytest.raises(ImageNotFoundError, match=r"nowhere\.jpg: there is no such file"):
        explainer("nowhere.jpg")
    with pytest.raises(foveal.ImageError, match="shown: has no bytes"):
        explainer(b"", name="shown")


def test_warnings_of_the_image_come_along(explainer: Explainer, make_photo: Callable[..., Picture]) -> None:
    explanation: Explanation = explainer(make_photo(20, 400))
    assert any("narrow strip" in warning for warning in explanation.warnings)


def test_parts_that_do_not_fit_are_refused(explainer_model: ExplainerModel, tiny_assessor: Assessor) -> None:
    settings = replace(explainer_model.settings, levels={"quite good": 5.0, "quite bad": 1.0})
    with pytest.raises(CorruptArtifactError, match="constructed@1: levels quite good, quite bad share"):
        Explainer(replace(explainer_model, settings=settings), tiny_assessor)
    narrow = constructed_explainer((DARK, DARK))
    mixed = Explainer(replace(explainer_model, eyes=narrow.eyes), tiny_assessor)
    with pytest.raises(
        CorruptArtifactError, match="its eyes give 320 features a token, its describer reads 322"
    ):
        mixed(np.zeros((50, 50, 3), np.uint8))
