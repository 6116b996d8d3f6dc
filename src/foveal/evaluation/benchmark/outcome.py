"""All that a benchmark came to so far, from what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from foveal.evaluation.benchmark.claims import Claim, find_claims, unstated
from foveal.evaluation.benchmark.config import Benchmark
from foveal.evaluation.benchmark.differences import Difference, differences
from foveal.evaluation.benchmark.entrants import Entrant
from foveal.evaluation.benchmark.gmad import Duel, compete
from foveal.evaluation.benchmark.lines import ALL, CLEAN, Line, line_of
from foveal.evaluation.benchmark.plan import Cell, LineKey, Plan
from foveal.evaluation.benchmark.prepared import Prepared
from foveal.evaluation.benchmark.rated_sets import RatedSet
from foveal.evaluation.pairs import Floats


@dataclass(frozen=True, eq=False)
class Arena:
    """The competition on one set: all assessors on the test part of its first split.

    Attributes:
        rows: int64 [n], positions of its images in the set.
        scores: float64 [n] by assessor.
        duels: positions in them count within ``rows``.
    """

    rows: np.ndarray[tuple[int], np.dtype[np.int64]]
    scores: Mapping[str, Floats]
    duels: tuple[Duel, ...]


@dataclass(frozen=True, eq=False)
class Outcome:
    """A benchmark and its results.

    Attributes:
        benchmark: what was to be done.
        sets: by name.
        entrants: by name.
        plan: all cells.
        lines: those whose cells are all there.
        absent: reason for each line that is not there, refused ones included.
        differences: between assessors on one set.
        arenas: competitions by set; none of sets with fewer than two assessors.
        claims: by names of assessor and set; see :mod:`foveal.evaluation.benchmark.claims`.
        unstated: assessors of which nobody says what they have seen.
    """

    benchmark: Benchmark
    sets: Mapping[str, RatedSet]
    entrants: Mapping[str, Entrant]
    plan: Plan
    lines: tuple[Line, ...]
    absent: Mapping[LineKey, str]
    differences: tuple[Difference, ...]
    arenas: Mapping[str, Arena]
    claims: Mapping[tuple[str, str], Claim]
    unstated: tuple[str, ...]

    def within(self, tested: str, part: str) -> list[Line]:
        """Lines of one set, without those that were trained on another, in the file's order of assessors."""
        return [
            line
            for line in self.lines
            if line.part == part and line.key.tested == tested and line.key.source in ("", tested)
        ]

    def leaks(self, assessor: str, tested: str) -> bool:
        """Whether figures are marked, as test images may have been seen before."""
        claim = self.claims.get((assessor, tested))
        return claim is not None and claim.leaks

    def warnings(self) -> list[str]:
        """What a reader must know before the figures."""
        found = [f"{name}: {text}" for name, rated in self.sets.items() for text in rated.warnings]
        found += [
            f"{name}, marked †: {claim.text}" for (name, _), claim in self.claims.items() if claim.leaks
        ]
        return found


def gather(prepared: Prepared, failed: Mapping[Cell, str]) -> Outcome:
    """Compute all figures of what is stored.

    Args:
        prepared: the benchmark, with stored scores.
        failed: reason for each cell that could not be computed just now.

    Raises:
        MissingExtraError: SciPy is not installed.
        OutputError: resamples cannot be kept.
    """
    benchmark, sets, entrants, plan = prepared.benchmark, prepared.sets, prepared.entrants, prepared.plan
    cells: dict[LineKey, list[Cell]] = {}
    for cell in plan.cells:
        cells.setdefault(cell.line, []).append(cell)
    lines: list[Line] = []
    absent = dict(plan.refused)
    for key, mine in cells.items():
        line = line_of(key, ALL, mine, prepared)
        if line is None:
            absent[key] = _reason(mine, prepared, failed)
            continue
        lines.append(line)
        if sets[key.tested].has_clean:
            clean = line_of(key, CLEAN, mine, prepared)
            lines += [] if clean is None else [clean]
    outcome = Outcome(
        benchmark=benchmark,
        sets=sets,
        entrants=entrants,
        plan=plan,
        lines=tuple(lines),
        absent=absent,
        differences=(),
        arenas=_arenas(prepared),
        claims=find_claims(benchmark, sets, entrants, plan.shared),
        unstated=tuple(unstated(benchmark, entrants)),
    )
    compared = tuple(
        difference
        for tested in sets
        for part in (ALL, CLEAN)
        for difference in differences(outcome.within(tested, part), benchmark.run.coverage)
    )
    return replace(outcome, differences=compared)


def _reason(cells: list[Cell], prepared: Prepared, failed: Mapping[Cell, str]) -> str:
    """Why a line has no figures."""
    for cell in cells:
        if cell in failed:
            return f"failed: {failed[cell]}"
    there = sum(prepared.scores(cell) is not None for cell in cells)
    return f"not computed yet: {there} of {len(cells)} cells are there"


def _arenas(prepared: Prepared) -> dict[str, Arena]:
    arenas = {}
    gmad = prepared.benchmark.gmad
    for name, rated in prepared.sets.items() if gmad.levels else ():
        scores = {}
        for cell in prepared.plan.cells:
            if cell.line.tested == name and cell.line.source in ("", name) and cell.split == 0:
                found = prepared.scores(cell)
                if found is not None:
                    scores[cell.line.assessor] = found
        duels = compete(scores, levels=gmad.levels, share=gmad.share)
        if duels:
            arenas[name] = Arena(rated.rows(0, "test"), scores, duels)
    return arenas
