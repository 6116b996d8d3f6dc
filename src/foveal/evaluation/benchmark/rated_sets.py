"""Sets of a benchmark: ratings, the splits that they are tested on, and what is wrong with those."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foveal.errors import RatingsError
from foveal.evaluation.benchmark.config import BenchmarkError, SetConfig
from foveal.evaluation.benchmark.content import hash_file
from foveal.evaluation.benchmark.leaks import crossing, joined_groups
from foveal.evaluation.leave_out import read_leave_out
from foveal.evaluation.parts import LEAST_IMAGES, check_parts
from foveal.ratings.sources import read_ratings
from foveal.ratings.splits import Split, grouped_split, seeded_splits
from foveal.ratings.table import DatasetCard, Ratings, listing


@dataclass(frozen=True, eq=False)
class RatedSet:
    """One set, ready to be tested on.

    Attributes:
        name: in the benchmark's file.
        config: what that says of it.
        ratings: its images that have a score of the target. With seeded splits, exact copies of an image are
            in one group.
        contents: hash of each image's file.
        items: what tells each image from all others as an assessor sees it: file, name and prompt, hashed.
        splits: those that it is tested on, at least one.
        unclean: names of test images that the clean figures leave out.
        has_clean: whether there are such figures: it takes unclean images, and enough others.
        warnings: what a reader must know of its splits.
    """

    name: str
    config: SetConfig
    ratings: Ratings
    contents: tuple[str, ...]
    items: tuple[str, ...]
    splits: tuple[Split, ...]
    unclean: frozenset[str]
    has_clean: bool
    warnings: tuple[str, ...]

    @property
    def titles(self) -> tuple[str, ...]:
        """What the set may be called in statements of training data; the name of a table says nothing."""
        known = (self.ratings.card.name, self.config.dataset) if self.config.dataset else ()
        return tuple(dict.fromkeys(title for title in (self.name, *known) if title))

    def rows(self, split: int, *parts: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Positions of the images of some parts of one split, in the table's order."""
        names = [name for part in parts for name in self.splits[split].parts.get(part, ())]
        return np.sort(self.ratings.indices(names))

    @property
    def is_learnable(self) -> bool:
        """Whether there is something to train on: an official split may have a test part only."""
        return all(split.parts.get(part) for split in self.splits for part in ("train", "validation"))

    def learnt(self, split: int) -> Ratings:
        """Training and validation part of one split; no test image is in it."""
        divided = self.splits[split].apply(self.ratings)
        return divided.take(self.rows(split, "train", "validation"))


def load_set(name: str, config: SetConfig, *, folder: Path, target: str, trains: bool) -> RatedSet:
    """Read a set, divide it, and look at what its splits separate.

    Args:
        name: in the benchmark's file.
        config: what that says of it.
        folder: where relative paths begin.
        target: score column; images without it do not count.
        trains: whether models will be trained on it, for which it needs a validation part.

    Raises:
        BenchmarkError: anything is wrong with ratings, images or splits; the message begins with the set.
        MissingExtraError: what reads its table is not installed.
    """
    try:
        whole = _read(config, folder)
        ratings = _rated(whole, target)
        contents = tuple(hash_file(path) for path in ratings.images)
        if config.split == "seeded":
            ratings, splits, warnings, tainted = _seeded(ratings, contents, config)
        else:
            ratings, splits, warnings, tainted = _official(ratings, contents, config, trains)
        tested = {name for split in splits for name in split.parts["test"]}
        _check(ratings, splits, target)
        unclean = tainted | _left_out(whole, config, folder, tested)
        enough = all(len(set(split.parts["test"]) - unclean) >= LEAST_IMAGES for split in splits)
    except (RatingsError, BenchmarkError) as error:
        raise BenchmarkError(f"sets.{name}: {error}") from error
    if not enough:
        warnings = (*warnings, "too few test images are clean for figures of their own")
    return RatedSet(
        name=name,
        config=config,
        ratings=ratings,
        contents=contents,
        items=_items(ratings, contents),
        splits=splits,
        unclean=unclean,
        has_clean=bool(unclean) and enough,
        warnings=warnings,
    )


