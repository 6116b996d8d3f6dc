"""PKU-AIGIQA-4K and its first part, PKU-I2IQA: pictures generated from texts and from other pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from foveal.errors import RatingsError
from foveal.ratings.files import column, numbers, read_columns, row_number
from foveal.ratings.sets.known import KnownSet, Labels, make_rows, require, take_rows
from foveal.ratings.table import DatasetCard

_I2I = 1600
"""So many rows at the start of the workbook are PKU-I2IQA; the owners' loader tells them by position."""

CARD_4K = DatasetCard(
    name="PKU-AIGIQA-4K",
    low=0.0,
    high=5.0,
    licence="MIT for the repository; terms of the images not stated",
    citation=(
        "J. Yuan et al., PKU-AIGIQA-4K: a perceptual quality assessment database for both text-to-image and "
        "image-to-image AI-generated images, 2024, arXiv:2404.18409; https://github.com/jiquan123/AIGIQA4K"
    ),
    note=(
        "Rows 0 to 1,599 are PKU-I2IQA: made from a picture (Image_prompt, in I2I/Image_prompt/) and a text. "
        "Images that share a picture or a text are one group. The owners test on every fourth image, which "
        "puts each prompt into both parts; that split is not given here."
    ),
)
"""MOS from 0 to 5, higher is better, for quality, authenticity and correspondence."""

CARD_I2I = replace(
    CARD_4K,
    name="PKU-I2IQA",
    citation=(
        "J. Yuan et al., PKU-I2IQA: an image-to-image quality assessment database for AI generated images, "
        "2023, arXiv:2311.15556; https://github.com/jiquan123/I2IQA"
    ),
    note="The first 1,600 rows of PKU-AIGIQA-4K. Images that share a picture or a text are one group.",
)

_TARGETS = {"quality": "MOS_q", "authenticity": "MOS_a", "correspondence": "MOS_c"}
_NAME = re.compile(r"[A-Za-z]+_(\d+)_\d+\.\w+")


def _read_4k(folder: Path) -> Labels:
    path = require(folder, *_TABLES)
    table = read_columns(path)
    names, pictures = (column(table, heading, path) for heading in ("Generated_image", "Image_prompt"))
    if "" in names:
        raise RatingsError(f"{path}: row {row_number(names.index(''), path)} has no image")
    texts = column(table, "Text_prompt", path) if "Text_prompt" in table else None
    scores = {t: numbers(column(table, heading, path), heading, path) for t, heading in _TARGETS.items()}
    groups = linked(pictures, texts or [""] * len(names))
    rows = make_rows(
        names,
        scores,
        groups=[group or _by_name(name) for group, name in zip(groups, names, strict=True)],
        subsets=[f"{'I2I' if i < _I2I else 'T2I'} {name.split('_')[0]}" for i, name in enumerate(names)],
        prompts=texts,
    )
    return Labels(rows, CARD_4K)


def _read_i2i(folder: Path) -> Labels:
    rows = _read_4k(folder).rows
    first = take_rows(rows, range(min(_I2I, len(rows.names))))
    return Labels(first, CARD_I2I, unrated=rows.names[_I2I:])


def linked(*columns: Sequence[str]) -> tuple[str, ...]:
    """Label rows so that those that share a cell, directly or through others, have the same label.

    Args:
        columns: n cells each; empty cells link nothing.

    Returns:
        n labels, empty for rows without any cell. They do not depend on the order of the rows.
    """
    above: dict[tuple[int, str], tuple[int, str]] = {}

    def root(key: tuple[int, str]) -> tuple[int, str]:
        while above.setdefault(key, key) != key:
            above[key] = above[above[key]]
            key = above[key]
        return key

    rows = [[(i, cell) for i, cell in enumerate(cells) if cell] for cells in zip(*columns, strict=True)]
    for keys in rows:
        for key in keys[1:]:
            low, high = sorted((root(keys[0]), root(key)))
            above[high] = low  # the smallest key of a group is its root, whatever comes first
    return tuple(root(keys[0])[1] if keys else "" for keys in rows)


def _by_name(name: str) -> str:
    """The prompt's number in names such as DALLE_1000_00.jpg, where the workbook has no prompt."""
    match = _NAME.fullmatch(name)
    return f"prompt {match[1]}" if match else ""


_TABLES = ("annotation.xlsx", "I2IQA_annotation.xlsx")

PKU_AIGIQA_4K = KnownSet(
    card=CARD_4K,
    size=4000,
    targets=tuple(_TARGETS),
    layout="annotation.xlsx [Generated_image, Image_prompt, MOS_q, MOS_a, MOS_c], and the images in All/",
    tables=(_TABLES[:1],),
    folders=("All",),
    read=_read_4k,
)

PKU_I2IQA = KnownSet(
    card=CARD_I2I,
    size=_I2I,
    targets=tuple(_TARGETS),
    layout="annotation.xlsx or I2IQA_annotation.xlsx [Generated_image, Image_prompt, MOS_q, MOS_a, MOS_c], "
    "and the images in All/ or Generated_image/All/",
    tables=(_TABLES,),
    folders=("All", "Generated_image/All"),
    read=_read_i2i,
)
