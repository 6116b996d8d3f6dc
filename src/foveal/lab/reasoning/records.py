"""Training records: a question, the answer that is wanted, and perhaps how its verdict word is shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from foveal.lab.reasoning.levels import LevelSet
from foveal.lab.reasoning.question import Question
from foveal.lab.reasoning.vision_language import Inputs, VisionLanguageModel

IGNORED = -100
"""Label of tokens that are not learnt, as ``transformers`` has it."""


@dataclass(frozen=True, eq=False)
class Record:
    """One example.

    Attributes:
        question: with ``so_far`` empty, or as far as the answer is given and not learnt.
        answer: what the model should write after it; the end-of-text token is appended.
        verdict: weights of the level words at the place of the verdict, adding up to 1; None learns the word
            that stands in the answer, or there is none.
    """

    question: Question
    answer: str
    verdict: tuple[float, ...] | None = None


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """What a step learns from.

    Attributes:
        inputs: arguments of the forward pass, padded on the right.
        labels: int64 (records, length): the token itself where it is learnt, ``IGNORED`` elsewhere.
        places: int64 (soft records,) for each record with a shared verdict the position of its word; and
        rows: which records these are.
        weights: float32 (soft records, levels).
    """

    inputs: Inputs
    labels: Tensor
    rows: Tensor
    places: Tensor
    weights: Tensor


def make_batch(model: VisionLanguageModel, records: Sequence[Record], levels: LevelSet) -> TrainingBatch:
    """Read records for a training step.

    The tokens that are learnt are those in which the conversation with the answer differs from the one
    without: the answer and the end-of-text token. Questions and pictures are not learnt.

    Raises:
        ValueError: a verdict is shared, but its answer does not hold the statement that leads to it.
    """
    starts = [model.write(record.question) for record in records]
    end = model.tokenizer.eos_token
    texts = [model.write(record.question.answered(record.answer)) + end for record in records]
    inputs = model.read([record.question for record in records], side="right", texts=texts)
    labels = inputs["input_ids"].clone()
    lengths = inputs["attention_mask"].sum(dim=1).tolist()
    for row, length in enumerate(lengths):
        learnt = _answer_tokens(model.tokenizer, starts[row], texts[row])
        labels[row, : length - learnt] = IGNORED
        labels[row, length:] = IGNORED
    rows = [row for row, record in enumerate(records) if record.verdict is not None]
    words = torch.tensor(levels.tokens(model.tokenizer))
    places = []
    for row in rows:
        whole = records[row].question.so_far + records[row].answer
        if levels.statement not in whole:
            raise ValueError(f"the answer {whole!r} holds no {levels.statement!r}")
        places.append(int(torch.nonzero(torch.isin(labels[row].cpu(), words))[-1]))
    for row, place in zip(rows, places, strict=True):
        labels[row, place] = IGNORED
    return TrainingBatch(
        inputs,
        labels,
        torch.tensor(rows, dtype=torch.int64),
        torch.tensor(places, dtype=torch.int64),
        torch.tensor([records[row].verdict for row in rows], dtype=torch.float32).reshape(
            len(rows), len(levels.words)
        ),
    )


def _answer_tokens(tokenizer: Any, start: str, text: str) -> int:
    """How many tokens at the end of the text are not those of its start.

    Pictures, which become many tokens, stand in the start: at the end the count is the same with them.
    """
    asked, whole = tokenizer([start, text], add_special_tokens=False)["input_ids"]
    same = 0
    while same < min(len(asked), len(whole)) and asked[same] == whole[same]:
        same += 1
    return len(whole) - same
