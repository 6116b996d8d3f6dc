"""What is to be computed: a cell for each assessor, training part and test part, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from foveal.evaluation.benchmark.config import Benchmark, BenchmarkError
from foveal.evaluation.benchmark.content import key_of
from foveal.evaluation.benchmark.entrants import Entrant, Ready
from foveal.evaluation.benchmark.leaks import shared_images
from foveal.evaluation.benchmark.rated_sets import RatedSet


@dataclass(frozen=True, slots=True, order=True)
class LineKey:
    """Cells that are reported together.

    Attributes:
        assessor: its name.
        source: set that it was trained on here; empty if it was not trained here.
        tested: set that it is tested on.
    """

    assessor: str
    source: str
    tested: str

    def __str__(self) -> str:
        on = f" trained on {self.source}" if self.source and self.source != self.tested else ""
        return f"{self.assessor}{on} on {self.tested}"


@dataclass(frozen=True, slots=True)
class Cell:
    """Scores of one test part.

    Attributes:
        line: what it belongs to.
        split: number of the split whose test part it is, from 0.
        source_split: number of the split that it was trained on, from 0; None if it was not trained here.
        judge: key of all that its scores depend on, but for the images.
    """

    line: LineKey
    split: int
    source_split: int | None
    judge: str

    def __str__(self) -> str:
        trained = "" if self.source_split in (None, self.split) else f", trained on {self.source_split + 1}"
        return f"{self.line}, split {self.split + 1}{trained}"


@dataclass(frozen=True)
class Plan:
    """All cells of a benchmark.

    Attributes:
        cells: in the order in which they are computed; those of one judge stand together.
        refused: reason for each line that there will be none of.
        identities: what each judge depends on, by its key.
        shared: numbers of images that sets have in common, by pair.
    """

    cells: tuple[Cell, ...]
    refused: Mapping[LineKey, str]
    identities: Mapping[str, Mapping[str, object]] = field(repr=False)
    shared: Mapping[tuple[str, str], int]


def make_plan(benchmark: Benchmark, sets: Mapping[str, RatedSet], entrants: Mapping[str, Entrant]) -> Plan:
    """Lay out all cells.

    Args:
        benchmark: from :func:`foveal.evaluation.benchmark.config.read_benchmark`.
        sets: by name.
        entrants: by name.
    """
    shared = shared_images({name: rated.contents for name, rated in sets.items()})
    cells: list[Cell] = []
    refused: dict[LineKey, str] = {}
    identities: dict[str, Mapping[str, object]] = {}
    target = benchmark.run.target
    for name, entrant in entrants.items():
        own = {} if isinstance(entrant, Ready) else {"target": target, **entrant.identity()}
        for rated in sets.values():
            if isinstance(entrant, Ready):
                found = _ready(name, entrant, rated, target, identities)
                if not found:
                    refused[LineKey(name, "", rated.name)] = "there are no scores of this set"
                cells += found
                continue
            if not rated.is_learnable:
                reason = f"{rated.name} has no training part"
                refused[LineKey(name, rated.name, rated.name)] = reason
                continue
            others = [other for other in sets.values() if other is not rated] if benchmark.run.cross else []
            for other in others:
                count = shared.get((rated.name, other.name))
                if count:
                    images = f"{count:,} image{'s are' if count > 1 else ' is'}"
                    key = LineKey(name, rated.name, other.name)
                    refused[key] = f"{images} both in {rated.name} and in {other.name}"
            tested = [other for other in others if (rated.name, other.name) not in shared]
            cells += _trained(name, own, rated, tested, identities)
    return Plan(tuple(cells), refused, identities, shared)


def select(plan: Plan, patterns: Sequence[str]) -> tuple[Cell, ...]:
    """Cells that are to be computed.

    Args:
        plan: all of them.
        patterns: ``ASSESSOR/SET`` or ``ASSESSOR``, the set being that of the test; ``*`` stands for anything.
            None at all take every cell.

    Raises:
        BenchmarkError: a pattern fits no cell.
    """
    chosen: set[Cell] = set()
    for pattern in patterns:
        assessor, _, tested = pattern.partition("/")
        fitting = {
            cell
            for cell in plan.cells
            if fnmatchcase(cell.line.assessor, assessor) and fnmatchcase(cell.line.tested, tested or "*")
        }
        if not fitting:
            there = ", ".join(dict.fromkeys(f"{c.line.assessor}/{c.line.tested}" for c in plan.cells))
            raise BenchmarkError(f"{pattern}: fits nothing to compute; there is {there or 'nothing'}")
        chosen |= fitting
    return tuple(cell for cell in plan.cells if cell in chosen) if patterns else plan.cells


def items_of(cell: Cell, sets: Mapping[str, RatedSet]) -> list[str]:
    """What tells the images of a cell from all others, in the order of the table."""
    rated = sets[cell.line.tested]
    return [rated.items[row] for row in rated.rows(cell.split, "test")]


def _ready(
    name: str, entrant: Ready, rated: RatedSet, target: str, identities: dict[str, Mapping[str, object]]
) -> list[Cell]:
    own = entrant.identity(rated)
    if own is None:
        return []
    identity = {"target": target, **own}
    judge = key_of(identity)
    identities[judge] = identity
    line = LineKey(name, "", rated.name)
    return [Cell(line, split, None, judge) for split in range(len(rated.splits))]


def _trained(
    name: str,
    own: Mapping[str, object],
    rated: RatedSet,
    tested: Sequence[RatedSet],
    identities: dict[str, Mapping[str, object]],
) -> list[Cell]:
    cells = []
    for split in range(len(rated.splits)):
        identity = {**own, "learnt": _learnt_key(rated, split)}
        judge = key_of(identity)
        identities[judge] = identity
        cells.append(Cell(LineKey(name, rated.name, rated.name), split, split, judge))
        cells += [
            Cell(LineKey(name, rated.name, other.name), number, split, judge)
            for other in tested
            for number in range(len(other.splits))
        ]
    return cells


def _learnt_key(rated: RatedSet, split: int) -> str:
    """Key of what is learnt from: images, ratings on the 1-5 scale, prompts and parts, in their order."""
    learnt = rated.learnt(split)
    item_of = dict(zip(rated.ratings.names, rated.items, strict=True))
    return key_of(
        {
            "items": [item_of[name] for name in learnt.names],
            "parts": list(learnt.split),
            "ratings": {target: _plain(learnt.quality(target).tolist()) for target in learnt.targets},
        }
    )


def _plain(values: list[float]) -> list[float | None]:
    """NaN, which a hash would take, is no JSON."""
    return [None if math.isnan(value) else value for value in values]
