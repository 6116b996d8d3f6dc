"""Whether assessors agree differently well with people: each of them against the first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from foveal.evaluation.parts import parts_of
from foveal.evaluation.scores import Scores
from foveal.evaluation.significance import Comparison, compare
from foveal.evaluation.tables import Table
from foveal.ratings.table import Ratings

STATISTICS: tuple[Literal["srcc", "plcc"], ...] = ("srcc", "plcc")


@dataclass(frozen=True, slots=True)
class Difference:
    """One assessor less the first, in one figure on one part.

    Attributes:
        assessor: its label.
        part: ``all``, ``clean`` or a subset.
        statistic: ``srcc`` or ``plcc``.
        comparison: the difference, positive where this assessor agrees better with people than the first.
    """

    assessor: str
    part: str
    statistic: str
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Versus:
    """All differences to one assessor.

    Attributes:
        first: label of the assessor that the others are compared with.
        differences: assessor by assessor, part by part; at least one.
    """

    first: str
    differences: tuple[Difference, ...]

    def shown(self) -> Table:
        """The table for people: signs are written, an interval is one cell."""
        level = f"{100 * self.differences[0].comparison.level:g} %"
        rows = tuple(
            (
                one.assessor,
                one.part,
                one.statistic.upper(),
                f"{one.comparison.difference:+.3f}",
                f"{one.comparison.low:+.3f} to {one.comparison.high:+.3f}",
                f"{one.comparison.p_value:.4f}",
            )
            for one in self.differences
        )
        return Table(("assessor", "part", "figure", "difference", level, "p"), rows)

    def data(self) -> Table:
        """The table for programs."""
        level = f"{100 * self.differences[0].comparison.level:g}"
        rows = tuple(
            (
                one.assessor,
                self.first,
                one.part,
                one.statistic,
                one.comparison.difference,
                one.comparison.low,
                one.comparison.high,
                one.comparison.p_value,
            )
            for one in self.differences
        )
        ends = (f"low_{level}", f"high_{level}")
        return Table(("assessor", "against", "part", "figure", "difference", *ends, "p_value"), rows)


def against_first(
    ratings: Ratings,
    scores: Sequence[Scores],
    leave_out: Collection[str] = (),
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Versus:
    """Compare each assessor with the first by a paired bootstrap of SRCC and PLCC, on every part.

    Args:
        ratings: n images; those without a score do not count.
        scores: two or more assessors on these images; units may differ.
        leave_out: names of images that are not clean.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        The differences with intervals and two-sided p values. These are not corrected for the number of
        comparisons.

    Raises:
        ValueError: fewer than two assessors, or columns unfit for a correlation; the message names assessor
            and part.
        RatingsError: a name to leave out is not in the table.
    """
    if len(scores) < 2:
        raise ValueError(f"{len(scores)} assessor cannot be compared; give two or more")
    rated = ratings.quality()
    first, *others = scores
    differences = []
    for other in others:
        for part, rows in parts_of(ratings, leave_out).items():
            for statistic in STATISTICS:
                columns = (other.quality[rows], first.quality[rows], rated[rows])
                try:
                    comparison = compare(*columns, statistic, resamples=resamples, seed=seed)
                except ValueError as error:
                    raise ValueError(
                        f"{other.label} against {first.label}, part {part!r}: {error}"
                    ) from error
                differences.append(Difference(other.label, part, statistic, comparison))
    return Versus(first.label, tuple(differences))
