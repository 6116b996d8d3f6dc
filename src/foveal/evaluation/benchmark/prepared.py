"""A benchmark that is read and checked, before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foveal.evaluation.benchmark.config import Benchmark, BenchmarkError
from foveal.evaluation.benchmark.enter import load_entrants, load_sets
from foveal.evaluation.benchmark.entrants import Entrant
from foveal.evaluation.benchmark.plan import Cell, Plan, items_of, make_plan, select
from foveal.evaluation.benchmark.rated_sets import RatedSet
from foveal.evaluation.benchmark.store import Store
from foveal.evaluation.benchmark.telling import Telling
from foveal.evaluation.pairs import Floats
from foveal.evaluation.study import require_extras


@dataclass(frozen=True)
class Prepared:
    """A benchmark whose sets are read and whose assessors are there; nothing is computed yet.

    Attributes:
        benchmark: from its file.
        sets: by name.
        entrants: by name.
        plan: all cells.
        chosen: those that are to be computed, unless they are stored.
        store: of the results.
    """

    benchmark: Benchmark
    sets: Mapping[str, RatedSet]
    entrants: Mapping[str, Entrant]
    plan: Plan
    chosen: tuple[Cell, ...]
    store: Store

    def scores(self, cell: Cell) -> Floats | None:
        """Scores of a cell, float64 [n], or None if they are not stored."""
        return self.store.cell(cell.judge, items_of(cell, self.sets))

    def missing(self) -> tuple[Cell, ...]:
        """Chosen cells that are not stored yet."""
        return tuple(cell for cell in self.chosen if self.scores(cell) is None)


def prepare(
    benchmark: Benchmark,
    *,
    out: str | Path | None = None,
    only: Sequence[str] = (),
    entrants: Mapping[str, Entrant] | None = None,
    telling: Telling | None = None,
) -> Prepared:
    """Read and check everything; write nothing.

    Args:
        benchmark: from :func:`foveal.evaluation.benchmark.config.read_benchmark`.
        out: folder of the results; by default the one that the file names, relative to the file.
        only: what to compute, as ``ASSESSOR/SET``; see :func:`foveal.evaluation.benchmark.plan.select`.
        entrants: assessors by the names in the file, in place of those that the file describes.
        telling: whom to tell of the sets that are read.

    Raises:
        BenchmarkError: a set or an assessor cannot be used, or there is no folder for the results.
        MissingExtraError: SciPy, the lab, or what reads a table is not installed.
    """
    require_extras(plots=False)
    if out is None and benchmark.run.out is None:
        raise BenchmarkError("run.out: name a folder for the results, here or with --out")
    folder = Path(out) if out is not None else benchmark.folder / str(benchmark.run.out)
    entrants = load_entrants(benchmark) if entrants is None else entrants
    sets = load_sets(benchmark, entrants, (telling or Telling()).said)
    plan = make_plan(benchmark, sets, entrants)
    return Prepared(benchmark, sets, entrants, plan, select(plan, only), Store(folder))
