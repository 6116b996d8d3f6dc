"""Figures of one assessor on one set: on each test part, their mean, spread and interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foveal.evaluation.benchmark.config import RunConfig
from foveal.evaluation.benchmark.content import key_of, versions
from foveal.evaluation.benchmark.plan import Cell, LineKey
from foveal.evaluation.benchmark.prepared import Prepared
from foveal.evaluation.benchmark.rated_sets import RatedSet
from foveal.evaluation.benchmark.resampling import Draws, ScoredPart, bca, draw
from foveal.evaluation.benchmark.store import Store
from foveal.evaluation.benchmark.weighted import FIGURES

ALL, CLEAN = "all", "clean"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a line.

    Attributes:
        mean: over the test parts; NaN if one of them has none.
        std: over the test parts, divided by their number less one; NaN for a single part.
        low: lower end of the bootstrap interval.
        high: upper end.
    """

    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Line:
    """One assessor on one set, all images or the clean ones.

    Attributes:
        key: assessor and sets.
        part: ``all`` or ``clean``.
        cells: whose test parts these are.
        counts: images of each test part.
        rest: rated images in the other parts of each split.
        draws: figures of each part and on resamples.
        figures: by name, those of :data:`FIGURES`.
    """

    key: LineKey
    part: str
    cells: tuple[Cell, ...]
    counts: tuple[int, ...]
    rest: tuple[int, ...]
    draws: Draws
    figures: Mapping[str, Figure]


def line_of(key: LineKey, part: str, cells: Sequence[Cell], prepared: Prepared) -> Line | None:
    """Compute a line from stored cells.

    Args:
        key: which.
        part: ``all`` or ``clean``.
        cells: all cells of the line.
        prepared: sets, scores and settings; resamples are kept in its store too.

    Returns:
        The line; None if a cell is not stored.

    Raises:
        MissingExtraError: SciPy is not installed.
        OutputError: resamples cannot be kept.
    """
    run, rated = prepared.benchmark.run, prepared.sets[key.tested]
    quality = rated.ratings.quality(run.target)
    parts = []
    for cell in cells:
        scores = prepared.scores(cell)
        if scores is None:
            return None
        rows = rated.rows(cell.split, "test")
        kept = np.array([part == ALL or rated.ratings.names[row] not in rated.unclean for row in rows], bool)
        parts.append(ScoredPart(rows[kept], scores[kept], quality[rows[kept]]))
    draws = _draws(parts, rated, prepared.store, run)
    return Line(
        key=key,
        part=part,
        cells=tuple(cells),
        counts=tuple(len(tested.rows) for tested in parts),
        rest=tuple(len(rated.rows(cell.split, "train", "validation")) for cell in cells),
        draws=draws,
        figures={name: _figure(draws, column, run.coverage) for column, name in enumerate(FIGURES)},
    )


def _figure(draws: Draws, column: int, coverage: float) -> Figure:
    values = draws.values[:, column]
    mean = float(values.mean())
    low, high = bca(mean, draws.draws[:, column], draws.left_out[:, column], coverage)
    std = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return Figure(mean, std, low, high)


def _draws(parts: Sequence[ScoredPart], rated: RatedSet, store: Store, run: RunConfig) -> Draws:
    """Resamples, from the store where they are there."""
    key = key_of(
        {
            "format": _FORMAT,
            "software": versions("foveal", "numpy", "scipy"),
            "resamples": run.resamples,
            "seed": run.seed,
            "groups": [[rated.ratings.groups[row] for row in part.rows] for part in parts],
            "rows": [part.rows.tolist() for part in parts],
            "predicted": [part.predicted.tolist() for part in parts],
            "rated": [part.rated.tolist() for part in parts],
        }
    )
    stored = store.draws(key)
    if stored is not None:
        return stored
    draws = draw(parts, rated.ratings.groups, resamples=run.resamples, seed=run.seed)
    store.keep_draws(key, draws)
    return draws
