"""Logit lens: which word would stand there if the model stopped after each layer.

Nostalgebraist, "interpreting GPT: the logit lens" (2020); Figure 3 of the two-stage paper (arXiv 2512.09555)
shows the four likeliest candidates by layer, such as "poor" at layer 30 of 32 and "good" at the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.errors import BackboneError
from foveal.lab.reasoning.levels import Floats, LevelSet
from foveal.lab.reasoning.question import Question
from foveal.lab.reasoning.vision_language import VisionLanguageModel

_NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f")
_TOLERANCE = 0.02  # of the largest logit: half precision rounds


@dataclass(frozen=True, eq=False)
class LanguageParts:
    """The language model inside a vision-language model.

    Attributes:
        decoder: blocks and final norm, a model of ``transformers``.
        norm: final norm.
        head: from features to logits.
    """

    decoder: Any
    norm: Any
    head: Any

    @property
    def layers(self) -> int:
        """How many blocks there are."""
        return len(self.decoder.layers)


@dataclass(frozen=True, eq=False)
class LensReading:
    """What each layer would say at the place of the verdict. The last layer is the model's own output.

    Attributes:
        closed: float64 (questions, layers, levels), probabilities of the level words alone.
        tokens: int64 (questions, layers, top), the likeliest of all tokens, likeliest first.
        probabilities: float64 (questions, layers, top), theirs among all tokens.
    """

    closed: Floats
    tokens: NDArray[np.int64]
    probabilities: Floats

    @property
    def levels(self) -> NDArray[np.int64]:
        """int64 (questions, layers): place of the likeliest level word."""
        return np.asarray(self.closed.argmax(axis=2), np.int64)

    @property
    def agreement(self) -> Floats:
        """float64 (layers,): share of questions whose likeliest level is that of the output already."""
        levels = self.levels
        return np.asarray((levels == levels[:, -1:]).mean(axis=0), np.float64)

    @classmethod
    def joined(cls, parts: Sequence[LensReading]) -> LensReading:
        """Readings of several batches as one."""
        return cls(
            np.concatenate([part.closed for part in parts]),
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([part.probabilities for part in parts]),
        )


def language_parts(model: VisionLanguageModel) -> LanguageParts:
    """Find the language model, also below adapters of PEFT.

    Raises:
        BackboneError: it has no blocks, final norm or head under a name known here.
    """
    core = model.model.get_base_model() if hasattr(model.model, "get_base_model") else model.model
    decoder, head = core.get_decoder(), core.get_output_embeddings()
    norm = next((getattr(decoder, name) for name in _NORMS if hasattr(decoder, name)), None)
    if norm is None or head is None or not hasattr(decoder, "layers"):
        raise BackboneError(
            f"{model.name}: no blocks, final norm ({', '.join(_NORMS)}) or head were found in "
            f"{type(decoder).__name__}, which the logit lens needs"
        )
    return LanguageParts(decoder, norm, head)


@torch.no_grad()
def read_lens(
    model: VisionLanguageModel,
    questions: Sequence[Question],
    levels: LevelSet,
    *,
    top: int = 4,
    batch: int = 8,
) -> LensReading:
    """Read every layer at the last token of each question, where the verdict comes next.

    Features behind block l < L go through final norm and head; those behind the last block have been through
    the norm already, and give the model's own logits.

    Args:
        model: any image-text-to-text model.
        questions: up to the verdict, the statement included.
        levels: words of the verdict.
        top: candidates a layer.
        batch: questions at a time; features of all their tokens and layers are held at once.

    Raises:
        BackboneError: the parts are not found, or the model does more to its logits than its head, so that
            layers could not be compared with the output.
        ValueError: no questions.
    """
    if not questions:
        raise ValueError("a lens needs at least one question")
    parts = language_parts(model)
    readings = []
    for start in range(0, len(questions), batch):
        logits = _logits(model, parts, questions[start : start + batch])
        likeliest = torch.softmax(logits.double(), dim=-1).topk(top, dim=-1)
        closed = levels.probabilities(logits, model.tokenizer)
        readings.append(LensReading(closed, likeliest.indices.cpu().numpy(), likeliest.values.cpu().numpy()))
    return LensReading.joined(readings)


def _logits(model: VisionLanguageModel, parts: LanguageParts, questions: Sequence[Question]) -> Tensor:
    """float32 (questions, layers, vocabulary)."""
    inputs = model.read(questions)
    given = model.model(**inputs, output_hidden_states=True, use_cache=False, logits_to_keep=1)
    last = torch.stack([hidden[:, -1] for hidden in given.hidden_states[1:]], dim=1)
    logits = parts.head(torch.cat([parts.norm(last[:, :-1]), last[:, -1:]], dim=1)).float()
    own = given.logits[:, -1].float()
    if (logits[:, -1] - own).abs().max() > _TOLERANCE * own.abs().max():
        raise BackboneError(
            f"{model.name}: its head on its last features does not give its logits, so a lens would not show "
            "what it thinks"
        )
    return torch.cat([logits[:, :-1], own[:, None]], dim=1)
