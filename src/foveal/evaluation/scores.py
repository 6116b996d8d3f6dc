"""Scores of rated images: made here by an assessor, or elsewhere and read from a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from foveal.assessment import Assessment, Failure
from foveal.errors import RatingsError
from foveal.evaluation.pairs import Floats
from foveal.evaluation.tables import Cell, Table
from foveal.ratings.files import column, numbers, read_columns
from foveal.ratings.table import Ratings, duplicates, listing

if TYPE_CHECKING:
    from foveal.assessor import Assessor

IMAGE_HEADINGS = ("image", "source")
"""Which column names the images; ``source`` is what ``foveal score --out`` calls it."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What one assessor says of n images.

    Attributes:
        label: what to call the assessor.
        quality: float64 [n], in any unit, higher is better.
        low: float64 [n], lower ends of its intervals on the 1-5 scale; None if it gives none.
        high: upper ends; None if it gives none.
    """

    label: str
    quality: Floats
    low: Floats | None = None
    high: Floats | None = None

    @property
    def interval(self) -> tuple[Floats, Floats] | None:
        """Both ends, if there are intervals."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def judge(assessor: Assessor, ratings: Ratings, advance: Callable[[], None] = lambda: None) -> Scores:
    """Score rated images with an assessor, many at once; one that reads prompts is given the ratings' own.

    Args:
        assessor: from :func:`foveal.load`.
        ratings: the images.
        advance: called after each image.

    Returns:
        Quality and intervals, in the order of the ratings.

    Raises:
        RatingsError: images cannot be judged; all are tried first, and the message has the first reason. Or
            the assessor reads prompts, and the ratings have none.
    """
    if assessor.card.prompt is not None and ratings.prompts is None:
        raise RatingsError(
            f"{ratings.card.name}: {assessor.card.model} reads prompts, and the ratings have none; name "
            "their column (--column-prompt)"
        )
    prompts = None if assessor.card.prompt is None else ratings.prompts
    rows: list[tuple[float, float, float]] = []
    failures: list[Failure] = []
    for result in assessor.stream(ratings.images, prompts=prompts, on_error="yield"):
        if isinstance(result, Assessment):
            rows.append((result.quality, result.interval.low, result.interval.high))
        else:
            failures.append(result)
        advance()
    if failures:
        names = listing([failure.source for failure in failures], "image")
        raise RatingsError(
            f"{ratings.card.name}: {assessor.card.model} cannot judge {names}, the first because: "
            f"{failures[0].error}; mend them or take them out of the ratings"
        )
    quality, low, high = np.array(rows, np.float64).T
    return Scores(assessor.card.model, quality, low, high)


def read_scores(path: str | Path, ratings: Ratings, *, known: Ratings | None = None) -> Scores:
    """Read scores made elsewhere, such as a table of ``foveal score --out``.

    Rows are matched with images by name: the name in the table of ratings, as it stands or at the end of a
    longer path (``photos/a.jpg`` is the score of ``a.jpg``).

    Args:
        path: a table with a column ``image`` or ``source``, and ``quality``; ``low`` and ``high`` are read
            where both are there.
        ratings: the images whose scores are wanted.
        known: the whole table that ``ratings`` is a part of; its other images may have scores too.

    Returns:
        The scores in the order of the ratings, named after the file.

    Raises:
        RatingsError: the table is missing or malformed; an image has no score, two, or one that is not a
            finite number; or a row is of an image that nobody rated.
    """
    path = Path(path)
    cells = read_columns(path)
    heading = next((name for name in IMAGE_HEADINGS if name in cells), IMAGE_HEADINGS[0])
    sources = column(cells, heading, path)
    row_of = _match(sources, known or ratings, path)
    absent = [name for name in ratings.names if name not in row_of]
    if absent:
        raise RatingsError(f"{path}: {listing(absent, 'rated image')} without a score; score all of them")
    rows = [row_of[name] for name in ratings.names]

    def values(name: str) -> Floats:
        column_of = numbers(column(cells, name, path), name, path)[rows]
        wrong = np.flatnonzero(~np.isfinite(column_of))
        if wrong.size:
            names = listing([ratings.names[i] for i in wrong], "image")
            raise RatingsError(
                f"{path}: {names} whose {name} is empty, NaN or infinite; score them again, or take them out "
                "of the ratings"
            )
        return column_of

    has_interval = {"low", "high"} <= set(cells)
    low, high = (values("low"), values("high")) if has_interval else (None, None)
    return Scores(str(path), values("quality"), low, high)


def scores_table(scores: Scores, ratings: Ratings) -> Table:
    """Scores beside ratings, ready for :func:`read_scores`: image, quality, interval if any, rated.

    Args:
        scores: of the n images of ``ratings``.
        ratings: the images; ``rated`` is their quality on the 1-5 scale.
    """
    columns: dict[str, list[float]] = {"quality": scores.quality.tolist()}
    if scores.interval is not None:
        columns["low"], columns["high"] = (end.tolist() for end in scores.interval)
    columns["rated"] = ratings.quality().tolist()
    rows: list[tuple[Cell, ...]] = list(zip(ratings.names, *columns.values(), strict=True))
    return Table(("image", *columns), tuple(rows))


def _match(sources: list[str], known: Ratings, path: Path) -> dict[str, int]:
    """Row of each rated image that has one, by the image's name."""
    name_of = {name: name for name in known.names}
    for name, image in zip(known.names, known.images, strict=True):
        # A file's case on disk may differ from the table's; scores made from a folder have that of the disk.
        name_of.setdefault(PurePath(name).with_name(image.name).as_posix(), name)
    matched = [next((name_of[end] for end in _ends(source) if end in name_of), None) for source in sources]
    unknown = [source for source, name in zip(sources, matched, strict=True) if name is None]
    if unknown:
        raise RatingsError(
            f"{path}: {listing(unknown, 'image')} not among those of {known.card.name}; take these rows out"
        )
    names = [name for name in matched if name is not None]
    twice = duplicates(names)
    if twice:
        raise RatingsError(
            f"{path}: {listing(twice, 'image')} with more than one score; keep one row of each"
        )
    return {name: row for row, name in enumerate(names)}


def _ends(source: str) -> Iterator[str]:
    """A path as it stands, then ever shorter ends of it."""
    yield source
    pieces = PurePath(source).parts
    for start in range(len(pieces)):
        yield PurePath(*pieces[start:]).as_posix()
