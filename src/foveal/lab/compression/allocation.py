"""Who gets how many bits: the step of every layer's grid under a budget of bits.

A layer's step is a multiple of the spread of its weights. All allocators give relative steps, of which one
common factor then makes a model as small as it must be: :func:`steps_for_bits`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from foveal.lab.compression.layers import Matrix
from foveal.lab.compression.quantizers import round_to, spread_scale

FINEST, COARSEST = 0.02, 5.0
"""Steps that a grid may have, in standard deviations of the weights: of Gaussian ones 7.7 and 0.1 bits."""
_ROUNDS = 30

Steps = dict[str, float]
"""Step of each layer's grid by name, in standard deviations of its weights."""


def even_steps(names: Sequence[str]) -> Steps:
    """The same relative step for all."""
    return dict.fromkeys(names, 1.0)


def steps_by_rank(scores: Mapping[str, float], ratio: float = 2.0) -> Steps:
    """Finer steps for layers of greater importance, by rank: the paper's QLIS is nearly flat in value.

    Args:
        scores: importance by layer's name.
        ratio: step of the least important layer over that of the most important one; above 1.

    Returns:
        Relative steps, geometric in the rank.
    """
    if not ratio > 1:
        raise ValueError(f"ratio is {ratio}, expected above 1")
    order = sorted(scores, key=lambda name: (-scores[name], name))
    last = max(1, len(order) - 1)
    return {name: float(ratio ** (rank / last - 0.5)) for rank, name in enumerate(order)}


def steps_by_chance(names: Sequence[str], seed: int, ratio: float = 2.0) -> Steps:
    """Steps in the same proportions, given out by lot: what an allocator must beat."""
    lot = np.random.default_rng(seed).permutation(len(names))
    return steps_by_rank({name: float(number) for name, number in zip(names, lot, strict=True)}, ratio)


def steps_by_sensitivity(
    sensitivity: Mapping[str, float], sizes: Mapping[str, int], strength: float = 1.0
) -> Steps:
    """Steps that minimise the sum of the layers' errors for a sum of bits.

    A layer's error grows with the square of its step, s k^2, and its cost falls by its size n for each
    doubling, -n log2 k. The minimum has all s k^2 / n alike (reverse water-filling; Shannon 1959).

    Args:
        sensitivity: s: error of the model's outputs when this layer alone is rounded with step 1.
        sizes: n: weights of each layer.
        strength: 1 believes the measurement wholly, 0 gives equal steps; s is measured on few images.

    Returns:
        Relative steps.
    """
    floor = max(*sensitivity.values(), 1e-30) * 1e-9
    wanted = {
        name: (sizes[name] / max(value, floor)) ** (strength / 2) for name, value in sensitivity.items()
    }
    middle = float(np.exp(np.mean(np.log(list(wanted.values())))))
    return {name: value / middle for name, value in wanted.items()}


def bits_of(weights: Mapping[str, Matrix], steps: Mapping[str, float]) -> float:
    """Mean bits a weight of an ideal code, when weights are rounded with these steps."""
    total = bits = 0.0
    for name, step in steps.items():
        bits += round_to(weights[name], spread_scale(weights[name], step)).entropy * weights[name].size
        total += weights[name].size
    return bits / total


def steps_for_bits(weights: Mapping[str, Matrix], relative: Mapping[str, float], bits: float) -> Steps:
    """Steps in the proportions of ``relative`` that take so many bits a weight on average.

    Args:
        weights: of the layers to be rounded.
        relative: from one of the allocators.
        bits: wanted mean, from 0.1 to 7.

    Returns:
        Steps from :data:`FINEST` to :data:`COARSEST`. They take less than was wanted where outliers keep
        grids wide, which level 127 must reach: :func:`bits_of` tells.

    Raises:
        ValueError: bits are out of range.
    """
    if not 0.1 <= bits <= 7:
        raise ValueError(f"{bits:.2f} bits a weight, expected 0.1 to 7")
    return _bisected(relative, lambda steps: bits_of(weights, steps) > bits)


def _bisected(relative: Mapping[str, float], too_many: Callable[[Steps], bool]) -> Steps:
    low, high = -12.0, 12.0
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if too_many(_scaled(relative, middle)):
            low = middle
        else:
            high = middle
    return _scaled(relative, high)


def _scaled(relative: Mapping[str, float], octaves: float) -> Steps:
    factor = 2.0**octaves
    return {name: float(np.clip(step * factor, FINEST, COARSEST)) for name, step in relative.items()}
