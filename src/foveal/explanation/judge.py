"""Stage 2: a verdict from words alone. Nothing here can see an image.

Paper: "Building Reasonable Inference for Vision-Language Models in Blind Image Quality Assessment"
(arXiv 2512.09555): the second stage infers quality solely from what was described. The score is the expected
value of the level words (Wu et al., "Q-Align", ICML 2024, section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from foveal.explanation.decoder import Decoder
from foveal.explanation.file import Settings
from foveal.explanation.tokens import Vocabulary

Probabilities = NDArray[np.float64]

_MOST_TOKENS_AT_ONCE = 16384
"""Bounds memory: attention weights of one block take some hundred megabytes at this size at the very most."""


class Judge:
    """Judges descriptions: its only input is text, from which marks of images are removed.

    Args:
        decoder: language model.
        settings: its tokens, how it is asked, and the levels.

    Raises:
        ValueError: two level words begin with the same token, so that it does not tell them apart.
    """

    def __init__(self, decoder: Decoder, settings: Settings) -> None:
        self._decoder = decoder
        self._vocabulary: Vocabulary = settings.vocabulary
        self._conversation = settings.conversation
        self._levels = [self._vocabulary.encode(f" {word}")[0] for word in settings.levels]
        if len(set(self._levels)) < len(self._levels):
            raise ValueError(f"levels {', '.join(settings.levels)} share a first token; choose other words")

    def judge(self, descriptions: Sequence[str]) -> Probabilities:
        """Level probabilities of each description: float64 (descriptions, levels); rows add up to 1.

        Args:
            descriptions: texts. What is said of one does not depend on the others, but for rounding.
        """
        asked = [self._asked(text) for text in descriptions]
        longest = max(map(len, asked), default=1)
        step = max(1, _MOST_TOKENS_AT_ONCE // longest)
        parts = [np.empty((0, len(self._levels)))]
        parts += [self._judge(asked[start : start + step]) for start in range(0, len(asked), step)]
        return np.concatenate(parts)

    def _asked(self, description: str) -> list[int]:
        conversation = self._conversation
        text = f"{description.strip()}{conversation.behind_text}".replace(conversation.image, "")
        return self._vocabulary.encode(conversation.before_text + text)

    def _judge(self, asked: list[list[int]]) -> Probabilities:
        ends = np.array([len(tokens) - 1 for tokens in asked])
        # Padding stands behind the end, where nothing that counts can see it.
        padded = np.zeros((len(asked), int(ends.max()) + 1), np.int64)
        for row, tokens in zip(padded, asked, strict=True):
            row[: len(tokens)] = tokens
        hidden = self._decoder.read(self._decoder.embedding[padded], self._decoder.start(*padded.shape))
        logits = self._decoder.logits(hidden[np.arange(len(asked)), ends])[:, self._levels].astype(np.float64)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))
