"""What a test part may not share with what an assessor has learnt from, found and named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foveal.ratings.table import Ratings

_LEARNT = ("train", "validation")


@dataclass(frozen=True, slots=True)
class Crossing:
    """What stands on both sides of a split.

    Attributes:
        groups: labels that are in more than one part.
        copies: names of test images whose very file is in the training or validation part too.
        tainted: names of test images that are one or the other.
    """

    groups: tuple[str, ...]
    copies: tuple[str, ...]
    tainted: frozenset[str]


def crossing(ratings: Ratings, contents: Sequence[str]) -> Crossing:
    """Look for groups and exact copies on both sides of a table's split.

    Args:
        ratings: n images with the split in question; those in no part do not count.
        contents: hash of each image's file.
    """
    parts_of: dict[str, set[str]] = {}
    for group, part in zip(ratings.groups, ratings.split, strict=True):
        if part:
            parts_of.setdefault(group, set()).add(part)
    learnt = {content for content, part in zip(contents, ratings.split, strict=True) if part in _LEARNT}
    rows = [row for row, part in enumerate(ratings.split) if part == "test"]
    copies = [ratings.names[row] for row in rows if contents[row] in learnt]
    related = [ratings.names[row] for row in rows if parts_of[ratings.groups[row]] & set(_LEARNT)]
    return Crossing(
        groups=tuple(group for group, parts in parts_of.items() if len(parts) > 1),
        copies=tuple(copies),
        tainted=frozenset(copies) | frozenset(related),
    )


def joined_groups(groups: Sequence[str], contents: Sequence[str]) -> tuple[str, ...]:
    """Groups in which exact copies are together, whatever group each of them is in.

    Args:
        groups: label of each image.
        contents: hash of each image's file.

    Returns:
        A label for each image: one of those of its joined group.
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = group = parent[parent[group]]
        return group

    first: dict[str, str] = {}
    for group, content in zip(groups, contents, strict=True):
        parent[root(group)] = root(first.setdefault(content, group))
    return tuple(root(group) for group in groups)


def shared_images(contents: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], int]:
    """How many different images two sets have in common, told by their bytes, for each pair that has some.

    Args:
        contents: hash of each image's file, by set.

    Returns:
        Number of images by pair of names; each pair stands there in both orders.
    """
    images = {name: set(hashes) for name, hashes in contents.items()}
    return {
        (one, other): len(images[one] & images[other])
        for one in images
        for other in images
        if one != other and images[one] & images[other]
    }


def names_set(training_data: str, titles: Sequence[str]) -> bool:
    """Whether a statement of training data names a set.

    Args:
        training_data: what a card says, in words.
        titles: what the set is called; letters' case does not matter, but a title must stand there as a word
            of its own.
    """
    return any(
        re.search(rf"(?<![a-z0-9]){re.escape(title.lower())}(?![a-z0-9])", training_data.lower())
        for title in titles
        if title
    )
