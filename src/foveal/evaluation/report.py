"""The standard report: every figure, on all images, on the clean part, and within each subset."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from numpy.typing import ArrayLike

from foveal.evaluation.correlation import Correlations, correlations
from foveal.evaluation.pairs import checked_column
from foveal.evaluation.parts import parts_of
from foveal.evaluation.significance import Estimate, bootstrap_interval
from foveal.evaluation.tables import Cell, Table
from foveal.ratings.table import Ratings

_WITH_INTERVAL: tuple[Literal["srcc", "plcc"], ...] = ("srcc", "plcc")


@dataclass(frozen=True, slots=True)
class PartResult:
    """Figures on one part.

    Attributes:
        part: ``all``, ``clean``, or the name of a subset.
        figures: correlations and errors; RMSE on the 1-5 scale.
        srcc: SRCC with its interval.
        plcc: raw PLCC with its interval.
    """

    part: str
    figures: Correlations
    srcc: Estimate
    plcc: Estimate


@dataclass(frozen=True, slots=True)
class Report:
    """Figures on all parts.

    Attributes:
        results: ``all`` first.
    """

    results: tuple[PartResult, ...]

    def __getitem__(self, part: str) -> PartResult:
        for result in self.results:
            if result.part == part:
                return result
        raise KeyError(part)

    def to_text(self) -> str:
        """Aligned columns for a terminal, three decimals."""
        return self.shown().to_text()

    def to_markdown(self) -> str:
        """A Markdown table, three decimals."""
        return self.shown().to_markdown()

    def to_csv(self) -> str:
        """Comma separated, full precision; ends of intervals have columns (``srcc_low_95``)."""
        return self.data().to_csv()

    def shown(self) -> Table:
        """The table for people: an interval is one cell."""
        level = f"{self._percent()} %"
        headings = ("part", "n", "SRCC", level, "PLCC", level, "KRCC", "PLCC-4", "RMSE-4", "PLCC-5", "RMSE-5")
        return self._table(headings, lambda estimate: (f"{estimate.low:.3f} to {estimate.high:.3f}",))

    def data(self) -> Table:
        """The table for programs: each end of an interval has a column."""
        headings = ["part", "n"]
        for name in _WITH_INTERVAL:
            headings += [name, f"{name}_low_{self._percent()}", f"{name}_high_{self._percent()}"]
        headings += ["krcc", "plcc_4", "rmse_4", "plcc_5", "rmse_5"]
        return self._table(tuple(headings), lambda estimate: (estimate.low, estimate.high))

    def _percent(self) -> str:
        return f"{100 * self.results[0].srcc.level:g}"

    def _table(self, headings: tuple[str, ...], ends: Callable[[Estimate], tuple[Cell, ...]]) -> Table:
        rows: list[tuple[Cell, ...]] = []
        for result in self.results:
            figures = result.figures
            row: list[Cell] = [result.part, figures.n]
            for estimate in (result.srcc, result.plcc):
                row += [estimate.value, *ends(estimate)]
            row += [figures.krcc, figures.plcc_4, figures.rmse_4, figures.plcc_5, figures.rmse_5]
            rows.append(tuple(row))
        return Table(headings, tuple(rows))


def report(
    ratings: Ratings,
    predicted: ArrayLike,
    *,
    leave_out: Collection[str] = (),
    target: str = "quality",
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Report:
    """Evaluate predictions on all images of a table, on its clean part, and within each subset.

    Args:
        ratings: the images to report on, such as ``read_biq2021(folder).part("test")``. Images without a
            score of this target do not count.
        predicted: float [n], one for each image of ``ratings``, in its order.
        leave_out: names of images that are not clean (near copies of training images, say); without any
            there is no clean part.
        target: a score column; its ratings are taken on the 1-5 scale, higher is better.
        resamples: of the bootstrap.
        level: confidence of the intervals.
        seed: of the bootstrap.

    Returns:
        Figures for ``all``, ``clean`` and each subset in alphabetical order.

    Raises:
        ValueError: predictions are not finite or not one for each image, or a part is unfit (fewer than six
            images, or constant): its name stands in the message.
        RatingsError: the target or a name to leave out is not in the table.
        MissingExtraError: SciPy is not installed.
    """
    scores = checked_column(predicted, "predicted")
    if len(scores) != len(ratings):
        raise ValueError(f"{len(scores)} predicted scores for {len(ratings)} images")
    rated = ratings.quality(target)
    results = []
    for part, rows in parts_of(ratings, leave_out, target).items():
        try:
            figures = correlations(scores[rows], rated[rows])
            srcc, plcc = (
                bootstrap_interval(
                    scores[rows], rated[rows], name, resamples=resamples, level=level, seed=seed
                )
                for name in _WITH_INTERVAL
            )
        except ValueError as error:
            raise ValueError(f"part {part!r} of {ratings.card.name}: {error}") from error
        results.append(PartResult(part, figures, srcc, plcc))
    return Report(tuple(results))
