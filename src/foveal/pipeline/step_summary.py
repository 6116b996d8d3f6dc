"""What any number of scores say together, in memory that does not grow: qualities counted in fine steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from foveal.assessment import HIGHEST, LOWEST
from foveal.pipeline.rows import Row
from foveal.pipeline.summary import BIN_WIDTH

STEPS_A_UNIT = 100_000
"""Steps into which one unit of quality is divided: figures are exact to half a step, 5e-6."""

_STEPS = round((HIGHEST - LOWEST) * STEPS_A_UNIT)


class Figures(Protocol):
    """What a summary tells, however it counts."""

    failed: int

    @property
    def scored(self) -> int:
        """How many images have a score."""

    def mean(self) -> float:
        """Mean quality; there must be a score."""

    def median(self) -> float:
        """Median quality; there must be a score."""

    def spread(self) -> float:
        """Standard deviation of quality over the images; there must be a score."""

    def histogram(self) -> list[tuple[float, float, int]]:
        """Give lower end, upper end and count of each bin; the last one includes the end of the scale."""


def steps_of(rows: Iterable[Row]) -> tuple[int, ...]:
    """Qualities of the rows that have one, in steps from the lowest."""
    return tuple(round((row.quality - LOWEST) * STEPS_A_UNIT) for row in rows if row.quality is not None)


class StepSummary:
    """Counts and distribution of quality; as :class:`foveal.pipeline.summary.Summary`, but for any number."""

    def __init__(self) -> None:
        self.failed = 0
        self._counts = np.zeros(_STEPS + 1, np.int64)
        self._qualities = LOWEST + np.arange(_STEPS + 1) / STEPS_A_UNIT

    def add(self, steps: Iterable[int], failed: int = 0) -> None:
        """Take some images into account: the steps of those with a score, and how many have none."""
        self._counts += np.bincount(np.fromiter(steps, np.int64), minlength=_STEPS + 1)
        self.failed += failed

    @property
    def scored(self) -> int:
        """How many images have a score."""
        return int(self._counts.sum())

    def mean(self) -> float:
        """Mean quality; there must be a score."""
        return float(np.average(self._qualities, weights=self._counts))

    def median(self) -> float:
        """Median quality; there must be a score."""
        upto, count = np.cumsum(self._counts), self.scored
        middle = np.searchsorted(upto, [(count - 1) // 2, count // 2], side="right")
        return float(self._qualities[middle].mean())

    def spread(self) -> float:
        """Standard deviation of quality over the images; there must be a score."""
        deviations = self._qualities - self.mean()
        return float(np.sqrt(np.average(deviations**2, weights=self._counts)))

    def histogram(self) -> list[tuple[float, float, int]]:
        """Give lower end, upper end and count of each bin; the last one includes the end of the scale."""
        width = round(BIN_WIDTH * STEPS_A_UNIT)
        starts = np.arange(0, _STEPS, width)
        counts = np.add.reduceat(self._counts[:-1], starts)
        counts[-1] += self._counts[-1]
        lows = LOWEST + starts / STEPS_A_UNIT
        return [
            (low, low + BIN_WIDTH, count) for low, count in zip(lows.tolist(), counts.tolist(), strict=True)
        ]
