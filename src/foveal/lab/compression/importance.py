"""Importance of layers in the LAPQ paper: share of parameters, entropy, sparsity, and QLIS that joins them.

Source: Bhardwaj and Shinde, "Towards Efficient Vision Transformers for Perceptual Quality Assessment of
Diffusion-Generated Images", section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foveal.evaluation.correlation import mean_ranks
from foveal.lab.compression.layers import Matrix

Sign = Literal["paper", "text"]
"""``paper``: Eq. 8 as printed, in which dense layers of high entropy score LOW. ``text``: what the paper says
in words, that they score high."""

FULL_BITS = 32
"""B of Eq. 5."""
BINS = 256
"""Of the histogram whose entropy is taken; the paper gives no number. 256 is what 8 bits tell apart."""
NEAR_ZERO = 0.01
"""Epsilon of Eq. 6, in units of the weights; the paper says "small" only.

It is absolute as in the paper: relative to a layer's deviation, all bell-shaped layers would have the same
sparsity. At 0.01 the sparsities of a ViT's layers (deviations of 0.02 to 0.1) differ by tens of per cent, as
their entropies do; at 0.001 all lie near 2 % and say nothing.
"""


@dataclass(frozen=True)
class Importance:
    """Importance of one layer.

    Attributes:
        share: P, the layer's share of all parameters, 0 to 1 (Eq. 4).
        entropy: E, entropy of its weights in units of 32 bits, 0 to 1 (Eq. 5).
        sparsity: S, share of weights near zero, 0 to 1 (Eq. 6).
        ewds: entropy-weighted density score, 0 to 1 (Eq. 7).
    """

    share: float
    entropy: float
    sparsity: float
    ewds: float

    def qlis(self, beta: float, sign: Sign = "paper") -> float:
        """Quality-preserving layer importance score, 0 to 1; higher is meant to be more important (Eq. 8).

        Args:
            beta: weight of the share of parameters, 0 to 1.
            sign: ``paper``: beta P + (1 - beta)(1 - EWDS); ``text``: beta P + (1 - beta) EWDS.

        Raises:
            ValueError: ``beta`` is not in 0 to 1, or there is no such sign.
        """
        if not 0 <= beta <= 1:
            raise ValueError(f"beta is {beta}, expected 0 to 1")
        if sign not in ("paper", "text"):
            raise ValueError(f"sign is {sign!r}, expected 'paper' or 'text'")
        density = self.ewds if sign == "text" else 1 - self.ewds
        return beta * self.share + (1 - beta) * density


def importance(
    weights: Mapping[str, Matrix], *, near_zero: float = NEAR_ZERO, bins: int = BINS
) -> dict[str, Importance]:
    """Importance of all layers, which count as the whole model.

    Args:
        weights: by layer's name; no layer is empty.
        near_zero: epsilon: a weight of smaller size counts as zero.
        bins: of the histogram over each layer's own range, at least 2. Entropies lie below log2 of it.

    Raises:
        ValueError: there are no layers, one is empty, or ``bins`` is below 2.
    """
    total = sum(matrix.size for matrix in weights.values())
    empty = [name for name, matrix in weights.items() if not matrix.size]
    if not weights or empty:
        raise ValueError(f"{empty[0]} has no weights" if empty else "there are no layers to weigh up")
    return {name: _of_layer(matrix, total, near_zero, bins) for name, matrix in weights.items()}


def _of_layer(matrix: Matrix, total: int, near_zero: float, bins: int) -> Importance:
    entropy = weight_entropy(matrix, bins) / FULL_BITS
    sparsity = float((np.abs(matrix) < near_zero).mean())
    return Importance(matrix.size / total, entropy, sparsity, entropy * (1 - sparsity))


def weight_entropy(matrix: Matrix, bins: int = BINS) -> float:
    """Shannon entropy of weights put into bins of equal width from the least to the greatest.

    Args:
        matrix: at least one weight.
        bins: at least 2.

    Returns:
        Bits, 0 to log2(bins); 0 of weights that are all the same.

    Raises:
        ValueError: ``bins`` is below 2.
    """
    if bins < 2:
        raise ValueError(f"bins is {bins}, expected 2 or more")
    counts, _ = np.histogram(matrix.astype(np.float64), bins)
    shares = counts[counts > 0] / matrix.size
    return max(0.0, float(-(shares * np.log2(shares)).sum()))


def rank_quantiles(scores: Mapping[str, float]) -> dict[str, float]:
    """Where each layer stands among all: above 0 for the least important, below 1 for the most.

    QLIS itself is nearly flat: with B = 32 no entropy of 256 bins passes 0.25, and no share of parameters
    comes near 1. So layers are told apart by rank, never by a threshold on QLIS.

    Args:
        scores: by layer's name.

    Returns:
        (rank - 1/2) / layers; equal scores share their mean rank.
    """
    ranks = mean_ranks(np.array(list(scores.values()), np.float64))
    return {name: float((rank - 0.5) / len(ranks)) for name, rank in zip(scores, ranks, strict=True)}
