"""KADID-10k: 81 references with 25 distortions at five levels."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from foveal.errors import RatingsError
from foveal.ratings.own_table import Columns, read_rows
from foveal.ratings.sets.known import KnownSet, Labels, require
from foveal.ratings.table import DatasetCard

CARD = DatasetCard(
    name="KADID-10k",
    low=1.0,
    high=5.0,
    citation=(
        "H. Lin, V. Hosu and D. Saupe, KADID-10k: a large-scale artificially distorted IQA database, QoMEX "
        "2019; https://database.mmsp-kn.de/kadid-10k-database.html"
    ),
    note=(
        "The column is called dmos, but higher is better, as the owners say. The column called var holds "
        "standard deviations: its first entry, .496 with a mean of 4.57, is that of 17 fives and 13 fours."
    ),
)
"""Mean of 30 ratings from 1 to 5, higher is better in spite of the name DMOS."""

_KINDS = (
    "Gaussian blur",
    "lens blur",
    "motion blur",
    "colour diffusion",
    "colour shift",
    "colour quantization",
    "colour saturation 1",
    "colour saturation 2",
    "JPEG 2000",
    "JPEG",
    "white noise",
    "white noise in colour",
    "impulse noise",
    "multiplicative noise",
    "denoising",
    "brighten",
    "darken",
    "mean shift",
    "jitter",
    "non-eccentricity patch",
    "pixelate",
    "quantization",
    "colour block",
    "high sharpen",
    "contrast change",
)
_NAME = re.compile(r"I\d\d_(\d\d)_\d\d\.png", re.IGNORECASE)


def _read(folder: Path) -> Labels:
    path = require(folder, "dmos.csv")
    columns = Columns(image="dist_img", scores={"quality": "dmos"}, std={"quality": "var"}, group="ref_img")
    rows = read_rows(path, columns)
    references = tuple(sorted(set(rows.groups)))
    return Labels(
        replace(rows, subsets=tuple(_kind(name, path) for name in rows.names)), CARD, unrated=references
    )


def _kind(name: str, path: Path) -> str:
    match = _NAME.fullmatch(name)
    kind = int(match[1]) if match else 0
    if not 1 <= kind <= len(_KINDS):
        raise RatingsError(f"{path}: {name!r} is not a name of this set, such as 'I01_01_01.png'")
    return _KINDS[kind - 1]


KADID_10K = KnownSet(
    card=CARD,
    size=10_125,
    targets=("quality",),
    layout="dmos.csv [dist_img, ref_img, dmos, var], and the images in images/",
    tables=(("dmos.csv",),),
    folders=("images",),
    read=_read,
)
