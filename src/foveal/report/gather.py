"""The rows of a page: all where they are few, and of very many the ones worth looking at."""

from __future__ import annotations

from collections.abc import Sequence

from foveal.pipeline.rows import Row
from foveal.pipeline.summary import Summary

MOST_ROWS = 100_000
"""Scored images that a page lists; of more, half of it from each end. The figures are of all."""
MOST_ERRORS = 10_000
"""Images without a score that a page lists."""

_Placed = tuple[int, Row]


class Gathered:
    """Takes rows as they come, in memory that stops growing at the limits.

    Args:
        most_rows: scored images to keep.
        most_errors: images without a score to keep; the first ones.

    Attributes:
        summary: of all rows, kept or not, but for eight bytes each.
        warned: rows with a warning.
    """

    def __init__(self, most_rows: int = MOST_ROWS, most_errors: int = MOST_ERRORS) -> None:
        self.summary = Summary()
        self.warned = 0
        self._most_rows, self._most_errors = most_rows, most_errors
        self._scored: list[_Placed] = []
        self._failed: list[_Placed] = []

    def add(self, row: Row) -> None:
        """Take one row."""
        placed = (self.total, row)
        self.summary.add(row)
        self.warned += bool(row.warnings)
        if row.quality is not None:
            self._scored.append(placed)
            if len(self._scored) > 2 * self._most_rows:  # seldom, so that sorting costs next to nothing
                self._scored = self._ends()
        elif len(self._failed) < self._most_errors:
            self._failed.append(placed)

    @property
    def total(self) -> int:
        """How many rows there were."""
        return self.summary.scored + self.summary.failed

    @property
    def errors(self) -> list[Row]:
        """Rows without a score that are kept, in the order in which they came."""
        return [row for _, row in self._failed]

    def rows(self) -> list[Row]:
        """All rows that are kept, in the order in which they came."""
        kept = dict([*self._ends(), *self._failed])
        return [kept[place] for place in sorted(kept)]

    def _ends(self) -> list[_Placed]:
        """The scored rows, without the middle ones where they are more than the limit."""
        if len(self._scored) <= self._most_rows:
            return self._scored
        ordered = sorted(self._scored, key=lambda placed: (placed[1].quality or 0.0, placed[0]))
        best = self._most_rows // 2
        return ordered[: self._most_rows - best] + ordered[len(ordered) - best :]


def telling(qualities: Sequence[float | None]) -> list[int]:
    """Places of all scored images, the most telling first: worst, best, second worst, second best ...

    Args:
        qualities: None where there is no score; among equals the earlier ones come first.
    """
    known = [(quality, place) for place, quality in enumerate(qualities) if quality is not None]
    worst = [place for _, place in sorted(known)]
    best = [place for _, place in sorted(known, key=lambda one: (-one[0], one[1]))]
    return list(dict.fromkeys(place for both in zip(worst, best, strict=True) for place in both))
