"""BIQ2021 among the known sets; see :mod:`foveal.ratings.biq2021` for what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from foveal.errors import RatingsError
from foveal.ratings.biq2021 import CARD
from foveal.ratings.own_table import Columns, read_rows
from foveal.ratings.sets.known import KnownSet, Labels, join_rows, require

_TABLES = {"train": "Train (Images and MOS).csv", "test": "Test (Images and MOS).csv"}
_SUBSETS = ("ss01", "ss02", "ss03")


def _read(folder: Path) -> Labels:
    columns = Columns(image="Image Name", scores={"quality": "MOS"})
    rows = join_rows({part: read_rows(require(folder, name), columns) for part, name in _TABLES.items()})
    return Labels(replace(rows, subsets=tuple(map(_subset, rows.names))), CARD)


def _subset(name: str) -> str:
    subset = name.partition(" ")[0]
    if subset not in _SUBSETS:
        raise RatingsError(f"{CARD.name}: {name!r} is not a name of this set, such as 'ss01 (12).jpg'")
    return subset


BIQ2021 = KnownSet(
    card=CARD,
    size=12_000,
    targets=("quality",),
    layout=" and ".join(f"'{name}'" for name in _TABLES.values()) + ", and the images in Images/",
    tables=tuple((name,) for name in _TABLES.values()),
    folders=("Images",),
    read=_read,
)
