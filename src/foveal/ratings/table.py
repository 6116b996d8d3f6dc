"""A table of human scores: what was shown to people, what they said, and what belongs together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.assessment import HIGHEST, LOWEST
from foveal.errors import RatingsError

Floats = NDArray[np.float64]
PARTS = ("train", "validation", "test", "")
"""What an image's split may be; the empty string means that it is in no part."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Range and direction of a score.

    Attributes:
        low: lower end of the scale that the owners state (not the lowest score given).
        high: upper end.
        higher_is_better: False for differential scores (DMOS), where 0 is the undistorted image.
    """

    low: float
    high: float
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise RatingsError(f"a scale from {self.low} to {self.high} has no extent; state its two ends")

    def to_quality(self, scores: ArrayLike) -> Floats:
        """Map scores linearly to quality: 1 is the worst end of this scale, 5 the best. NaN stays NaN."""
        position = (np.asarray(scores, np.float64) - self.low) / (self.high - self.low)
        if not self.higher_is_better:
            position = 1.0 - position
        return LOWEST + (HIGHEST - LOWEST) * position


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """Where a table comes from and what its scores mean.

    Attributes:
        name: the set's name, as its owners write it.
        low: lower end of the scores' scale.
        high: upper end of the scores' scale.
        higher_is_better: direction of the scores.
        licence: terms of use, or that none are stated.
        citation: paper and address.
        note: what else a reader must know.
        other_scales: scales of those score columns that differ from the one above, by target.
    """

    name: str
    low: float
    high: float
    higher_is_better: bool = True
    licence: str = "not stated"
    citation: str = ""
    note: str = ""
    other_scales: Mapping[str, Scale] = field(default_factory=lambda: MappingProxyType({}))

    def scale(self, target: str) -> Scale:
        """Range and direction of one score column."""
        return self.other_scales.get(target) or Scale(self.low, self.high, self.higher_is_better)


@dataclass(frozen=True, eq=False)
class Ratings:
    """Human scores of n images, as shipped: nothing is rescaled, flipped or sorted.

    Arrays are copied and made read-only. Use :func:`dataclasses.replace` to exchange a column, for
    example ``replace(ratings, groups=near_copy_groups(...))``; everything is validated again.

    Attributes:
        card: source, range and direction.
        images: path of each image on disk.
        scores: float64 [n] for each target (``quality``, ``correspondence`` ...), in the owners' units.
            NaN is a missing score, allowed only where the image has another one.
        names: what each image is called in the owners' table, unique; the file names by default. Splits
            and lists of images refer to these.
        std: float64 [n] standard deviation of people's opinions by target, in the owners' units.
        groups: label of what a split must not separate (reference image, prompt, scene); each image is
            alone by default.
        subsets: the owners' subset of each image, empty strings by default.
        split: the owners' part of each image: train, validation, test or none (empty string).
        prompts: text that each image was generated from.

    Raises:
        RatingsError: columns differ in length; a score is out of range, infinite, or missing without
            another; an image stands twice in the table; a part is unknown.
    """

    card: DatasetCard
    images: tuple[Path, ...]
    scores: Mapping[str, Floats]
    names: tuple[str, ...] = ()
    std: Mapping[str, Floats] = field(default_factory=lambda: MappingProxyType({}))
    groups: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    prompts: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.images)
        names = self.names or tuple(path.name for path in self.images)
        columns = {
            "images": tuple(self.images),
            "names": tuple(names),
            "groups": tuple(self.groups) or tuple(names),
            "subsets": tuple(self.subsets) or ("",) * n,
            "split": tuple(self.split) or ("",) * n,
            "scores": MappingProxyType({target: _frozen(column) for target, column in self.scores.items()}),
            "std": MappingProxyType({target: _frozen(column) for target, column in self.std.items()}),
            "prompts": None if self.prompts is None else tuple(self.prompts),
        }
        for name, column in columns.items():
            object.__setattr__(self, name, column)
        self._check_lengths()
        self._check_labels()
        self._check_scores()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the score columns."""
        return tuple(self.scores)

    def quality(self, target: str = "quality") -> Floats:
        """Scores on the 1-5 scale, higher is better.

        The map is affine: the ends of the scale on the card become 1 and 5, turned round where lower is
        better. So correlations keep their size, and a predictor of wrong direction shows by its sign.

        Args:
            target: a score column.

        Returns:
            float64 [n]; NaN where the score is missing.

        Raises:
            RatingsError: there is no such column.
        """
        if target not in self.scores:
            raise RatingsError(f"{self.card.name} has no score {target!r}; it has {', '.join(self.targets)}")
        return self.card.scale(target).to_quality(self.scores[target])

    def part(self, name: str) -> Ratings:
        """Images of one part of the split.

        Raises:
            RatingsError: no image is in this part.
        """
        indices = [i for i, label in enumerate(self.split) if label == name]
        if not indices:
            there = ", ".join(sorted(set(self.split) - {""})) or "no split"
            raise RatingsError(f"{self.card.name} has no part {name!r}; there is {there}")
        return self.take(indices)

    def take(self, indices: Iterable[int] | NDArray[np.integer]) -> Ratings:
        """Images by position, in the order given.

        Raises:
            RatingsError: a position stands twice.
            IndexError: a position is outside the table.
        """
        chosen = np.fromiter(indices, np.int64)

        def pick(column: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(column[i] for i in chosen)

        return replace(
            self,
            images=tuple(self.images[i] for i in chosen),
            names=pick(self.names),
            scores={target: column[chosen] for target, column in self.scores.items()},
            std={target: column[chosen] for target, column in self.std.items()},
            groups=pick(self.groups),
            subsets=pick(self.subsets),
            split=pick(self.split),
            prompts=None if self.prompts is None else pick(self.prompts),
        )

    def indices(self, names: Iterable[str]) -> NDArray[np.int64]:
        """Positions of images by name, in the order given.

        Raises:
            RatingsError: a name is not in the table.
        """
        position = {name: i for i, name in enumerate(self.names)}
        names = list(names)
        unknown = [name for name in names if name not in position]
        if unknown:
            raise RatingsError(f"{self.card.name}: {listing(unknown, 'name')} not in the table")
        return np.array([position[name] for name in names], np.int64)

    def _check_lengths(self) -> None:
        n = len(self)
        columns: dict[str, int] = {
            "names": len(self.names),
            "groups": len(self.groups),
            "subsets": len(self.subsets),
            "split": len(self.split),
            "prompts": n if self.prompts is None else len(self.prompts),
        }
        for kind, table in (("scores", self.scores), ("std", self.std)):
            for target, column in table.items():
                if column.ndim != 1:
                    raise RatingsError(
                        f"{self.card.name}: {kind} {target!r} has shape {column.shape}, not (n,)"
                    )
                columns[f"{kind} {target!r}"] = len(column)
        for name, length in columns.items():
            if length != n:
                raise RatingsError(f"{self.card.name}: {name} holds {length} values for {n} images")

    def _check_labels(self) -> None:
        for what, column in (("name", self.names), ("image", tuple(str(path) for path in self.images))):
            twice = duplicates(column)
            if twice:
                raise RatingsError(f"{self.card.name}: {listing(twice, what)} more than once in the table")
        unknown = sorted(set(self.split) - set(PARTS))
        if unknown:
            raise RatingsError(
                f"{self.card.name}: unknown part {unknown[0]!r}; parts are train, validation, test"
            )

    def _check_scores(self) -> None:
        if not self.scores:
            raise RatingsError(f"{self.card.name}: the table has no scores")
        unknown = sorted(set(self.std) - set(self.scores))
        if unknown:
            raise RatingsError(f"{self.card.name}: std of {unknown[0]!r}, but no such score")
        for target, column in self.scores.items():
            scale = self.card.scale(target)
            outside = ~np.isnan(column) & ~((column >= scale.low) & (column <= scale.high))
            self._refuse(outside, f"{target} outside {scale.low:g} to {scale.high:g}", column)
        missing = np.all([np.isnan(column) for column in self.scores.values()], axis=0)
        self._refuse(missing, "score missing", None)
        for target, column in self.std.items():
            self._refuse(
                ~np.isnan(column) & ~((column >= 0) & np.isfinite(column)), f"std of {target}", column
            )

    def _refuse(self, wrong: NDArray[np.bool_], what: str, column: Floats | None) -> None:
        if wrong.any():
            first = int(np.argmax(wrong))
            value = "" if column is None else f" ({column[first]:g})"
            count = int(wrong.sum())
            more = f", and {count - 1} more" if count > 1 else ""
            raise RatingsError(f"{self.card.name}: {what}: {self.names[first]}{value}{more}")


def duplicates(names: Iterable[str]) -> list[str]:
    """Names that occur more than once, in order of their second occurrence."""
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for name in names:
        if name in seen:
            twice[name] = None
        seen.add(name)
    return list(twice)


def listing(names: list[str], what: str, most: int = 3) -> str:
    """Say how many there are and name the first few: ``12 images (a.jpg, b.jpg, c.jpg, ...)``."""
    shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'} ({shown})"


def _frozen(column: ArrayLike) -> Floats:
    copy = np.array(column, np.float64)
    copy.flags.writeable = False
    return copy
