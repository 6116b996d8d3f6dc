"""How much the attributes of a description tell of its verdict: mutual information, and what chance gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.lab.reasoning.levels import Floats

PERMUTATIONS = 200
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Information:
    """What one attribute tells of the verdict level.

    Attributes:
        attribute: its name.
        bits: mutual information, corrected for bias; may be slightly below 0.
        chance: mean of the same with verdicts dealt out to other images.
        p_value: share of such deals with at least as much, one added to both counts.
        mentioned: share of answers that mention the attribute.
    """

    attribute: str
    bits: float
    chance: float
    p_value: float
    mentioned: float

    def to_dict(self) -> dict[str, Any]:
        """All fields."""
        return {
            "attribute": self.attribute,
            "bits": self.bits,
            "chance": self.chance,
            "p_value": self.p_value,
            "mentioned": self.mentioned,
        }


def entropy(labels: ArrayLike) -> float:
    """Entropy of labels in bits, Miller and Madow's correction added ((classes - 1) / 2n nats, 1955)."""
    _, counts = np.unique(np.asarray(labels), return_counts=True)
    return float(_entropies(counts[None])[0])


def mutual_information(first: ArrayLike, second: ArrayLike) -> float:
    """Mutual information of two columns of labels in bits: H(X) + H(Y) - H(X, Y), each corrected as above.

    Args:
        first: (n,) whole numbers.
        second: (n,) whole numbers.

    Raises:
        ValueError: lengths differ, or there are none.
    """
    one, two = np.asarray(first).ravel(), np.asarray(second).ravel()
    if len(one) != len(two) or not len(one):
        raise ValueError(f"{len(one)} and {len(two)} labels: expected equally many, at least one")
    return float(_information(_numbered(one), _numbered(two)[None])[0])


def tell_of_verdict(
    attribute: str,
    degrees: Floats,
    verdicts: Labels,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Information:
    """What an attribute's degree, or that it is not mentioned, tells of the verdict.

    Args:
        attribute: its name.
        degrees: (images, samples), NaN where it is not mentioned.
        verdicts: (images, samples) level numbers.
        permutations: deals; an image's verdicts stay together, as its answers are not independent.
        seed: of the deals.
    """
    labels = _numbered(np.where(np.isnan(degrees), -1, degrees).astype(np.int64).ravel())
    generator = np.random.default_rng(seed)
    dealt = np.stack(
        [verdicts, *(verdicts[generator.permutation(len(verdicts))] for _ in range(permutations))]
    )
    bits = _information(labels, _numbered(dealt.reshape(len(dealt), -1)))
    as_much = int((bits[1:] >= bits[0] - 1e-12).sum())
    return Information(
        attribute,
        float(bits[0]),
        float(bits[1:].mean()),
        (as_much + 1) / (permutations + 1),
        float(np.isfinite(degrees).mean()),
    )


def _numbered(labels: NDArray[Any]) -> Labels:
    """Labels as 0, 1, 2 ..., in the same shape."""
    return np.asarray(np.unique(labels, return_inverse=True)[1].reshape(labels.shape), np.int64)


def _information(labels: Labels, others: Labels) -> Floats:
    """Labels (n,) and rows of others (rows, n) -> bits (rows,)."""
    kinds, wide = int(labels.max()) + 1, int(others.max()) + 1
    cells = kinds * wide
    codes = labels * wide + others + np.arange(len(others))[:, None] * cells
    joint = np.bincount(codes.ravel(), minlength=len(others) * cells).reshape(len(others), kinds, wide)
    both = _entropies(joint.reshape(len(others), cells))
    return _entropies(joint.sum(axis=2)) + _entropies(joint.sum(axis=1)) - both


def _entropies(counts: NDArray[Any]) -> Floats:
    """Counts (rows, classes) -> corrected entropies (rows,) in bits."""
    total = counts.sum(axis=1, keepdims=True)
    shares = counts / total
    logs = np.log(np.where(counts > 0, shares, 1.0))
    corrected = -(shares * logs).sum(axis=1) + ((counts > 0).sum(axis=1) - 1) / (2 * total[:, 0])
    return np.asarray(corrected / np.log(2), np.float64)
