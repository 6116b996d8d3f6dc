"""How often the ratings lie inside the intervals that come with the scores."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from foveal.evaluation.parts import parts_of
from foveal.evaluation.scores import Scores
from foveal.evaluation.tables import Cell, Table
from foveal.ratings.table import Ratings


def coverage_table(ratings: Ratings, scores: Sequence[Scores], leave_out: Collection[str] = ()) -> Table:
    """Coverage and mean width of the intervals, by assessor and part.

    Args:
        ratings: n images; those without a score do not count.
        scores: of these images; assessors that give no intervals have no rows.
        leave_out: names of images that are not clean.

    Returns:
        Columns assessor, part, n, coverage (share of ratings inside, ends included, 0 to 1) and mean width
        (on the 1-5 scale).

    Raises:
        ValueError: an interval ends before it begins, or scores are not one for each image.
        RatingsError: a name to leave out is not in the table.
    """
    rated = ratings.quality()
    rows: list[tuple[Cell, ...]] = []
    for assessor in scores:
        if assessor.interval is None:
            continue
        low, high = assessor.interval
        if not len(low) == len(high) == len(rated):
            raise ValueError(f"{assessor.label}: {len(low)} intervals for {len(rated)} images")
        turned = np.flatnonzero(low > high)
        if turned.size:
            first = int(turned[0])
            raise ValueError(
                f"{assessor.label}: the interval of {ratings.names[first]} runs from {low[first]:g} down to "
                f"{high[first]:g}"
            )
        inside, width = (low <= rated) & (rated <= high), high - low
        for part, chosen in parts_of(ratings, leave_out).items():
            share, mean = float(inside[chosen].mean()), float(width[chosen].mean())
            rows.append((assessor.label, part, len(chosen), share, mean))
    return Table(("assessor", "part", "n", "coverage", "mean width"), tuple(rows))
