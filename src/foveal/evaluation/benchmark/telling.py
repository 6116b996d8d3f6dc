"""Whom to tell how far the work is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from foveal.evaluation.benchmark.entrants import Progress


@dataclass(frozen=True)
class Telling:
    """Whom to tell of the work; nobody by default.

    Attributes:
        said: told a line of each set that is read, and of each finished or failed cell.
        progress: told of each step within a cell.
    """

    said: Callable[[str], None] = lambda text: None
    progress: Progress = lambda what, done, total: None
