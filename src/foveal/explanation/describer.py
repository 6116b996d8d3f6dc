"""Stage 1: what is seen, in words. Nothing here knows of a verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foveal.explanation.decoder import Decoder
from foveal.explanation.file import Conversation
from foveal.explanation.tokens import Vocabulary


@dataclass(frozen=True)
class Description:
    """What the describer wrote.

    Attributes:
        text: the description.
        finished: whether it ended by itself; otherwise it reached its greatest length.
    """

    text: str
    finished: bool


class Describer:
    """Describes images by their tokens; the likeliest word always, so the same image gives the same text.

    Args:
        decoder: language model.
        vocabulary: its tokens.
        conversation: how it is asked.
    """

    def __init__(self, decoder: Decoder, vocabulary: Vocabulary, conversation: Conversation) -> None:
        self._decoder = decoder
        self._vocabulary = vocabulary
        self._conversation = conversation
        self._before = vocabulary.encode(conversation.before_image)
        self._behind = vocabulary.encode(conversation.behind_image)
        self._end = vocabulary.number(conversation.end)

    def describe(self, image: NDArray[np.float32]) -> Description:
        """Describe an image.

        Args:
            image: its tokens, float32 (places, width).

        Raises:
            ValueError: they are of another width.
        """
        words = self._decoder.embedding
        asked = np.concatenate([words[self._before], image, words[self._behind]])
        most = self._conversation.most_tokens
        cache = self._decoder.start(1, len(asked) + most)
        hidden = self._decoder.read(asked[None], cache)
        written: list[int] = []
        while len(written) < most:
            token = int(self._decoder.logits(hidden[0, -1]).argmax())
            if token == self._end:
                break
            written.append(token)
            hidden = self._decoder.read(words[None, [token]], cache)
        text = self._vocabulary.decode(written).split(self._conversation.statement, 1)[0].strip()
        return Description(text, finished=len(written) < most)
