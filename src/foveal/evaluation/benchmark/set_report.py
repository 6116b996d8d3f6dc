"""The part of the report that is about one set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from foveal.evaluation.benchmark.document import NONE, Exhibit, Link, Plot, Section
from foveal.evaluation.benchmark.lines import ALL, CLEAN, Figure, Line
from foveal.evaluation.benchmark.outcome import Outcome
from foveal.evaluation.benchmark.plots import Dot, dot_plot
from foveal.evaluation.benchmark.rated_sets import RatedSet
from foveal.evaluation.benchmark.weighted import FIGURES
from foveal.evaluation.protocol import FIGURES as HEADINGS
from foveal.evaluation.tables import Cell, Table

_LEAST_P = 0.0001

COMPARED = ("srcc", "plcc")
"""Figures whose differences are shown; results.csv has all."""


def set_section(name: str, outcome: Outcome) -> Section:
    """What assessors came to on one set: plot, figures and differences, of all and of the clean images."""
    rated = outcome.sets[name]
    exhibits: list[Exhibit | Plot | Link] = []
    for part in (ALL, CLEAN):
        lines = sorted(outcome.within(name, part), key=_worst_last)
        if not lines:
            continue
        what = "all test images" if part == ALL else "the clean test images"
        exhibits += _plots(name, part, lines, outcome)
        exhibits.append(
            Exhibit(f"{name}, {what}: agreement with people, best SRCC first", _board(lines, outcome))
        )
        compared = _compared(name, part, outcome)
        if compared.rows:
            exhibits.append(Exhibit(f"{name}, {what}: first less second, paired", compared))
    return Section(name, (_about_set(rated),), tuple(exhibits))


def _about_set(rated: RatedSet) -> str:
    counts = [len(rated.rows(split, "test")) for split in range(len(rated.splits))]
    size = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
    if rated.config.split == "official":
        text = f"{rated.ratings.card.name}, official split: {size} test images."
    else:
        text = (
            f"{rated.ratings.card.name}, {len(counts)} seeded grouped splits (seeds {rated.config.seed} to "
            f"{rated.config.seed + len(counts) - 1}): {size} test images in each."
        )
    if rated.has_clean:
        text += f" The clean part is without {len(rated.unclean):,} images."
    return text


def _plots(name: str, part: str, lines: Sequence[Line], outcome: Outcome) -> Iterator[Plot]:
    dots = [_dot(line, outcome) for line in lines if math.isfinite(line.figures["srcc"].mean)]
    if dots:
        what = f"SRCC on {name}{'' if part == ALL else ', clean part'}"
        percent = f"{100 * outcome.benchmark.run.coverage:g} %"
        alternative = (
            f"{what}: mean, {percent} interval, and each split. The table below has the same figures."
        )
        svg = dot_plot(dots, title=what, axis=f"{what} ({percent} interval)", name=f"{name}-{part}")
        yield Plot(f"plots/{name}-{part}.svg", svg, alternative)


def _dot(line: Line, outcome: Outcome) -> Dot:
    of = line.figures["srcc"]
    values = line.draws.values[:, FIGURES.index("srcc")].tolist()
    others = tuple(values) if len(values) > 1 else ()
    marked = outcome.leaks(line.key.assessor, line.key.tested)
    return Dot(line.key.assessor, of.mean, of.low, of.high, others, marked)


def _worst_last(line: Line) -> float:
    value = line.figures["srcc"].mean
    return -value if math.isfinite(value) else math.inf


def _board(lines: Sequence[Line], outcome: Outcome) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for line in lines:
        figures = (_shown(line.figures[name]) for name in FIGURES)
        rows.append((_marked(line.key.assessor, line.key.tested, outcome), *figures))
    return Table(("assessor", *(heading(name) for name in FIGURES)), tuple(rows))


def _shown(figure: Figure) -> str:
    """Mean, spread over the splits if there are several, and interval."""
    if math.isnan(figure.mean):
        return NONE
    spread = "" if math.isnan(figure.std) else f" ± {figure.std:.3f}"
    interval = "" if math.isnan(figure.low) else f" ({figure.low:.3f} to {figure.high:.3f})"
    return f"{figure.mean:.3f}{spread}{interval}"


def _marked(assessor: str, tested: str, outcome: Outcome) -> str:
    return f"{assessor} †" if outcome.leaks(assessor, tested) else assessor


def heading(figure: str) -> str:
    """What a figure is called."""
    return "RMSE" if figure == "rmse_4" else HEADINGS[figure]


def _compared(name: str, part: str, outcome: Outcome) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for one in outcome.differences:
        if one.tested == name and one.part == part and one.figure in COMPARED:
            first, second = (_marked(assessor, name, outcome) for assessor in (one.first, one.second))
            interval = f"{one.low:+.3f} to {one.high:+.3f}"
            p_values = (_p(one.p_value), _p(one.p_adjusted), _p(one.p_splits))
            figure = heading(one.figure)
            rows.append((first, second, figure, f"{one.difference:+.3f}", interval, *p_values))
    headings = ("first", "second", "figure", "difference", "interval", "p", "p (Holm)", "p over splits")
    return Table(headings, tuple(rows))


def _p(value: float) -> str:
    if math.isnan(value):
        return NONE
    return f"{value:.4f}" if value >= _LEAST_P else f"<{_LEAST_P}"
