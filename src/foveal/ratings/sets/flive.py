"""FLIVE, also called PaQ-2-PiQ: 39,810 photographs from other collections."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from foveal.errors import RatingsError
from foveal.ratings.files import column, read_columns
from foveal.ratings.own_table import Columns, read_rows
from foveal.ratings.sets.known import KnownSet, Labels, locate, require
from foveal.ratings.table import DatasetCard, listing

CARD = DatasetCard(
    name="FLIVE",
    low=0.0,
    high=100.0,
    licence="not stated for the ratings; the photographs come from AVA, VOC, EMOTIC and others",
    citation=(
        "Z. Ying et al., From patches to pictures (PaQ-2-PiQ): mapping the perceptual space of picture "
        "quality, CVPR 2020; https://github.com/niu-haoran/FLIVE_Database, https://github.com/baidut/PaQ-2-PiQ"
    ),
    note=(
        "The official test part is the 1,827 images of labels640.csv (name_image), larger than 640 pixels; "
        "all others are training. Without that file there is no split. Names begin with the folder of the "
        "source (voc_emotic_ava, blur_dataset, EE371R), which is the subset."
    ),
)
"""MOS from 0 to 100, higher is better."""

_TABLE = ("labels_image.csv", "database/labels_image.csv")
_TEST = ("labels640.csv", "database/labels640.csv")


def _read(folder: Path) -> Labels:
    rows = read_rows(require(folder, *_TABLE), Columns(image="name", scores={"quality": "mos"}))
    rows = replace(rows, subsets=tuple(name.rpartition("/")[0] for name in rows.names))
    path = locate(folder, *_TEST)
    if path is None:
        return Labels(rows, CARD)
    test = set(column(read_columns(path), "name_image", path))
    unknown = sorted(test - set(rows.names))
    if unknown:
        raise RatingsError(f"{path}: {listing(unknown, 'image')} without a score in {_TABLE[0]}")
    return Labels(
        replace(rows, split=tuple("test" if name in test else "train" for name in rows.names)), CARD
    )


FLIVE = KnownSet(
    card=CARD,
    size=39_810,
    targets=("quality",),
    layout="labels_image.csv [name, mos], labels640.csv [name_image] for the official test part (each may "
    "lie in database/), and the images in database/",
    tables=(_TABLE, _TEST),
    folders=("database",),
    read=_read,
)