_Divided = tuple[Ratings, tuple[Split, ...], tuple[str, ...], frozenset[str]]
"""The table, its splits, warnings, and test images that are not clean."""


def _read(config: SetConfig, folder: Path) -> Ratings:
    card = None
    if config.low is not None and config.high is not None:
        card = DatasetCard(
            Path(config.path).stem or config.path, config.low, config.high, config.higher_is_better
        )
    return read_ratings(
        folder / config.path,
        dataset=config.dataset,
        images=None if config.images is None else folder / config.images,
        card=card,
        columns=config.columns,
        missing=config.missing,
    )


def _rated(ratings: Ratings, target: str) -> Ratings:
    """Images that have a score of the target."""
    there = np.flatnonzero(~np.isnan(ratings.quality(target)))
    return ratings if len(there) == len(ratings) else ratings.take(there)


def _seeded(ratings: Ratings, contents: Sequence[str], config: SetConfig) -> _Divided:
    groups = joined_groups(ratings.groups, contents)
    warnings = []
    copies = len(contents) - len(set(contents))
    if copies:
        warnings.append(
            f"{_count(copies, 'image')} are exact copies of others in the set; copies are kept in one part"
        )
    ratings = replace(ratings, groups=groups, split=())
    splits = seeded_splits(
        ratings, count=config.splits, test=config.test, validation=config.validation, seed=config.seed
    )
    return ratings, splits, tuple(warnings), frozenset()


def _official(ratings: Ratings, contents: Sequence[str], config: SetConfig, trains: bool) -> _Divided:
    if "test" not in ratings.split:
        raise RatingsError(
            f"{ratings.card.name} has no official test part; name the column that holds it (columns.split), "
            "or set split to 'seeded'"
        )
    found = crossing(ratings, contents)
    warnings = []
    if found.groups:
        warnings.append(
            f"the official split separates {listing(list(found.groups), 'group')}: parts of it have seen "
            "what they are tested on"
        )
    if found.copies:
        warnings.append(
            f"the official test part holds {listing(list(found.copies), 'image')} whose exact copies are in "
            "the training or validation part"
        )
    parts: dict[str, tuple[str, ...]]
    parts = {part: ratings.part(part).names for part in ("train", "validation") if part in ratings.split}
    if trains and "train" in parts and "validation" not in parts:
        parts = _learnt(ratings, config)
    split = Split({**parts, "test": ratings.part("test").names}, f"{ratings.card.name}: official split")
    return ratings, (split,), tuple(warnings), found.tainted


def _learnt(ratings: Ratings, config: SetConfig) -> dict[str, tuple[str, ...]]:
    """Training and validation part, the second drawn from the first, as the owners give none."""
    train = ratings.part("train")
    kept, held = grouped_split(
        train.names, train.groups, (1 - config.validation, config.validation), config.seed
    )
    return {"train": kept, "validation": held}


def _check(ratings: Ratings, splits: Sequence[Split], target: str) -> None:
    """Refuse test parts that no figure could be computed on."""
    for split in splits:
        test = ratings.take(ratings.indices(split.parts["test"]))
        try:
            check_parts(replace(test, subsets=()), target=target)
        except RatingsError as error:
            raise RatingsError(f"{split.origin}, test part: {error}") from error


def _left_out(whole: Ratings, config: SetConfig, folder: Path, tested: set[str]) -> frozenset[str]:
    if config.leave_out is None:
        return frozenset()
    path = folder / config.leave_out
    names = read_leave_out(path, near_above=config.near_above)
    if config.missing == "error":
        whole.indices(names)  # refuses names that nobody rated: the list may belong to another set
    left = frozenset(names) & tested
    if not left:
        raise RatingsError(f"{path}: none of its {len(names)} images is in a test part; leave it out")
    return left


def _items(ratings: Ratings, contents: Sequence[str]) -> tuple[str, ...]:
    prompts = ratings.prompts or ("",) * len(ratings)
    return tuple(
        hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
        for parts in zip(contents, ratings.names, prompts, strict=True)
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
