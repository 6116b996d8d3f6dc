"""Evaluation on repeated splits, as papers report sets that have no official one: median of ten, say.

The protocol keeps apart what must be apart: whoever fits sees the training and the validation part, choices
are made on the validation part, and the test part is only ever predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from foveal.errors import MissingExtraError, RatingsError
from foveal.evaluation.correlation import Correlations, correlations
from foveal.evaluation.pairs import Floats, checked_column
from foveal.evaluation.tables import Cell, Table
from foveal.ratings.splits import Split
from foveal.ratings.table import Ratings, listing

Predict = Callable[[Ratings], ArrayLike]
"""Images -> float [n], one score for each, in their order. The ratings of the images are not for it."""
Fit = Callable[[Ratings, Ratings], Predict]
"""Training and validation part -> a predictor."""

FIGURES = MappingProxyType(
    {
        "srcc": "SRCC",
        "krcc": "KRCC",
        "plcc": "PLCC",
        "plcc_4": "PLCC-4",
        "rmse_4": "RMSE-4",
        "plcc_5": "PLCC-5",
        "rmse_5": "RMSE-5",
    }
)
"""Heading of each figure of :class:`foveal.evaluation.correlation.Correlations`."""
_NEEDED = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class SplitResult:
    """Figures on the test part of one split.

    Attributes:
        origin: how the split was made.
        rest: rated images in the other two parts.
        figures: correlations and errors on the test part; RMSE on the 1-5 scale.
    """

    origin: str
    rest: int
    figures: Correlations


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over all splits.

    Attributes:
        median: of the splits.
        mean: of the splits.
        std: standard deviation over the splits (divided by their number less one).
        low: lower end of the mean's confidence interval.
        high: upper end.
        lowest: on the worst split (for an RMSE, the best).
        highest: on the best split.
    """

    median: float
    mean: float
    std: float
    low: float
    high: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class SplitsReport:
    """Figures on the test parts of several splits.

    Attributes:
        results: in the order of the splits, at least two.
        level: confidence of the intervals in the summary.
    """

    results: tuple[SplitResult, ...]
    level: float

    def spread(self, figure: str) -> Spread:
        """One figure over all splits.

        Test parts of random splits overlap, so the figures are not independent and their standard error would
        be far too small. The interval is that of the corrected resampled t test (Nadeau and Bengio, Inference
        for the generalization error, Machine Learning 52, 2003, section 3): the variance of the mean of J
        splits is taken as ``(1 / J + test / rest)`` times that of one.

        Args:
            figure: a key of :data:`FIGURES`.

        Raises:
            ValueError: there is no such figure.
            MissingExtraError: SciPy is not installed.
        """
        if figure not in FIGURES:
            raise ValueError(f"unknown figure {figure!r}; there are {', '.join(FIGURES)}")
        try:
            from scipy.special import stdtrit
        except ImportError:
            raise MissingExtraError("An interval over splits", "evaluation") from None
        values = np.array([getattr(result.figures, figure) for result in self.results])
        count, mean, std = len(values), float(values.mean()), float(values.std(ddof=1))
        ratio = float(np.mean([result.figures.n / result.rest for result in self.results]))
        reach = float(stdtrit(count - 1, (1 + self.level) / 2)) * std * float(np.sqrt(1 / count + ratio))
        return Spread(
            median=float(np.median(values)),
            mean=mean,
            std=std,
            low=mean - reach,
            high=mean + reach,
            lowest=float(values.min()),
            highest=float(values.max()),
        )

    def summary(self) -> Table:
        """A row a figure: median, mean, spread (standard deviation), interval of the mean, both extremes."""
        level = f"{100 * self.level:g} %"
        rows: list[tuple[Cell, ...]] = []
        for figure, heading in FIGURES.items():
            of = self.spread(figure)
            ends = f"{of.low:.3f} to {of.high:.3f}"
            rows.append((heading, of.median, of.mean, of.std, ends, of.lowest, of.highest))
        headings = ("figure", "median", "mean", "spread", f"{level} of the mean", "lowest", "highest")
        return Table(headings, tuple(rows))

    def table(self) -> Table:
        """A row a split, numbered from 1, with the size of its test part."""
        rows = [
            (number, result.figures.n, *(getattr(result.figures, figure) for figure in FIGURES))
            for number, result in enumerate(self.results, 1)
        ]
        return Table(("split", "n", *FIGURES.values()), tuple(rows))

    def data(self) -> Table:
        """The same for programs, with how each split was made."""
        names = [field.name for field in fields(Correlations)]
        rows = [
            (number, result.origin, *(getattr(result.figures, name) for name in names))
            for number, result in enumerate(self.results, 1)
        ]
        return Table(("split", "origin", *names), tuple(rows))


