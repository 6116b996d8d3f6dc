"""What many scores say together, in memory that grows by eight bytes an image."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

from foveal.assessment import HIGHEST, LOWEST
from foveal.pipeline.rows import Row

_T = TypeVar("_T")

BIN_WIDTH = 0.5
"""Width of a histogram bin on the 1-5 scale."""


class Extremes(Generic[_T]):
    """The ``size`` items with the highest (or lowest) keys; among equals the earlier ones."""

    def __init__(self, size: int, *, lowest: bool = False) -> None:
        self._size = size
        self._sign = -1.0 if lowest else 1.0
        self._heap: list[tuple[float, int, _T]] = []
        self._count = 0

    def offer(self, key: float, item: _T) -> None:
        """Keep the item if it belongs to them."""
        self._count += 1
        entry = (self._sign * key, -self._count, item)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        elif self._size:
            heapq.heappushpop(self._heap, entry)

    def items(self) -> list[_T]:
        """All that are kept, most extreme first."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


class Summary:
    """Counts and distribution of quality over many rows."""

    def __init__(self) -> None:
        self.failed = 0
        self._qualities = array("d")

    def add(self, row: Row) -> None:
        """Take one row into account."""
        if row.quality is None:
            self.failed += 1
        else:
            self._qualities.append(row.quality)

    @property
    def scored(self) -> int:
        """How many images have a score."""
        return len(self._qualities)

    def mean(self) -> float:
        """Mean quality; there must be a score."""
        return float(np.mean(self._qualities))

    def median(self) -> float:
        """Median quality; there must be a score."""
        return float(np.median(self._qualities))

    def spread(self) -> float:
        """Standard deviation of quality over the images; there must be a score."""
        return float(np.std(self._qualities))

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """Qualities that these shares of the images (each in 0-1) stay below; there must be a score."""
        return [float(value) for value in np.quantile(self._qualities, shares)]

    def histogram(self, width: float = BIN_WIDTH) -> list[tuple[float, float, int]]:
        """Give lower end, upper end and count of each bin; the last one includes the end of the scale."""
        bins = round((HIGHEST - LOWEST) / width)
        counts, edges = np.histogram(self._qualities, bins, (LOWEST, HIGHEST))
        return list(zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True))
