"""Does the score fall when an image gets worse? A check that needs photographs but no ratings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from foveal.evaluation.correlation import srcc
from foveal.evaluation.pairs import checked_column
from foveal.evaluation.tables import Cell, Table
from foveal.imaging.degradations import DEGRADATIONS, degrade
from foveal.imaging.views import Pixels

SEVERITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class Trend:
    """One photograph under one degradation.

    Attributes:
        image: its name.
        kind: the degradation.
        severities: in growing order, the first 0 (untouched).
        scores: the score at each severity.
        spearman: rank correlation of severity and score: -1 if the score falls at every step, 0 if it does
            not move at all.
    """

    image: str
    kind: str
    severities: tuple[float, ...]
    scores: tuple[float, ...]
    spearman: float


@dataclass(frozen=True, slots=True)
class TrendReport:
    """All photographs under all degradations.

    Attributes:
        trends: photograph by photograph, kind by kind.
    """

    trends: tuple[Trend, ...]

    @property
    def mean(self) -> float:
        """Mean of all rank correlations; -1 is perfect."""
        return float(np.mean([trend.spearman for trend in self.trends]))

    def table(self) -> Table:
        """Mean rank correlation by photograph (rows) and kind (columns), with the means of both."""
        images = tuple(dict.fromkeys(trend.image for trend in self.trends))
        kinds = tuple(dict.fromkeys(trend.kind for trend in self.trends))
        value = {(trend.image, trend.kind): trend.spearman for trend in self.trends}
        rows: list[tuple[Cell, ...]] = []
        for image in images:
            cells = [value[image, kind] for kind in kinds]
            rows.append((image, *cells, float(np.mean(cells))))
        means = [float(np.mean([value[image, kind] for image in images])) for kind in kinds]
        return Table(("image", *kinds, "mean"), (*rows, ("mean", *means, self.mean)))


def severity_trend(
    assess: Callable[[Pixels], float],
    images: Iterable[tuple[str, Pixels]],
    kinds: Sequence[str] = tuple(DEGRADATIONS),
    severities: Sequence[float] = SEVERITIES,
) -> TrendReport:
    """Degrade photographs in steps and correlate severity with score.

    Args:
        assess: pixels, uint8 (height, width, 3), -> quality, higher is better.
        images: (name, pixels), names unique; taken one at a time, so they may be decoded on the way.
        kinds: keys of :data:`foveal.imaging.degradations.DEGRADATIONS`.
        severities: in [0, 1], at least three; 0, the image itself, is added if it is not among them.

    Returns:
        A trend for each photograph and kind.

    Raises:
        ValueError: no images or kinds, a name twice, an unknown kind, too few severities or one out of range,
            or a score that is NaN or infinite.
    """
    steps = tuple(sorted({0.0, *severities}))
    if len(steps) < 3:
        raise ValueError(f"severities are {list(steps)}, expected at least three different ones, 0 included")
    if not kinds:
        raise ValueError("there are no kinds of degradation to apply")
    trends: dict[tuple[str, str], Trend] = {}
    for name, pixels in images:
        untouched = float(assess(pixels))
        for kind in kinds:
            if (name, kind) in trends:
                raise ValueError(f"{name} under {kind} comes twice")
            scores = (untouched, *(float(assess(degrade(pixels, kind, step))) for step in steps[1:]))
            checked_column(scores, f"scores of {name} under {kind}")
            spearman = srcc(steps, scores) if len(set(scores)) > 1 else 0.0
            trends[name, kind] = Trend(name, kind, steps, scores, spearman)
    if not trends:
        raise ValueError("there are no images to degrade")
    return TrendReport(tuple(trends.values()))
