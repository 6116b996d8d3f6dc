"""What a vision-language model is asked: a text, perhaps a picture, and the answer as far as it is given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.imaging.views import Pixels


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """A picture as the frozen vision tower saw it earlier, so that training need not run the tower again.

    Attributes:
        tokens: float (tokens, features), what the tower gives to the projector.
    """

    tokens: NDArray[Any]

    def __post_init__(self) -> None:
        if self.tokens.ndim != 2:
            raise ValueError(f"stored features have shape {self.tokens.shape}, expected (tokens, features)")


Picture = Pixels | StoredFeatures
"""Decoded pixels, or what the model's own tower made of them."""


@dataclass(frozen=True, eq=False)
class Question:
    """One turn of a user, and how far the model's answer has come.

    Attributes:
        text: what is asked.
        picture: the image that is asked about; None asks about text alone, and no image token is then read.
        so_far: beginning of the answer, which the model goes on from.
    """

    text: str
    picture: Picture | None = None
    so_far: str = ""

    def __post_init__(self) -> None:
        picture = self.picture
        if isinstance(picture, np.ndarray) and (picture.dtype != np.uint8 or picture.ndim != 3):
            raise ValueError(
                f"a picture is uint8 (height, width, 3), not {picture.dtype} {picture.shape}; "
                "foveal.imaging.decode makes one of a file"
            )

    def answered(self, text: str) -> Question:
        """The same question with its answer gone on by ``text``."""
        return replace(self, so_far=self.so_far + text)
