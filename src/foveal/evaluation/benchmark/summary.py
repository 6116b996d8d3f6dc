"""The figures in short, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from foveal.evaluation.benchmark.lines import ALL, CLEAN
from foveal.evaluation.benchmark.outcome import Outcome
from foveal.evaluation.benchmark.set_report import heading
from foveal.evaluation.tables import Cell, Table

_FIGURES = ("srcc", "krcc", "plcc", "plcc_4", "rmse_4")


def summary(outcome: Outcome) -> Iterator[tuple[str, Table]]:
    """Make a table of each set that has figures: mean of each figure, and the interval of SRCC.

    Returns:
        Headings and tables, all images before the clean ones.
    """
    for name in outcome.sets:
        for part in (ALL, CLEAN):
            rows: list[tuple[Cell, ...]] = []
            for line in outcome.within(name, part):
                marked = " †" if outcome.leaks(line.key.assessor, name) else ""
                of = line.figures["srcc"]
                interval = "" if math.isnan(of.low) else f"{of.low:.3f} to {of.high:.3f}"
                figures = [line.figures[figure].mean for figure in _FIGURES]
                rows.append((f"{line.key.assessor}{marked}", figures[0], interval, *figures[1:]))
            if rows:
                percent = f"{100 * outcome.benchmark.run.coverage:g} %"
                headings = ("assessor", "SRCC", percent, *(heading(figure) for figure in _FIGURES[1:]))
                yield name if part == ALL else f"{name}, clean part", Table(headings, tuple(rows))
