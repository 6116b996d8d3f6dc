"""Splits that never separate what belongs together, and never depend on the order of the table.

A split is lists of names, never of row numbers: it stays true when rows are sorted, added or lost.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from foveal.errors import RatingsError
from foveal.ratings.table import PARTS, Ratings, duplicates, listing

_FORMAT, _VERSION = "foveal-split", 1


@dataclass(frozen=True, slots=True)
class Split:
    """Parts of a table by name.

    Attributes:
        parts: names of the images in train, validation and test (any of them).
        origin: how the split was made, for people.

    Raises:
        RatingsError: a part is unknown, or an image is in a part twice or in two parts.
    """

    parts: Mapping[str, tuple[str, ...]]
    origin: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", MappingProxyType({k: tuple(v) for k, v in self.parts.items()}))
        unknown = sorted(set(self.parts) - set(PARTS) | set(self.parts) & {""})
        if unknown:
            raise RatingsError(f"unknown part {unknown[0]!r}; parts are train, validation, test")
        twice = duplicates(name for names in self.parts.values() for name in names)
        if twice:
            raise RatingsError(f"a split uses {listing(twice, 'image')} more than once")

    def apply(self, ratings: Ratings) -> Ratings:
        """The same table with this split; images that it does not name are in no part.

        Raises:
            RatingsError: the split names images that are not in the table.
        """
        labels = [""] * len(ratings)
        for part, names in self.parts.items():
            for index in ratings.indices(names):
                labels[index] = part
        return replace(ratings, split=tuple(labels))


def grouped_split(
    names: Sequence[str], groups: Sequence[str], fractions: Sequence[float], seed: int
) -> tuple[tuple[str, ...], ...]:
    """Divide names at random into parts of about the given sizes without separating a group.

    The result depends on the set of (name, group) pairs and the seed alone: not on the order of the rows,
    on what the groups are called, on hashing, or on the version of NumPy.

    Args:
        names: n unique names.
        groups: the group of each; a group goes into one part as a whole.
        fractions: share of images of each part, positive, with sum 1. With two parts a part misses its share
            by less than the largest group.
        seed: number of the draw.

    Returns:
        Sorted names of each part.

    Raises:
        ValueError: lengths differ, or fractions are not positive or do not add up to 1.
        RatingsError: a name stands twice, or there are too few groups to give every part one.
    """
    if len(names) != len(groups):
        raise ValueError(f"{len(names)} names but {len(groups)} groups")
    if not fractions or min(fractions) <= 0 or not math.isclose(sum(fractions), 1.0, abs_tol=1e-9):
        raise ValueError(f"fractions are {list(fractions)}, expected positive numbers with sum 1")
    twice = duplicates(names)
    if twice:
        raise RatingsError(f"cannot split {listing(twice, 'name')} that occur more than once")

    needed = [fraction * len(names) for fraction in fractions]
    parts: list[list[str]] = [[] for _ in fractions]
    for members in _shuffled_groups(names, groups, seed):
        neediest = max(range(len(parts)), key=needed.__getitem__)
        parts[neediest] += members
        needed[neediest] -= len(members)
    for index, part in enumerate(parts):
        if not part:
            raise RatingsError(
                f"part {index + 1} of {len(parts)} would be empty: {len(names)} images in "
                f"{len(set(groups))} groups are too few for shares of {list(fractions)}"
            )
    return tuple(tuple(sorted(part)) for part in parts)


def seeded_splits(
    ratings: Ratings, *, count: int = 10, test: float = 0.2, validation: float = 0.1, seed: int = 0
) -> tuple[Split, ...]:
    """Random grouped splits for sets without an official one: by default ten of 80/20.

    Args:
        ratings: the table; its ``groups`` stay together.
        count: how many.
        test: share of the images in the test part.
        validation: share of the rest that is held out of training for choices.
        seed: of the first split; the others count on from it.

    Returns:
        Splits into train, validation and test.

    Raises:
        ValueError: a share is not between 0 and 1, or count is less than 1.
        RatingsError: there are too few groups.
    """
    if count < 1:
        raise ValueError(f"count is {count}, expected at least 1")
    fractions = ((1 - test) * (1 - validation), (1 - test) * validation, test)
    splits = []
    for number in range(seed, seed + count):
        parts = grouped_split(ratings.names, ratings.groups, fractions, number)
        origin = (
            f"{ratings.card.name}: seeded grouped split {number}, test {test:g}, validation {validation:g}"
        )
        splits.append(Split(dict(zip(("train", "validation", "test"), parts, strict=True)), origin))
    return tuple(splits)


def write_split(path: str | Path, split: Split) -> None:
    """Store a split as JSON: one name a line, so that differences read well."""
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "origin": split.origin,
        "parts": {part: list(names) for part, names in split.parts.items()},
    }
    Path(path).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_split(path: str | Path) -> Split:
    """Read what :func:`write_split` wrote.

    Raises:
        RatingsError: the file is missing, is no split, or is of a newer version.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RatingsError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise RatingsError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise RatingsError(f"{path}: not a split written by Foveal")
    if content.get("version") != _VERSION:
        raise RatingsError(
            f"{path}: version {content.get('version')} of the format; this one reads {_VERSION}"
        )
    parts = content.get("parts")
    if not isinstance(parts, dict) or not all(_is_names(names) for names in parts.values()):
        raise RatingsError(f"{path}: its parts are not lists of names")
    try:
        return Split({part: tuple(names) for part, names in parts.items()}, str(content.get("origin", "")))
    except RatingsError as error:
        raise RatingsError(f"{path}: {error}") from error


def _shuffled_groups(names: Sequence[str], groups: Sequence[str], seed: int) -> list[list[str]]:
    members: dict[str, list[str]] = {}
    for name, group in zip(names, groups, strict=True):
        members.setdefault(group, []).append(name)
    ordered = sorted(sorted(group) for group in members.values())
    # Python promises the same numbers of random() for a seed in all versions; it does not for shuffle().
    generator = random.Random(seed)
    keyed = [(generator.random(), group) for group in ordered]
    return [group for _, group in sorted(keyed)]


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
