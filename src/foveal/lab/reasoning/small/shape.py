"""Size of the small model's language part; apart, so that recipes are read without ``transformers``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DecoderShape:
    """Size of the language model.

    Attributes:
        width: features a token.
        depth: blocks.
        heads: attention heads.
        inner: hidden units of the gated feed-forward part.
        vocabulary: most tokens; the texts may yield fewer.
        dropout: of attention weights in training.
    """

    width: int = 128
    depth: int = 4
    heads: int = 4
    inner: int = 384
    vocabulary: int = 800
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads, self.inner, self.vocabulary) < 1:
            raise ValueError("width, depth, heads, inner and vocabulary must be 1 or more")
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} cannot be divided into {self.heads} heads of an even width")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, expected 0 to below 1")
