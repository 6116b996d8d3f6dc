"""Scores that another tool gave, read from a table with headings of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

import numpy as np

from foveal.evaluation.benchmark.config import AssessorConfig, BenchmarkError
from foveal.evaluation.benchmark.content import hash_file
from foveal.evaluation.benchmark.entrants import Judge, Progress, Ready
from foveal.evaluation.benchmark.rated_sets import RatedSet
from foveal.evaluation.pairs import Floats
from foveal.evaluation.scores import IMAGE_HEADINGS
from foveal.ratings.files import column, numbers, read_columns
from foveal.ratings.table import Ratings, duplicates, listing


class ScoreTables(Ready):
    """Ready scores, a table for each set.

    Args:
        config: of the assessor.
        folder: where relative paths begin.
        target: name of the score column, if the configuration has no other.
    """

    def __init__(self, config: AssessorConfig, folder: Path, target: str) -> None:
        self._paths = {name: folder / path for name, path in (config.scores or {}).items()}
        self._image = config.image
        self._column = config.column or target
        self._lower_is_better = config.lower_is_better

    def identity(self, rated: RatedSet) -> Mapping[str, object] | None:
        """Table, headings and direction."""
        path = self._paths.get(rated.name)
        if path is None:
            return None
        return {
            "kind": "scores",
            "file": hash_file(path),
            "headings": [self._image, self._column],
            "lower_is_better": self._lower_is_better,
        }

    def judge(self, rated: RatedSet) -> Judge:
        """What looks scores up.

        Raises:
            RatingsError: the table is missing or malformed.
            BenchmarkError: it has two scores of an image, or scores of images that are not in the set.
        """
        path = self._paths[rated.name]
        table = _read(path, self._image, self._column, rated)
        sign = -1.0 if self._lower_is_better else 1.0

        def look_up(images: Ratings, progress: Progress) -> Floats:
            absent = [name for name in images.names if name not in table]
            if absent:
                raise BenchmarkError(f"{path}: {listing(absent, 'test image')} without a score")
            scores = np.array([table[name] for name in images.names])
            wrong = [name for name, score in zip(images.names, scores, strict=True) if not np.isfinite(score)]
            if wrong:
                raise BenchmarkError(
                    f"{path}: {listing(wrong, 'test image')} whose score is empty or infinite"
                )
            return sign * scores

        return look_up


def _read(path: Path, image: str | None, heading: str, rated: RatedSet) -> dict[str, float]:
    """Score of each image by its name in the set."""
    cells = read_columns(path)
    image = image or next((name for name in IMAGE_HEADINGS if name in cells), IMAGE_HEADINGS[0])
    sources = column(cells, image, path)
    scores = numbers(column(cells, heading, path), heading, path)
    names = _matched(sources, rated.ratings)
    unknown = [source for source, name in zip(sources, names, strict=True) if name is None]
    if unknown and rated.config.missing == "error":
        raise BenchmarkError(
            f"{path}: {listing(unknown, 'image')} not among those of {rated.name}; take these rows out"
        )
    twice = duplicates(name for name in names if name is not None)
    if twice:
        raise BenchmarkError(f"{path}: {listing(twice, 'image')} with more than one score; keep one of each")
    return {name: float(score) for name, score in zip(names, scores, strict=True) if name is not None}


def _matched(sources: list[str], ratings: Ratings) -> list[str | None]:
    """Name of each row's image: as it stands, or at the end of a longer path."""
    name_of = {name: name for name in ratings.names}
    for name, path in zip(ratings.names, ratings.images, strict=True):
        # A file's case on disk may differ from the table's; scores made from a folder have that of the disk.
        name_of.setdefault(PurePath(name).with_name(path.name).as_posix(), name)
    return [next((name_of[end] for end in _ends(source) if end in name_of), None) for source in sources]


def _ends(source: str) -> Iterator[str]:
    """A path as it stands, then ever shorter ends of it."""
    yield source
    pieces = PurePath(source).parts
    for start in range(len(pieces)):
        yield PurePath(*pieces[start:]).as_posix()
