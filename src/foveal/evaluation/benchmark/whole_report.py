"""The whole report: warnings, sets, sets against each other, competition, and how it was done."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from foveal.evaluation.benchmark.config import AssessorConfig
from foveal.evaluation.benchmark.document import NONE, Document, Exhibit, Link, Plot, Section
from foveal.evaluation.benchmark.entrants import Trainable
from foveal.evaluation.benchmark.lines import ALL, Line
from foveal.evaluation.benchmark.outcome import Arena, Outcome
from foveal.evaluation.benchmark.rated_sets import RatedSet
from foveal.evaluation.benchmark.set_report import COMPARED, heading, set_section
from foveal.evaluation.tables import Cell, Table

SHEET = "gmad/{}.html"
"""Where the pictures of a competition are, by set."""


def report_of(outcome: Outcome) -> Document:
    """Say everything that is to be said of a benchmark."""
    warnings = outcome.warnings()
    sections = [Section("Warnings", tuple(warnings), alert=True)] if warnings else []
    sections += [set_section(name, outcome) for name in outcome.sets]
    for name, entrant in outcome.entrants.items():
        if isinstance(entrant, Trainable) and outcome.benchmark.run.cross and len(outcome.sets) > 1:
            sections.append(_matrix_section(name, outcome))
    if outcome.arenas:
        sections.append(_gmad_section(outcome))
    sections += [_sets_section(outcome), _assessors_section(outcome)]
    if outcome.absent:
        rows = tuple((str(key), reason) for key, reason in outcome.absent.items())
        exhibit = Exhibit("What has no figures, and why", Table(("line", "reason"), rows))
        sections.append(Section("Not in the tables", exhibits=(exhibit,)))
    sections.append(Section("How it was done", tuple(_method(outcome))))
    return Document(f"Benchmark {outcome.benchmark.name}: {outcome.benchmark.run.target}", tuple(sections))


def _matrix_section(name: str, outcome: Outcome) -> Section:
    lines = {(line.key.source, line.key.tested): line for line in outcome.lines if _is_of(line, name)}
    exhibits = []
    for figure in COMPARED:
        rows: list[tuple[Cell, ...]] = []
        for source in outcome.sets:
            row: list[Cell] = [source]
            for tested in outcome.sets:
                line = lines.get((source, tested))
                without = "shared images" if (source, tested) in outcome.plan.shared else NONE
                value = math.nan if line is None else line.figures[figure].mean
                row.append(without if math.isnan(value) else value)
            rows.append(tuple(row))
        marked = (f"{tested} †" if outcome.leaks(name, tested) else tested for tested in outcome.sets)
        table = Table(("trained on \\ tested on", *marked), tuple(rows))
        exhibits.append(Exhibit(f"{name}: {heading(figure)} on all test images", table, heat=True))
    text = (
        "Rows are the sets that it was trained on, columns those that it was tested on. Sets that share "
        "images are not tested on each other."
    )
    return Section(f"{name} across sets", (text,), tuple(exhibits))


def _is_of(line: Line, name: str) -> bool:
    return line.key.assessor == name and bool(line.key.source) and line.part == ALL


def _gmad_section(outcome: Outcome) -> Section:
    text = (
        "Each assessor attacks each other one with two images that the defender holds for about equally good "
        "and that the attacker tells apart most (gMAD, Ma et al. 2016). The table shows how much better "
        "people rated the one that the attacker prefers, on the 1-5 scale, on average over levels: high "
        "means that the attacker is right and the defender has failed, zero or less that the attacker sees "
        "what people do not."
    )
    exhibits: list[Exhibit | Plot | Link] = []
    for name, arena in outcome.arenas.items():
        table = _attacks(arena, outcome.sets[name], outcome.benchmark.run.target)
        exhibits.append(Exhibit(f"{name}: attackers in rows, defenders in columns", table, heat=True))
        exhibits.append(Link(f"Pictures: competition on {name}", SHEET.format(name)))
    return Section("Competition", (text,), tuple(exhibits))


def _attacks(arena: Arena, rated: RatedSet, target: str) -> Table:
    quality = rated.ratings.quality(target)[arena.rows]
    rows: list[tuple[Cell, ...]] = []
    for attacker in arena.scores:
        row: list[Cell] = [attacker]
        for defender in arena.scores:
            seen = [
                quality[duel.better] - quality[duel.worse]
                for duel in arena.duels
                if (duel.attacker, duel.defender) == (attacker, defender)
            ]
            row.append(float(np.mean(seen)) if seen else NONE)
        rows.append(tuple(row))
    return Table(("attacker \\ defender", *arena.scores), tuple(rows))


def _sets_section(outcome: Outcome) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for name, rated in outcome.sets.items():
        card = rated.ratings.card
        scale = card.scale(outcome.benchmark.run.target)
        direction = "higher" if scale.higher_is_better else "lower"
        rows.append(
            (
                name,
                card.name,
                f"{len(rated.ratings):,}",
                f"{len(set(rated.ratings.groups)):,}",
                rated.config.split,
                f"{len(rated.splits)}",
                f"{scale.low:g} to {scale.high:g}, {direction} is better",
                card.licence,
            )
        )
    headings = ("set", "source", "images", "groups", "split", "splits", "scale", "licence")
    return Section("Sets", exhibits=(Exhibit("Sets of rated images", Table(headings, tuple(rows))),))


def _assessors_section(outcome: Outcome) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for name, entrant in outcome.entrants.items():
        config = outcome.benchmark.assessors[name]
        stated = entrant.training_data or ", ".join(config.trained_on) or "not stated"
        if isinstance(entrant, Trainable):
            before = f"; begins with weights trained on: {stated}" if entrant.training_data else ""
            stated = f"the training part of each split{before}"
        notes = [text.text for (who, _), text in outcome.claims.items() if who == name]
        rows.append((name, _kind(config), stated, "; ".join(notes) or NONE))
    headings = ("assessor", "what it is", "training data", "to be known")
    unstated = ", ".join(outcome.unstated)
    text = f"Nobody states what {unstated} learnt from: test images may have been among it."
    return Section(
        "Assessors", (text,) if unstated else (), (Exhibit("Assessors", Table(headings, tuple(rows))),)
    )


def _kind(config: AssessorConfig) -> str:
    if config.scores is not None:
        direction = ", lower is better (turned round)" if config.lower_is_better else ""
        return f"ready scores{direction}"
    for kind, words in (("model", "model"), ("recipe", "recipe"), ("trained", "trained model")):
        value = getattr(config, kind)
        if value is not None:
            return f"{words} {value}"
    return ""


def _method(outcome: Outcome) -> Iterator[str]:
    run = outcome.benchmark.run
    yield (
        "Scores are taken as higher is better: a negative figure is a wrong direction. SRCC, KRCC (tau-b) "
        "and PLCC are of the scores as they are; PLCC-4 and RMSE (on the 1-5 scale) after the logistic "
        "mapping with 4 parameters, which is fitted on the test part, as is usual. ± is the standard "
        "deviation over the splits."
    )
    yield (
        f"Intervals: {run.resamples:,} resamples of the groups of each set, BCa, {100 * run.coverage:g} %, "
        f"seed {run.seed}; a figure is the mean over the test parts in each resample. They hold the chance "
        "in the choice of images, not that of training, which ± shows. Mappings stay those of the whole part."
    )
    yield (
        "Differences: paired on the same resamples, percentile interval, two-sided p, and p after Holm's "
        "correction for all pairs of a table; p over splits is the corrected resampled t test of the paired "
        "differences (Nadeau and Bengio 2003)."
    )
    yield (
        "What is trained here is given training and validation part only, and makes its choices on the "
        "latter; what scores images is not given their ratings. Seeded splits never separate groups, and "
        "exact copies (by SHA-256 of the file) count as one; official splits are taken as they are, and "
        "warned of where they separate groups or copies. Sets that share an image are not tested on each "
        "other."
    )
