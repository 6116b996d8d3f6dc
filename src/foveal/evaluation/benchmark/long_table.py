"""All figures as one long table, a figure a row, for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator

from foveal.evaluation.benchmark.differences import Difference
from foveal.evaluation.benchmark.lines import Line
from foveal.evaluation.benchmark.outcome import Outcome
from foveal.evaluation.benchmark.weighted import FIGURES
from foveal.evaluation.tables import Cell, Table

HEADINGS = (
    "row",
    "assessor",
    "against",
    "trained_on",
    "set",
    "part",
    "trained_split",
    "split",
    "n",
    "figure",
    "value",
    "std",
    "low",
    "high",
    "p",
    "p_adjusted",
    "p_splits",
    "note",
)
"""Columns. A row is a ``split`` (one test part), ``mean`` (over test parts), ``difference`` or ``absent``."""


def long_table(outcome: Outcome) -> Table:
    """Make the table.

    Returns:
        Columns :data:`HEADINGS`; cells without a meaning or a value are empty. Splits count from 1. A
        difference is ``assessor`` less ``against``.
    """
    rows = [row for line in outcome.lines for row in _of_line(line, outcome)]
    rows += [_of_difference(difference, outcome) for difference in outcome.differences]
    rows += [
        _row("absent", assessor=key.assessor, trained_on=key.source, set=key.tested, note=reason)
        for key, reason in outcome.absent.items()
    ]
    return Table(HEADINGS, tuple(rows))


def _of_line(line: Line, outcome: Outcome) -> Iterator[tuple[Cell, ...]]:
    who = {
        "assessor": line.key.assessor,
        "trained_on": line.key.source,
        "set": line.key.tested,
        "part": line.part,
        "note": _note(line.key.assessor, line.key.tested, outcome),
    }
    for column, name in enumerate(FIGURES):
        for cell, n, values in zip(line.cells, line.counts, line.draws.values, strict=True):
            split: dict[str, Cell] = {"split": cell.split + 1, "n": n}
            if cell.source_split is not None:
                split["trained_split"] = cell.source_split + 1
            yield _row("split", figure=name, value=float(values[column]), **who, **split)
        of = line.figures[name]
        yield _row("mean", figure=name, value=of.mean, std=of.std, low=of.low, high=of.high, **who)


def _of_difference(one: Difference, outcome: Outcome) -> tuple[Cell, ...]:
    notes = [_note(name, one.tested, outcome) for name in (one.first, one.second)]
    return _row(
        "difference",
        assessor=one.first,
        against=one.second,
        set=one.tested,
        part=one.part,
        figure=one.figure,
        value=one.difference,
        low=one.low,
        high=one.high,
        p=one.p_value,
        p_adjusted=one.p_adjusted,
        p_splits=one.p_splits,
        note="; ".join(note for note in notes if note),
    )


def _note(assessor: str, tested: str, outcome: Outcome) -> str:
    claim = outcome.claims.get((assessor, tested))
    return claim.text if claim is not None and claim.leaks else ""


def _row(kind: str, **values: Cell) -> tuple[Cell, ...]:
    values["row"] = kind
    return tuple(_plain(values.get(heading, "")) for heading in HEADINGS)


def _plain(cell: Cell) -> Cell:
    return "" if isinstance(cell, float) and math.isnan(cell) else cell