def over_splits(
    ratings: Ratings, splits: Sequence[Split], fit: Fit, target: str = "quality", *, level: float = 0.95
) -> SplitsReport:
    """Fit on each split and evaluate on its test part.

    All splits are checked before the first is fitted.

    Args:
        ratings: the whole table.
        splits: at least two, each with a training, a validation and a test part, such as those of
            :func:`foveal.ratings.splits.seeded_splits`.
        fit: called once a split with its training and its validation part, never with its test part; what it
            returns is then called with the test part. :func:`fixed` makes one of an assessor that is not
            fitted at all.
        target: a score column; its ratings are taken on the 1-5 scale, higher is better.
        level: confidence of the intervals in the summary.

    Returns:
        The figures of each split.

    Raises:
        RatingsError: a split lacks a part, separates a group, or names images that the table does not have;
            or there is no such score column.
        ValueError: fewer than two splits, a level out of range, or predictions that are not finite, not one
            for each image, or constant; the message names the split.
        MissingExtraError: SciPy is not installed.
    """
    if len(splits) < 2:
        raise ValueError(f"{len(splits)} split has no spread; give two or more, or use report() on one part")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a number between 0 and 1")
    ratings.quality(target)
    labels = [split.origin or f"split {number}" for number, split in enumerate(splits, 1)]
    for split, label in zip(splits, labels, strict=True):
        _check(split, label, ratings)
    results = [_run(split, label, ratings, fit, target) for split, label in zip(splits, labels, strict=True)]
    return SplitsReport(tuple(results), level)


def fixed(predict: Predict) -> Fit:
    """Make a ready assessor fit for :func:`over_splits`: nothing is fitted, whatever the split.

    Args:
        predict: images -> scores. If it was trained on some of the images, they do not belong in the table.
    """
    return lambda train, validation: predict


def _check(split: Split, label: str, ratings: Ratings) -> None:
    absent = [part for part in _NEEDED if not split.parts.get(part)]
    if absent:
        raise RatingsError(
            f"{label}: there is no {' and no '.join(absent)} part; a split needs all three, so that choices "
            "are made on the validation part and the test part stays unseen"
        )
    part_of: dict[str, str] = {}
    crossing: dict[str, None] = {}
    for group, part in zip(ratings.groups, split.apply(ratings).split, strict=True):
        if part and part_of.setdefault(group, part) != part:
            crossing[group] = None
    if crossing:
        raise RatingsError(
            f"{label}: {listing(list(crossing), 'group')} in more than one part; "
            "make the split with grouped_split or seeded_splits"
        )


def _run(split: Split, label: str, ratings: Ratings, fit: Fit, target: str) -> SplitResult:
    divided = split.apply(ratings)
    train, validation, test = (divided.part(part) for part in _NEEDED)
    predict = fit(train, validation)
    rated = test.quality(target)
    has_score = ~np.isnan(rated)
    try:
        predicted = _checked_predictions(predict(test), len(test))
        figures = correlations(predicted[has_score], rated[has_score])
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from error
    rest = sum(int((~np.isnan(part.quality(target))).sum()) for part in (train, validation))
    return SplitResult(label, rest, figures)


def _checked_predictions(predicted: ArrayLike, count: int) -> Floats:
    column = checked_column(predicted, "predicted")
    if len(column) != count:
        raise ValueError(f"{len(column)} predicted scores for {count} images")
    return column
