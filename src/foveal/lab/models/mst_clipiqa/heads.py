"""What judges the fused vector: by its likeness to five levels, or in the light of the image's prompt."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.lab.models.base import LEAST_SPREAD, MIDDLE, Judgement
from foveal.lab.models.mst_clipiqa.config import LEVELS

UNTRAINED_SCALE = math.log(1 / 0.07)
"""Logarithm of the factor on cosines that CLIP's own training began with, for where none is known."""


class Spread(nn.Module):
    """Spread of each target: softplus of an affine map, which learns from features without shaping them.

    Args:
        features: of the input.
        targets: number of columns.
    """

    def __init__(self, features: int, targets: int = 1) -> None:
        super().__init__()
        self.map = nn.Linear(features, targets)
        nn.init.zeros_(self.map.weight)
        nn.init.zeros_(self.map.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, features) -> (batch, targets), > 0."""
        return functional.softplus(self.map(features.detach())) + LEAST_SPREAD


class LevelHead(nn.Module):
    """q = sum of p_i * i, p = softmax(exp(s) cos(z, t_i)): how alike z is to each of five levels.

    The no-prompt head of MST-CLIPIQA; its output lies between 1 and 5.

    Args:
        width: features of the fused vector.
        levels: (5, width), embeddings of the levels' texts, worst first; None for vectors of one's own.
        learned: whether training moves the levels.
        scale: s, the logarithm of the factor on the cosines, at the beginning; it is learned.
    """

    def __init__(
        self,
        width: int,
        levels: Tensor | None = None,
        *,
        learned: bool = True,
        scale: float = UNTRAINED_SCALE,
    ) -> None:
        super().__init__()
        start = _arc(width) if levels is None else levels.detach().clone().float()
        self.levels: Tensor
        if learned:
            self.levels = nn.Parameter(start)
        else:
            self.register_buffer("levels", start)
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        self.values: Tensor
        self.register_buffer("values", torch.arange(1.0, len(LEVELS) + 1), persistent=False)
        self.spread = Spread(width)

    def shares(self, fused: Tensor) -> Tensor:
        """Probability of each level: (batch, width) -> (batch, 5)."""
        # A sum of products, not a product of matrices: mixed precision would round the cosines, of which only
        # small differences matter, to three digits.
        ours = functional.normalize(fused.float(), dim=-1)[:, None]
        cosines = (ours * functional.normalize(self.levels.float(), dim=-1)).sum(dim=-1)
        return (self.scale.exp() * cosines).softmax(dim=-1)

    def forward(self, fused: Tensor) -> Judgement:
        """(batch, width) -> quality and spread, (batch, 1) each."""
        quality = (self.shares(fused) * self.values).sum(dim=-1, keepdim=True)
        return Judgement(quality, self.spread(fused))


class PromptHead(nn.Module):
    """z' = z + alpha LN(MHA(z, T, T)), q = w^T (GELU(W_1 z') + W_2 z') + b: judges in the prompt's light.

    The prompt head of MST-CLIPIQA, one regression a target over one z'. Tokens that are padding are not
    attended to. Where there is no prompt, z' is z.

    Args:
        width: features of the fused vector.
        tokens: features of a prompt's token.
        targets: number of columns.
        heads: attention heads.
        dropout: on z', in training.

    Raises:
        ValueError: the heads do not divide the width.
    """

    def __init__(
        self, width: int, tokens: int, targets: int = 1, heads: int = 8, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} cannot be divided among {heads} heads; set heads or width")
        self.attention = nn.MultiheadAttention(width, heads, kdim=tokens, vdim=tokens, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.alpha = nn.Parameter(torch.zeros(()))
        self.dropout = nn.Dropout(dropout)
        self.regressions = nn.ModuleList(_Regression(width) for _ in range(targets))
        self.spread = Spread(width, targets)

    def attend(self, fused: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Look at the prompts.

        Args:
            fused: (batch, width).
            tokens: (batch, length, features); what padding holds does not matter, not even NaN.
            mask: bool (batch, length), true for tokens of the prompt.

        Returns:
            z', (batch, width): exactly ``fused`` in rows whose mask is false throughout.
        """
        tokens = torch.where(mask[..., None], tokens.to(fused.dtype), 0.0)
        attended = attend_to(self.attention, fused, tokens, mask)
        change: Tensor = self.alpha * self.norm(attended)
        return fused + torch.where(mask.any(dim=1, keepdim=True), change, 0.0)

    def forward(self, fused: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None) -> Judgement:
        """Judge: arguments of :meth:`attend` -> quality and spread, (batch, targets) each."""
        if tokens is not None and mask is not None:
            fused = self.attend(fused, tokens, mask)
        inner = self.dropout(fused)
        quality = torch.cat([regression(inner) for regression in self.regressions], dim=1)
        return Judgement(quality, self.spread(inner))


class _Regression(nn.Module):
    """w^T (GELU(W_1 z) + W_2 z) + b, which begins around the middle of the scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.curved = nn.Linear(width, width)
        self.straight = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)
        nn.init.constant_(self.out.bias, MIDDLE)

    def forward(self, fused: Tensor) -> Tensor:
        quality: Tensor = self.out(functional.gelu(self.curved(fused)) + self.straight(fused))
        return quality


def attend_to(attention: nn.MultiheadAttention, fused: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """Attend from one vector to the tokens that a mask allows; rows without any attend to all, never to NaN.

    Args:
        attention: with the batch first.
        fused: (batch, width).
        tokens: finite, (batch, length, features).
        mask: bool (batch, length).

    Returns:
        (batch, width); rows without a token mean nothing.
    """
    ignored = ~mask & mask.any(dim=1, keepdim=True)
    attended, _ = attention(fused[:, None], tokens, tokens, key_padding_mask=ignored, need_weights=False)
    vector: Tensor = attended[:, 0]
    return vector


def _arc(width: int) -> Tensor:
    """Five levels in their order on a quarter of a circle between two random directions: (5, width)."""
    first, second = functional.normalize(torch.randn(2, width), dim=-1)
    angles = torch.linspace(0, math.pi / 2, len(LEVELS))[:, None]
    levels: Tensor = angles.cos() * first + angles.sin() * second
    return levels
