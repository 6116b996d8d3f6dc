"""Where a question's image tokens and the tokens of its description lie among all that the model reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.lab.reasoning.question import Question
from foveal.lab.reasoning.vision_language import VisionLanguageModel

Positions = NDArray[np.int64]
KINDS = ("image", "description", "rest")
"""What tokens are told apart into."""


@dataclass(frozen=True, eq=False)
class Spans:
    """Positions of two kinds of tokens; all others are the rest.

    Attributes:
        image: int64, rising; empty where there is no picture.
        description: int64, rising; empty where nothing was described.
        length: how many tokens there are in all.
    """

    image: Positions
    description: Positions
    length: int

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many tokens there are of each of :data:`KINDS`."""
        image, description = len(self.image), len(self.description)
        return image, description, self.length - image - description

    def shares(self, weights: NDArray[Any]) -> NDArray[np.float64]:
        """Sum weights over each kind.

        Args:
            weights: (..., length).

        Returns:
            float64 (..., 3), in the order of :data:`KINDS`; adds up to the sum of the weights.
        """
        weights = np.asarray(weights, np.float64)
        image = weights[..., self.image].sum(axis=-1)
        description = weights[..., self.description].sum(axis=-1)
        return np.stack([image, description, weights.sum(axis=-1) - image - description], axis=-1)


def find_spans(
    model: VisionLanguageModel, ids: ArrayLike, question: Question, bare: Question, description: str
) -> Spans:
    """Tell the tokens of a question apart.

    Image tokens are known by their number. The description is found by its place in the text, which follows
    from comparing the text with that of the same question without a description: so a description that
    begins with the words that follow it is not cut in the wrong place. Tokens that hold a letter of it count
    as its own, also where the tokenizer merged them with what stands beside it. Places are counted from the
    end, as processors put many image tokens in the place of one mark before it.

    Args:
        model: whose processor read the question.
        ids: (length,) numbers of its tokens, without padding.
        question: as it was asked.
        bare: the same with an empty description.
        description: what ``question`` holds and ``bare`` does not.

    Raises:
        ValueError: the description does not stand in the question.
    """
    numbers = np.asarray(ids, np.int64)
    first, last = _from_end(model, question, bare, description.strip())
    length = len(numbers)
    return Spans(
        image=np.flatnonzero(numbers == model.image_token) if question.picture is not None else _none(),
        description=np.arange(length - first, length - last),
        length=length,
    )


def _none() -> Positions:
    return np.zeros(0, np.int64)


def _from_end(
    model: VisionLanguageModel, question: Question, bare: Question, description: str
) -> tuple[int, int]:
    """How many tokens from the end the description begins, and ends."""
    if not description:
        return 0, 0
    text, without = model.write(question), model.write(bare)
    tokenizer = model.tokenizer
    if not tokenizer.is_fast:
        return _by_tokens(_ids(tokenizer, text), _ids(tokenizer, without))
    start = _place(text, without, description)
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    end = start + len(description)
    own = [place for place, (left, right) in enumerate(offsets) if left < end and right > start]
    return len(offsets) - own[0], len(offsets) - own[-1] - 1


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _place(text: str, without: str, description: str) -> int:
    """Where the description begins: of all places with its words, one that accounts for the difference."""
    before, behind = _shared(text, without), _shared(text[::-1], without[::-1])
    start = text.find(description)
    while start >= 0:
        # What joins a description to its neighbours goes with it.
        left, right = text[:start].rstrip(), text[start + len(description) :].lstrip()
        if len(left) <= before and len(right) <= behind:
            return start
        start = text.find(description, start + 1)
    raise ValueError(f"the question does not hold the description {description[:40]!r}")


def _by_tokens(full: list[int], without: list[int]) -> tuple[int, int]:
    """The same from numbers of tokens alone, for tokenizers that do not tell the places of letters."""
    behind = _shared(full[::-1], without[::-1])
    before = min(_shared(full, without), len(full) - behind)
    return len(full) - before, behind


def _shared(first: str | list[int], second: str | list[int]) -> int:
    """How many items two sequences have in common at their beginning."""
    count = 0
    while count < min(len(first), len(second)) and first[count] == second[count]:
        count += 1
    return count
