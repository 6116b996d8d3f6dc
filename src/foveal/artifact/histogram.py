"""Histograms of weights' levels in few bytes: coarse logarithms of the counts, coded as their changes.

How precisely a count need be known follows from its noise: counts around 140 scatter by 8 %, and a finer
logarithm than an eighth of an octave would describe nothing but that. The encoder tries steps from 1 to 1/8
of an octave. Bell-shaped histograms are smooth: from level to level, the logarithms change by small numbers.
All arithmetic that a decoder does is on integers.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foveal.artifact.ans import PRECISION, Decoder, Encoder, Symbols, Weights, frequencies, uniform

OCTAVES = 16
"""The commonest level counts up to 2**16 times as much as the rarest that is told from none."""
STEPS = (1, 2, 4, 8)
"""How many steps of a logarithm make an octave, to choose from."""
SLOPES = (24, 16, 12, 8, 6, 4, 2, 1)
"""By how many eighths of an octave a change is rarer than one smaller by 1, to choose from."""
REACHES = (0, 1, 3, 8)
"""Over how many levels on each side the encoder smooths counts, to choose from; decoders need not know."""
BIT = 4096
"""Costs are whole numbers, in units of 1/4096 bit."""

_EIGHTHS = 8
_DEEPEST = 9 * _EIGHTHS
# 4096 * 2**(i/8), rounded: in integers, since powers of floats differ in the last digit between platforms.
_POWERS = np.array([4096, 4467, 4871, 5312, 5793, 6317, 6889, 7512], np.int64)

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Histograms:
    """Models of several classes of values over the same levels.

    Attributes:
        logs: uint8 (classes, levels), 0 for a level that does not occur, else 1 to ``OCTAVES * STEPS[step]``.
        step: index into :data:`STEPS`.
        slope: index into :data:`SLOPES`, for coding the logarithms themselves.
    """

    logs: Symbols
    step: int
    slope: int

    def weights(self) -> list[Weights]:
        """Weights of the model of each class, int64 (levels,).

        Raises:
            ValueError: a class in which no level occurs.
        """
        if not self.logs.any(axis=1).all():
            raise ValueError("a histogram is empty")
        eighths = self.logs.astype(np.int64) * (_EIGHTHS // STEPS[self.step])
        return list(np.where(self.logs > 0, _power(eighths), 0))

    def put(self, encoder: Encoder) -> None:
        """Append them to a message."""
        encoder.put([self.step], uniform(len(STEPS)))
        encoder.put([self.slope], uniform(len(SLOPES)))
        top = OCTAVES * STEPS[self.step]
        for logs in self.logs:
            encoder.put(logs[:1], uniform(top + 1))
            encoder.put(_changes(logs, top), _change_weights(top, self.slope))

    @classmethod
    def take(cls, decoder: Decoder, classes: int, levels: int) -> Histograms:
        """Read what :meth:`put` wrote: ``classes`` histograms of ``levels`` levels each."""
        step, slope = decoder.take_one(len(STEPS)), decoder.take_one(len(SLOPES))
        top = OCTAVES * STEPS[step]
        logs = np.empty((classes, levels), np.uint8)
        for row in logs:
            first = decoder.take(1, uniform(top + 1))
            changes = decoder.take(levels - 1, _change_weights(top, slope))
            row[:] = np.cumsum(np.concatenate([first, changes]), dtype=np.int64) % (top + 1)
        return cls(logs, step, slope)


def fit_histograms(counts: Counts) -> tuple[Histograms, int]:
    """The cheapest description of counts and of the values that they count.

    Args:
        counts: int64 (classes, levels); at least two levels, and no class without values.

    Returns:
        The histograms, and what they and all the values cost together, in units of :data:`BIT`.
    """
    found: list[tuple[int, Histograms]] = []
    for reach, (step, steps) in itertools.product(REACHES, enumerate(STEPS)):
        if 2 * reach >= counts.shape[1]:
            continue
        logs, top = _logarithms(_smooth(counts, reach), steps), OCTAVES * steps
        changes = np.bincount(
            np.concatenate([_changes(row, top) for row in logs]).astype(np.intp), minlength=top + 1
        )
        costs = _change_costs(top) @ changes
        slope = int(np.argmin(costs))
        fitted = Histograms(logs, step, slope)
        first = len(counts) * int(cost_of(uniform(top + 1))[0])
        values = sum(int(row @ cost_of(model)) for row, model in zip(counts, fitted.weights(), strict=True))
        found.append((int(costs[slope]) + first + values, fitted))
    cost, best = min(found, key=lambda item: item[0])
    return best, cost


def _smooth(counts: Counts, reach: int) -> NDArray[np.float64]:
    """Means of each level and its neighbours, weighted by a triangle that ends ``reach + 1`` levels away."""
    kernel = np.minimum(np.arange(1, 2 * reach + 2), np.arange(2 * reach + 1, 0, -1))
    there = np.convolve(np.ones(counts.shape[1]), kernel, "same")
    return np.stack([np.convolve(row, kernel, "same") / there for row in counts])


@functools.cache
def _change_costs(top: int) -> Counts:
    """What each change costs for each slope, int64 (slopes, changes)."""
    return np.stack([cost_of(_change_weights(top, slope)) for slope in range(len(SLOPES))])


def cost_of(weights: Weights) -> Counts:
    """What each symbol of a model costs, int64 (symbols,), in units of :data:`BIT`."""
    costs: Counts = np.rint(BIT * (PRECISION - np.log2(frequencies(weights)))).astype(np.int64)
    return costs


def _logarithms(counts: NDArray[np.float64], steps: int) -> Symbols:
    """Coarse logarithms: ``OCTAVES * steps`` for a class's commonest level, 0 for those that do not occur."""
    top = OCTAVES * steps
    shares = counts / counts.max(axis=1, keepdims=True)
    logs = np.rint(top + steps * np.log2(np.where(counts > 0, shares, 1)))
    return np.where(counts > 0, np.maximum(logs, 1), 0).astype(np.uint8)


def _changes(logs: Symbols, top: int) -> Symbols:
    """From each logarithm to the next, modulo ``top + 1``: any change leads to a valid one."""
    return np.mod(np.diff(logs.astype(np.int64)), top + 1).astype(np.uint8)


def _change_weights(top: int, slope: int) -> Weights:
    """Two-sided geometric around no change, down to 1/512 of it."""
    change = np.arange(top + 1)
    size = np.minimum(change, top + 1 - change)
    return _power(_EIGHTHS * OCTAVES - np.minimum(size * SLOPES[slope], _DEEPEST))


def _power(eighths: Weights) -> Weights:
    """4096 * 2**(eighths / 8) for 0 to 128 eighths of an octave."""
    powers: Weights = _POWERS[eighths % _EIGHTHS] << eighths // _EIGHTHS
    return powers
