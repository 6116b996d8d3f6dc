"""The work itself: whatever is missing is trained and scored, and each finished cell is stored at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby

import numpy as np

from foveal.errors import FovealError
from foveal.evaluation.benchmark.config import BenchmarkError
from foveal.evaluation.benchmark.entrants import Judge, Progress, Ready
from foveal.evaluation.benchmark.plan import Cell, items_of
from foveal.evaluation.benchmark.prepared import Prepared
from foveal.evaluation.benchmark.rated_sets import RatedSet
from foveal.evaluation.benchmark.telling import Telling
from foveal.evaluation.pairs import Floats
from foveal.ratings.table import Ratings

_EXPECTED = (FovealError, ValueError, FloatingPointError, OSError)
"""What a user can do wrong; all else is a fault of the program, and ends it."""


def compute(prepared: Prepared, telling: Telling | None = None) -> dict[Cell, str]:
    """Compute those of the chosen cells that are not stored.

    A cell that fails does not stop the others. An interruption loses no finished cell.

    Args:
        prepared: what to compute, and where scores are kept.
        telling: whom to tell.

    Returns:
        Reason for each cell that failed.

    Raises:
        OutputError: scores cannot be written.
    """
    telling = telling or Telling()
    missing = prepared.missing()
    failed: dict[Cell, str] = {}
    done = 0
    for _, group in groupby(missing, key=lambda cell: (cell.judge, cell.line.source or cell.line.tested)):
        mine = list(group)
        try:
            score = _judge(mine[0], prepared, telling.progress)
        except _EXPECTED as error:
            failed |= dict.fromkeys(mine, str(error))
            done += len(mine)
            telling.said(f"[{done}/{len(missing)}] {mine[0].line}: failed: {error}")
            continue
        known = prepared.store.scores(mine[0].judge)
        for cell in mine:
            done += 1
            try:
                scores, new = _scored(cell, prepared.sets, score, known, telling.progress)
            except _EXPECTED as error:
                failed[cell] = str(error)
                telling.said(f"[{done}/{len(missing)}] {cell}: failed: {error}")
                continue
            about = _about(cell, prepared)
            prepared.store.keep(cell.judge, items_of(cell, prepared.sets), scores, about)
            telling.said(f"[{done}/{len(missing)}] {cell}: {new:,} of {len(scores):,} images scored")
    return failed


def _judge(cell: Cell, prepared: Prepared, progress: Progress) -> Judge:
    entrant = prepared.entrants[cell.line.assessor]
    if isinstance(entrant, Ready):
        return entrant.judge(prepared.sets[cell.line.tested])
    learnt = prepared.sets[cell.line.source].learnt(cell.source_split or 0)
    return entrant.train(learnt, prepared.store.run_folder(cell.judge), progress)


def _scored(
    cell: Cell,
    sets: Mapping[str, RatedSet],
    score: Judge,
    known: dict[str, float],
    progress: Progress,
) -> tuple[Floats, int]:
    """Scores of a cell, and how many of them are new; ``known`` takes these up."""
    rated = sets[cell.line.tested]
    items = items_of(cell, sets)
    rows = [int(row) for row in rated.rows(cell.split, "test") if rated.items[row] not in known]
    if rows:
        scores = np.asarray(score(_blind(rated.ratings.take(rows)), progress), np.float64)
        if scores.shape != (len(rows),) or not np.isfinite(scores).all():
            raise BenchmarkError(
                f"{cell.line.assessor} gives scores of shape {scores.shape} for {len(rows)} images, or some "
                "that are not finite"
            )
        known.update(zip((rated.items[row] for row in rows), scores.tolist(), strict=True))
    return np.array([known[item] for item in items]), len(rows)


def _blind(images: Ratings) -> Ratings:
    """The same images without what people said of them: whatever scores them cannot look."""
    lowest = {target: np.full(len(images), images.card.scale(target).low) for target in images.targets}
    return replace(images, scores=lowest, std={})


def _about(cell: Cell, prepared: Prepared) -> dict[str, object]:
    rated = prepared.sets[cell.line.tested]
    return {
        "assessor": cell.line.assessor,
        "trained_on": cell.line.source,
        "trained_split": cell.source_split,
        "set": cell.line.tested,
        "split": cell.split,
        "names": [rated.ratings.names[row] for row in rated.rows(cell.split, "test")],
        "depends_on": dict(prepared.plan.identities[cell.judge]),
    }
