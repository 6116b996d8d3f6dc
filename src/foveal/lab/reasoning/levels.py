"""Closed-set scoring: a quality from the probabilities of a few level words at the place of the verdict.

Conventions of the field, each a set of words, their values, and the statement that leads to them:

- ``q-align`` (Wu et al., ICML 2024, section 3.3): excellent, good, fair, poor, bad = 5 .. 1;
- ``q-bench`` (Wu et al., ICLR 2024, equation 1): good against poor;
- ``q-instruct`` (Wu et al., CVPR 2024): good, average, poor = 1, .5, 0.

All are mapped to 1-5 here, so that scores of one convention can be read beside those of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from foveal.assessment import HIGHEST, LOWEST
from foveal.errors import BackboneError
from foveal.lab.reasoning.question import Question
from foveal.lab.reasoning.vision_language import VisionLanguageModel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LevelSet:
    """Words of a verdict, from best to worst, and what they are worth.

    Attributes:
        words: at least two.
        values: on 1-5, falling.
        question: what asks for a verdict.
        statement: beginning of the answer; the word follows it.
    """

    words: tuple[str, ...]
    values: tuple[float, ...]
    question: str = "Rate the quality of the image."
    statement: str = "The quality of the image is"

    def __post_init__(self) -> None:
        if len(self.words) != len(self.values) or len(set(self.words)) < 2:
            raise ValueError(f"{self.words} and {self.values}: one value a word, two different words or more")
        if any(first <= second for first, second in zip(self.values, self.values[1:], strict=False)):
            raise ValueError(f"values {self.values} must fall: words are listed from best to worst")
        if not LOWEST <= self.values[-1] <= self.values[0] <= HIGHEST:
            raise ValueError(f"values {self.values} leave the scale from {LOWEST:g} to {HIGHEST:g}")

    def tokens(self, tokenizer: Any) -> tuple[int, ...]:
        """Number of each word's first token after the statement.

        Raises:
            BackboneError: two words begin with the same token, so that it does not tell them apart.
        """
        stem = tokenizer(self.statement, add_special_tokens=False)["input_ids"]
        firsts = []
        for word in self.words:
            whole = tokenizer(f"{self.statement} {word}", add_special_tokens=False)["input_ids"]
            same = 0
            while same < len(stem) and stem[same] == whole[same]:
                same += 1
            firsts.append(whole[same])
        if len(set(firsts)) < len(firsts):
            raise BackboneError(
                f"words {', '.join(self.words)} share a first token with this tokenizer; choose other words"
            )
        return tuple(firsts)

    def probabilities(self, logits: Tensor, tokenizer: Any) -> Floats:
        """Softmax over the words alone.

        Args:
            logits: (..., vocabulary) at the place of the word.
            tokenizer: the model's.

        Returns:
            float64 (..., words); each row adds up to 1.
        """
        chosen = logits[..., list(self.tokens(tokenizer))].double()
        return np.asarray(torch.softmax(chosen, dim=-1).cpu())

    def quality(self, probabilities: ArrayLike) -> Floats:
        """Expected value of the words, on 1-5: (..., words) -> (...)."""
        return np.asarray(np.asarray(probabilities, np.float64) @ np.asarray(self.values))

    def level_of(self, mos: ArrayLike) -> NDArray[np.int64]:
        """The word for each score by equal ranges of the scale, as a place in ``words`` (Q-Align, eq. 1).

        A score on the border of two ranges belongs to the lower one, as there.

        Args:
            mos: on 1-5.
        """
        share = (np.asarray(mos, np.float64) - LOWEST) / (HIGHEST - LOWEST)
        count = len(self.words)
        return np.asarray(count - np.clip(np.ceil(share * count), 1, count), np.int64)

    @property
    def middles(self) -> tuple[float, ...]:
        """Middle of the range of scores that each word stands for by :meth:`level_of`, from best to worst.

        What a word is worth to a model that learnt words by equal ranges: ``values`` are a convention of the
        field, by which an "excellent" is 5 though it stands for 4.2 to 5. Ranks are the same by both.
        """
        step = (HIGHEST - LOWEST) / len(self.words)
        return tuple(HIGHEST - step * (place + 0.5) for place in range(len(self.words)))

    def soft(self, mos: ArrayLike) -> Floats:
        """Weights of the words whose expected value is the score: its two neighbours share it linearly.

        The soft labels of DeQA-Score (You et al., CVPR 2025) without its variance, which few sets give.

        Args:
            mos: (n,) on 1-5; beyond the outermost values it is taken as these.

        Returns:
            float64 (n, words).
        """
        rising = np.asarray(self.values[::-1], np.float64)
        scores = np.clip(np.asarray(mos, np.float64), rising[0], rising[-1])
        upper = np.clip(np.searchsorted(rising, scores, side="right"), 1, len(rising) - 1)
        low, high = rising[upper - 1], rising[upper]
        share = (scores - low) / (high - low)
        weights = np.zeros((len(scores), len(rising)))
        rows = np.arange(len(scores))
        weights[rows, upper - 1] = 1 - share
        weights[rows, upper] = share
        return weights[:, ::-1].copy()


Q_ALIGN = LevelSet(("excellent", "good", "fair", "poor", "bad"), (5.0, 4.0, 3.0, 2.0, 1.0))
Q_BENCH = LevelSet(("good", "poor"), (5.0, 1.0), question="Rate the quality of the image. Think of its look.")
Q_INSTRUCT = LevelSet(("good", "average", "poor"), (5.0, 3.0, 1.0))
LEVELS: Mapping[str, LevelSet] = MappingProxyType(
    {"q-align": Q_ALIGN, "q-bench": Q_BENCH, "q-instruct": Q_INSTRUCT}
)
"""Conventions by name."""


def closed_set(
    model: VisionLanguageModel,
    questions: Sequence[Question],
    levels: LevelSet = Q_ALIGN,
    *,
    batch: int = 32,
) -> Floats:
    """Probabilities of the level words where the verdict stands.

    Args:
        model: any image-text-to-text model.
        questions: their answers so far end before the statement, which is appended here.
        levels: words and statement.
        batch: questions at a time.

    Returns:
        float64 (questions, words); :meth:`LevelSet.quality` makes scores of them.
    """
    asked = [question.answered(_spaced(question.so_far, levels.statement)) for question in questions]
    return levels.probabilities(model.next_token(asked, batch=batch), model.tokenizer)


def _spaced(before: str, text: str) -> str:
    return f" {text}" if before and not before.endswith((" ", "\n")) else text
