"""Tokens of image and description, and attention over them, against transformers' own attention maps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from planted import pictures_of, tiny_llava

from foveal.errors import BackboneError
from foveal.lab.reasoning.diagnosis.attention import (
    AttentionMean,
    add_attention,
    eager_attention,
    language_parts,
    last_attention,
)
from foveal.lab.reasoning.diagnosis.spans import Spans, find_spans
from foveal.lab.reasoning.question import Question
from foveal.lab.reasoning.reasoner import OneStage, Reasoner, TwoStage
from foveal.lab.reasoning.vision_language import VisionLanguageModel

FAMILIES = ["qwen3-vl", "smolvlm", "idefics3", "llava-onevision"]
TEXTS = [
    "The picture is sharp and bright, with vivid colours.",
    "The quality of the",  # begins as the statement behind it does
    "Describe the visual features of the image",  # as the question
    "xqz\u00fc\u732b 17; ;",  # pieces of letters
    " noise ",
]


def _reasoner(model: VisionLanguageModel, stages: int) -> Reasoner:
    return OneStage(model) if stages == 1 else TwoStage(model, model)


def _spans(reasoner: Reasoner, picture: Any, text: str) -> tuple[Spans, np.ndarray]:
    model, question = reasoner.judging, reasoner.verdict_question(picture, text)
    ids = model.read([question])["input_ids"][0].numpy()
    return find_spans(model, ids, question, reasoner.verdict_question(picture, ""), text), ids


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("family", ["small", *FAMILIES])
def test_tokens_of_image_and_description(
    family: str, stages: int, vlm: Callable[[str], VisionLanguageModel]
) -> None:
    model = tiny_llava() if family == "small" else vlm(family)
    reasoner = _reasoner(model, stages)
    picture = pictures_of(1)[0]
    for text in TEXTS:
        spans, ids = _spans(reasoner, picture, text)
        said = model.tokenizer.decode(ids[spans.description])
        # A token may hold a letter of its neighbours' as well, but no more than the space or break between.
        assert text.strip() in said
        assert len(said.strip()) <= len(text.strip()) + 1
        assert len(spans.image) == (ids == model.image_token).sum()
        assert (len(spans.image) > 0) == (stages == 1)
        assert not set(spans.image) & set(spans.description)
        assert sum(spans.counts) == len(ids)


def test_a_description_that_was_empty() -> None:
    spans, ids = _spans(OneStage(tiny_llava()), pictures_of(1)[0], "")
    assert spans.counts == (49, 0, len(ids) - 49)


def test_tokenizers_that_do_not_tell_places(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llava()
    picture = pictures_of(1)[0]
    expected, _ = _spans(OneStage(model), picture, "sharpness 3; noise 2;")
    monkeypatch.setattr(type(model.tokenizer), "is_fast", property(lambda self: False))
    found, _ = _spans(OneStage(model), picture, "sharpness 3; noise 2;")
    # By numbers alone, the space before it counts as its own where that is a token.
    assert set(expected.description) <= set(found.description)
    assert len(found.description) <= len(expected.description) + 1


def test_a_description_that_is_not_in_the_question_is_refused() -> None:
    reasoner = OneStage(tiny_llava())
    bare = reasoner.verdict_question(None, "")
    with pytest.raises(ValueError, match="does not hold the description 'noise'"):
        find_spans(reasoner.judging, [1, 2], bare, bare, "noise")


def test_shares_add_up() -> None:
    spans = Spans(np.array([1, 2]), np.array([4]), 6)
    weights = np.array([[0.1, 0.2, 0.3, 0.1, 0.1, 0.2], [0, 0, 0, 0, 0, 1]])
    assert spans.shares(weights) == pytest.approx(np.array([[0.5, 0.1, 0.4], [0, 0, 1]]))


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("family", ["small", *FAMILIES])
def test_attention_is_that_of_transformers(
    family: str, stages: int, vlm: Callable[[str], VisionLanguageModel]
) -> None:
    model = tiny_llava() if family == "small" else vlm(family)
    reasoner = _reasoner(model, stages)
    questions = [
        reasoner.verdict_question(picture, text)
        for picture, text in zip(pictures_of(3), ["noise", "sharp and bright colours", ""], strict=True)
    ]
    with eager_attention(model), torch.no_grad():
        found = [(weights, ids) for weights, ids in last_attention(model, questions)]
        for question, (weights, ids) in zip(questions, found, strict=True):
            inputs = model.read([question])
            maps = model.model(**inputs, output_attentions=True).attentions
            expected = torch.stack([layer[0, :, -1].mean(dim=0) for layer in maps]).numpy()
            assert weights == pytest.approx(expected, abs=1e-5)
            assert weights.sum(axis=1) == pytest.approx(1)
            assert ids.tolist() == inputs["input_ids"][0].tolist()


def test_the_implementation_is_set_back_and_nothing_stays_hooked() -> None:
    model = tiny_llava()
    decoder = language_parts(model).decoder
    before = decoder.config._attn_implementation
    hooks = [len(layer.self_attn._forward_hooks) for layer in decoder.layers]
    with pytest.raises(RuntimeError, match="inside"), eager_attention(model):  # noqa: PT012
        assert decoder.config._attn_implementation == "eager"
        raise RuntimeError("inside")
    assert decoder.config._attn_implementation == before != "eager"
    add_attention(AttentionMean(), OneStage(model), pictures_of(1), ["noise"])
    assert [len(layer.self_attn._forward_hooks) for layer in decoder.layers] == hooks
    with pytest.raises(BackboneError, match="does not give its attention"):
        list(last_attention(model, [Question("Rate it.")]))


def test_means_over_images_do_not_depend_on_batches() -> None:
    reasoner = OneStage(tiny_llava())
    pictures, texts = pictures_of(5), ["noise 3;", "", "sharpness 1; contrast 2;", "noise 0;", "warmth 4;"]
    found = []
    for batch in (1, 2, 5):
        mean = AttentionMean()
        add_attention(mean, reasoner, pictures[:3], texts[:3], batch=batch)
        add_attention(mean, reasoner, pictures[3:], texts[3:], batch=batch)
        found.append(mean.result())
    for other in found[1:]:
        assert other.shares == pytest.approx(found[0].shares, abs=1e-6)
        assert other.image_map == pytest.approx(found[0].image_map, abs=1e-6)
    whole = found[0]
    assert whole.shares.shape == (5, 2, 3)
    assert whole.shares.sum(axis=2) == pytest.approx(1)
    assert whole.image_map is not None
    assert whole.image_map.shape == (2, 7, 7)
    assert whole.image_map.sum(axis=(1, 2)) == pytest.approx(whole.shares[:, :, 0].mean(axis=0))
    assert (whole.top <= whole.shares[:, :, 0] + 1e-12).all()
    assert whole.tokens[1].tolist()[:2] == [49, 0]
    assert json.loads(json.dumps(whole.to_dict()))["questions"] == 5


def test_the_few_image_tokens_with_most() -> None:
    mean = AttentionMean()
    image = np.arange(1, 10) / 100
    mean.add(
        np.concatenate([image, [1 - image.sum()]])[None], Spans(np.arange(9), np.array([], np.int64), 10)
    )
    found = mean.result()
    assert found.top[0, 0] == pytest.approx(0.09 + 0.08 + 0.07 + 0.06 + 0.05)
    assert found.image_map == pytest.approx(image.reshape(1, 3, 3))


@pytest.mark.parametrize("counts", [(9, 4), (8, 8), (0, 0)])
def test_no_map_where_there_is_no_common_square(counts: tuple[int, int]) -> None:
    mean = AttentionMean()
    for count in counts:
        mean.add(np.full((1, 12), 1 / 12), Spans(np.arange(count), np.array([], np.int64), 12))
    assert mean.result().image_map is None


def test_nothing_was_read() -> None:
    with pytest.raises(ValueError, match="no question"):
        AttentionMean().result()
