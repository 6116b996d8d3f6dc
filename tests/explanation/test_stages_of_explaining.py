"""Describer, judge and eyes on their own."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest

from constructed_explainer import BRIGHT, CONVERSATION, DARK, LEVELS, constructed_explainer
from foveal.errors import ArtifactError, CorruptArtifactError, FovealError
from foveal.explanation.decoder import Decoder
from foveal.explanation.describer import Describer
from foveal.explanation.eyes import Eyes
from foveal.explanation.file import ExplainerModel
from foveal.explanation.judge import Judge


def make_judge(model: ExplainerModel) -> Judge:
    return Judge(Decoder(model.judge, model.settings.judge), model.settings)


def make_describer(model: ExplainerModel, **changes: object) -> Describer:
    conversation = replace(model.settings.conversation, **changes)  # type: ignore[arg-type]
    return Describer(
        Decoder(model.describer, model.settings.describer), model.settings.vocabulary, conversation
    )


def seen(model: ExplainerModel, level: int) -> tuple[np.ndarray, np.ndarray]:
    return Eyes(model.eyes, "constructed", callers=1).look(np.full((90, 120, 3), level, np.uint8))


def test_eyes_see_what_they_are_made_to_see(explainer_model: ExplainerModel) -> None:
    for level in (0, 51, 255):
        tokens, quality_map = seen(explainer_model, level)
        assert tokens.shape == (49, len(explainer_model.describer["norm"]))
        np.testing.assert_allclose(quality_map, np.full((7, 7), 1 + 4 * level / 255), rtol=1e-5)


def test_the_describer_says_what_its_image_shows(explainer_model: ExplainerModel) -> None:
    describer = make_describer(explainer_model)
    for level, text in ((20, DARK), (240, BRIGHT)):
        told = describer.describe(seen(explainer_model, level)[0])
        assert (told.text, told.finished) == (text, True)


def test_a_description_without_end_is_cut_and_said_to_be(explainer_model: ExplainerModel) -> None:
    told = make_describer(explainer_model, most_tokens=1).describe(seen(explainer_model, 240)[0])
    assert (told.text, told.finished) == (BRIGHT, False)


def test_a_description_ends_before_a_verdict() -> None:
    text = f"Very sharp. {CONVERSATION.statement} good."
    model = constructed_explainer((text, DARK))
    assert make_describer(model).describe(seen(model, 240)[0]).text == "Very sharp."


def test_the_judge_reads_words_alone(explainer_model: ExplainerModel) -> None:
    # By construction: there is no way in for an image.
    assert list(inspect.signature(Judge.judge).parameters) == ["self", "descriptions"]
    judge = make_judge(explainer_model)
    bright, marked, dark = judge.judge([BRIGHT, BRIGHT.replace(" a", "<image> a"), DARK])
    np.testing.assert_allclose(bright, marked, atol=1e-6)
    assert bright.argmax() == 0
    assert dark.argmax() == len(LEVELS) - 1


def test_probabilities_are_those_of_each_text_alone(explainer_model: ExplainerModel) -> None:
    judge = make_judge(explainer_model)
    texts = [BRIGHT, DARK, "", "Sharp.", BRIGHT + " " + DARK]
    together = judge.judge(texts)
    assert together.dtype == np.float64
    np.testing.assert_allclose(together.sum(axis=1), 1)
    np.testing.assert_allclose(together, np.concatenate([judge.judge([text]) for text in texts]), atol=1e-5)
    assert judge.judge([]).shape == (0, len(LEVELS))


def test_many_texts_are_judged_in_parts(
    explainer_model: ExplainerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = make_judge(explainer_model)
    whole = judge.judge([BRIGHT, DARK, BRIGHT])
    monkeypatch.setattr("foveal.explanation.judge._MOST_TOKENS_AT_ONCE", 1)
    np.testing.assert_allclose(judge.judge([BRIGHT, DARK, BRIGHT]), whole, atol=1e-6)


def test_levels_that_begin_alike_are_refused(explainer_model: ExplainerModel) -> None:
    settings = replace(explainer_model.settings, levels={"quite good": 5.0, "quite bad": 1.0})
    with pytest.raises(ValueError, match="quite good, quite bad share a first token"):
        Judge(Decoder(explainer_model.judge, settings.judge), settings)


def test_broken_eyes_are_named(explainer_model: ExplainerModel, tiny_artifact: object) -> None:
    with pytest.raises(ArtifactError, match="shop: OpenVINO cannot run its eyes"):
        Eyes(b"no graph", "shop")
    graph = tiny_artifact.model_bytes()  # type: ignore[attr-defined]
    with pytest.raises(CorruptArtifactError, match="do not take whole and fragments and give tokens and map"):
        Eyes(graph, "shop")


def test_eyes_that_give_no_numbers_are_refused() -> None:
    import onnx
    from onnx import numpy_helper

    proto = onnx.load_from_string(constructed_explainer().eyes)
    for initializer in proto.graph.initializer:
        if initializer.name == "four":
            initializer.CopyFrom(numpy_helper.from_array(np.array(np.inf, np.float32), "four"))
    with pytest.raises(FovealError, match="shop: its eyes give no finite numbers"):
        Eyes(proto.SerializeToString(), "shop").look(np.full((50, 50, 3), 99, np.uint8))
