"""The logit lens: its last layer is the output, its others are norm and head of that layer's features."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from planted import pictures_of, tiny_llava

from foveal.errors import BackboneError
from foveal.lab.reasoning.diagnosis.lens import LensReading, language_parts, read_lens
from foveal.lab.reasoning.levels import Q_ALIGN, Q_BENCH
from foveal.lab.reasoning.question import Question
from foveal.lab.reasoning.reasoner import OneStage
from foveal.lab.reasoning.vision_language import VisionLanguageModel

FAMILIES = ["qwen3-vl", "smolvlm", "idefics3", "llava-onevision"]


def _questions(model: VisionLanguageModel) -> list[Question]:
    texts = ["noise 3;", "sharpness 4; contrast 1; noise 0;", ""]
    return [
        OneStage(model).verdict_question(picture, text)
        for picture, text in zip(pictures_of(3), texts, strict=True)
    ]


def _check_ends(model: VisionLanguageModel) -> LensReading:
    questions = _questions(model)
    found = read_lens(model, questions, Q_ALIGN, batch=2)
    logits = torch.cat([model.next_token([question]) for question in questions]).double()
    assert found.closed.shape[1] == language_parts(model).layers
    assert found.closed[:, -1] == pytest.approx(Q_ALIGN.probabilities(logits, model.tokenizer), abs=1e-4)
    chances = torch.softmax(logits, dim=-1)
    assert found.probabilities[:, -1] == pytest.approx(chances.topk(4).values.numpy(), abs=1e-4)
    assert found.tokens[:, -1, 0].tolist() == chances.argmax(dim=-1).tolist()
    assert found.closed.sum(axis=2) == pytest.approx(1)
    assert (np.diff(found.probabilities, axis=2) <= 0).all()
    return found


def test_the_last_layer_is_the_output() -> None:
    found = _check_ends(tiny_llava(3))
    assert found.agreement[-1] == 1
    # Features are normed once: twice would differ, as the norm's weights are not 1.
    assert not np.allclose(found.closed[:, 0], found.closed[:, -1], atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_layer_is_the_output_in_every_family(
    family: str, vlm: Callable[[str], VisionLanguageModel]
) -> None:
    _check_ends(vlm(family))


def test_other_layers_are_norm_and_head_of_their_features() -> None:
    model = tiny_llava(3)
    question = _questions(model)[1]
    parts = language_parts(model)
    features: list[torch.Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        features.append(output if isinstance(output, torch.Tensor) else output[0])

    hooks = [layer.register_forward_hook(keep) for layer in parts.decoder.layers]
    model.next_token([question])
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        logits = torch.stack([parts.head(parts.norm(part[0, -1])) for part in features])
    found = read_lens(model, [question], Q_BENCH, top=2)
    assert found.closed[0] == pytest.approx(Q_BENCH.probabilities(logits, model.tokenizer), abs=1e-5)
    assert found.tokens[0].tolist() == logits.topk(2).indices.tolist()


def test_batches_change_nothing() -> None:
    model = tiny_llava(3)
    questions = _questions(model)
    whole, single = (read_lens(model, questions, Q_ALIGN, batch=batch) for batch in (3, 1))
    assert whole.closed == pytest.approx(single.closed, abs=1e-5)
    assert whole.tokens.tolist() == single.tokens.tolist()


def test_adapters_are_seen_through() -> None:
    peft = pytest.importorskip("peft")
    model = copy.deepcopy(tiny_llava(2).model)
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], r=2, init_lora_weights=False)
    adapted = VisionLanguageModel(peft.get_peft_model(model, config), tiny_llava(2).processor)
    found = _check_ends(adapted)
    plain = read_lens(tiny_llava(2), _questions(adapted), Q_ALIGN)
    assert not np.allclose(found.closed, plain.closed, atol=1e-4)


def test_agreement_counts_levels() -> None:
    closed = np.eye(5)[np.array([[0, 1, 1], [2, 2, 2], [4, 3, 2], [0, 0, 1]])]
    empty = np.zeros((4, 3, 1))
    found = LensReading(closed, empty.astype(np.int64), empty)
    assert found.levels.tolist() == [[0, 1, 1], [2, 2, 2], [4, 3, 2], [0, 0, 1]]
    assert found.agreement.tolist() == [0.25, 0.5, 1.0]
    joined = LensReading.joined([found, found])
    assert joined.closed.shape == (8, 3, 5)


def test_models_that_change_their_logits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = VisionLanguageModel(copy.deepcopy(tiny_llava(2).model), tiny_llava(2).processor)
    head = language_parts(model).head
    model.model.lm_head = torch.nn.Sequential(head, torch.nn.Tanh())
    monkeypatch.setattr(model.model, "get_output_embeddings", lambda: head)
    with pytest.raises(BackboneError, match="head on its last features does not give its logits"):
        read_lens(model, _questions(model), Q_ALIGN)


def test_models_without_known_parts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llava(2)
    monkeypatch.setattr(model.model, "get_decoder", lambda: torch.nn.Linear(2, 2))
    with pytest.raises(BackboneError, match="no blocks, final norm"):
        language_parts(model)
    with pytest.raises(ValueError, match="at least one question"):
        read_lens(model, [], Q_ALIGN)
