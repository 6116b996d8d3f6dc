"""Partitions: the pieces in which a fleet works through images, each with a name that its content gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

Item = tuple[str, str | None]
"""An image as its list names it, and the text that it was made from, where the list has one."""

_ID_DIGITS = 32


@dataclass(frozen=True)
class Partition:
    """Some images that are judged by one worker and written to one file.

    Attributes:
        base: folder that the images are named from, a path or a URL.
        items: the images in the order of their rows, each once.
    """

    base: str
    items: tuple[Item, ...]

    @cached_property
    def id(self) -> str:
        """Name of this partition, 32 hexadecimal digits; the same images in this order give the same one."""
        return hashlib.sha256(self.to_json()).hexdigest()[:_ID_DIGITS]

    def to_json(self) -> bytes:
        """ASCII; names that are no valid text keep their bytes."""
        return json.dumps({"base": self.base, "items": self.items}, separators=(",", ":")).encode("ascii")

    @classmethod
    def from_json(cls, content: bytes) -> Partition:
        """What :meth:`to_json` gave."""
        values = json.loads(content)
        return cls(values["base"], tuple((source, prompt) for source, prompt in values["items"]))


def partitions(items: Iterable[Item], base: str, size: int) -> Iterator[Partition]:
    """Cut a list into partitions; lazily, so that it may be of any length.

    Args:
        items: images in their order.
        base: folder that they are named from.
        size: images in each but the last. Where an image stands in one of them twice, it is judged once.
    """
    remaining = iter(items)
    while some := tuple(islice(remaining, size)):
        yield Partition(base, tuple(dict.fromkeys(some)))
