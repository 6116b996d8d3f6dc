"""A log of losses that stays in order when a killed run goes on from an earlier step."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor


class LossLog:
    """Means of the losses since the last row, as a CSV file with a row every so many steps.

    Args:
        path: the file; rows after step ``first`` are taken out, as they will come again.
        every: steps between rows.
        first: steps that were done before.
    """

    def __init__(self, path: Path, every: int, first: int = 0) -> None:
        self._path, self._every, self._last = path, every, first
        self._sums: dict[str, float] = {}
        self._began = time.monotonic()
        if path.exists():
            rows = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join(rows[:1] + [row for row in rows[1:] if _step(row) <= first]))

    def add(self, step: int, parts: Mapping[str, Tensor]) -> None:
        """Count the losses of a step in, and write a row when it is time."""
        for name, part in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(part.detach())
        if step % self._every:
            return
        new = not self._path.exists()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", *parts, "seconds"])
            means = [f"{total / (step - self._last):.4f}" for total in self._sums.values()]
            writer.writerow([step, *means, f"{time.monotonic() - self._began:.0f}"])
        self._sums, self._last = {}, step


def _step(row: bytes) -> int:
    return int(row.split(b",")[0])
