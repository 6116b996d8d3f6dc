"""What the verdict looks at: attention of its token over the image, the description and the rest.

Figure 5 of the two-stage paper (arXiv 2512.09555) averages it over 720 images: the one-stage model looks at a
few image tokens, the two-stage one at the description.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.errors import BackboneError
from foveal.lab.reasoning.diagnosis.lens import language_parts
from foveal.lab.reasoning.diagnosis.spans import KINDS, Spans, find_spans
from foveal.lab.reasoning.levels import Floats
from foveal.lab.reasoning.question import Picture, Question
from foveal.lab.reasoning.reasoner import Reasoner
from foveal.lab.reasoning.vision_language import VisionLanguageModel

TOP = 5
"""How many image tokens count as a few."""


@dataclass(frozen=True, eq=False)
class Attention:
    """Attention of the place whose next token is the verdict, averaged over heads.

    Attributes:
        shares: float64 (questions, layers, 3), over image, description and rest; each adds up to 1.
        top: float64 (questions, layers), share of all attention held by the five image tokens with most.
        tokens: int64 (questions, 3), how many tokens there are of each kind.
        image_map: float64 (layers, side, side), mean over questions, where all have the same square number of
            image tokens; adds up to the mean share of the image. None otherwise.
    """

    shares: Floats
    top: Floats
    tokens: NDArray[np.int64]
    image_map: Floats | None

    def to_dict(self) -> dict[str, Any]:
        """Means over questions, layer by layer."""
        return {
            "questions": len(self.shares),
            "kinds": list(KINDS),
            "shares_by_layer": self.shares.mean(axis=0).tolist(),
            f"top_{TOP}_image_tokens_by_layer": self.top.mean(axis=0).tolist(),
            "mean_tokens": self.tokens.mean(axis=0).tolist(),
            "image_map": None if self.image_map is None else self.image_map.tolist(),
        }


class AttentionMean:
    """Takes up attention batch by batch; keeps three numbers a layer and question, and one mean map."""

    def __init__(self) -> None:
        self._shares: list[Floats] = []
        self._top: list[Floats] = []
        self._tokens: list[tuple[int, int, int]] = []
        self._map: Floats | None = None
        self._same = True

    def add(self, weights: Floats, spans: Spans) -> None:
        """Take up one question.

        Args:
            weights: float64 (layers, length), of the last token, without padding.
            spans: its tokens.
        """
        self._shares.append(spans.shares(weights))
        self._tokens.append(spans.counts)
        image = weights[:, spans.image]
        few = np.sort(image, axis=1)[:, ::-1][:, :TOP]
        self._top.append(few.sum(axis=1))
        if self._map is not None and self._map.shape != image.shape:
            self._same = False
        elif self._same:
            self._map = image if self._map is None else self._map + image

    def result(self) -> Attention:
        """What has been taken up.

        Raises:
            ValueError: nothing has.
        """
        if not self._shares:
            raise ValueError("no question was read")
        return Attention(
            np.stack(self._shares), np.stack(self._top), np.array(self._tokens, np.int64), self._square()
        )

    def _square(self) -> Floats | None:
        if self._map is None or not self._same:
            return None
        layers, places = self._map.shape
        side = math.isqrt(places)
        if places == 0 or side * side != places:
            return None
        return (self._map / len(self._shares)).reshape(layers, side, side)


def add_attention(
    into: AttentionMean,
    reasoner: Reasoner,
    pictures: Sequence[Picture],
    descriptions: Sequence[str],
    *,
    batch: int = 8,
) -> None:
    """Read what the verdicts of some descriptions look at.

    Args:
        into: takes it up; call again with further pictures.
        reasoner: one-stage or two-stage.
        pictures: one a description.
        descriptions: what was said of them.
        batch: questions at a time; one layer's attention of all their tokens is held at once.

    Raises:
        BackboneError: the model does not give its attention.
    """
    model = reasoner.judging
    told = list(zip(pictures, descriptions, strict=True))
    with eager_attention(model):
        for start in range(0, len(told), batch):
            part = told[start : start + batch]
            questions = [reasoner.verdict_question(picture, text) for picture, text in part]
            bare = [reasoner.verdict_question(picture, "") for picture, _ in part]
            for row, (weights, ids) in enumerate(last_attention(model, questions)):
                spans = find_spans(model, ids, questions[row], bare[row], part[row][1])
                into.add(weights, spans)


@contextmanager
def eager_attention(model: VisionLanguageModel) -> Iterator[None]:
    """Let the language model compute attention step by step, as other implementations keep no weights.

    The vision tower is left alone, and what was set before is set again at the end.
    """
    decoder = language_parts(model).decoder
    before = decoder.config._attn_implementation
    decoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)


@torch.no_grad()
def last_attention(
    model: VisionLanguageModel, questions: Sequence[Question]
) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
    """Attention of the last token of each question, averaged over heads; within :func:`eager_attention`.

    Of each layer only that one row is kept, so that memory does not grow with depth.

    Yields:
        float64 (layers, length) and the int64 (length,) numbers of the tokens, padding left out.

    Raises:
        BackboneError: a layer does not give its attention.
    """
    layers = language_parts(model).decoder.layers
    kept: list[NDArray[Any]] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if weights is not None:
            kept.append(weights[:, :, -1].float().mean(dim=1).cpu().numpy())

    hooks = [layer.self_attn.register_forward_hook(keep) for layer in layers if hasattr(layer, "self_attn")]
    inputs = model.read(questions)
    try:
        model.model(**inputs, use_cache=False, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    if not hooks or len(kept) != len(hooks):
        raise BackboneError(f"{model.name}: its language model does not give its attention")
    weights = np.stack(kept, axis=1).astype(np.float64)
    mask = inputs["attention_mask"].bool().cpu().numpy()
    ids = inputs["input_ids"].cpu().numpy()
    for row in range(len(questions)):
        yield weights[row][:, mask[row]], ids[row][mask[row]]
