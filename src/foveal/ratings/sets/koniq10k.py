"""KonIQ-10k: 10,073 photographs from YFCC100M with authentic distortions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from foveal.errors import RatingsError
from foveal.ratings.own_table import Columns, read_rows
from foveal.ratings.sets.known import KnownSet, Labels, locate
from foveal.ratings.table import DatasetCard

CARD = DatasetCard(
    name="KonIQ-10k",
    low=0.0,
    high=100.0,
    licence="not checked; the photographs have Creative Commons licences of their own",
    citation=(
        "V. Hosu, H. Lin, T. Sziranyi and D. Saupe, KonIQ-10k: an ecologically valid database for deep "
        "learning of blind image quality assessment, IEEE TIP 29, 2020; "
        "https://database.mmsp-kn.de/koniq-10k-database.html"
    ),
    note=(
        "MOS of koniq10k_distributions_sets.csv with the official split (7,058 / 1,000 / 2,015). Its column "
        "SD is in units of the raw 1-5 ratings, other than its MOS, so it is not given."
    ),
)
"""MOS from 0 to 100, higher is better."""

CARD_RAW = replace(
    CARD,
    low=1.0,
    high=5.0,
    note="Mean of raw ratings in koniq10k_scores_and_distributions.csv, which has no official split.",
)
"""The other table: mean of ratings from 1 to 5, higher is better."""

_SETS, _RAW = "koniq10k_distributions_sets.csv", "koniq10k_scores_and_distributions.csv"


def _read(folder: Path) -> Labels:
    path = locate(folder, _SETS)
    if path is not None:
        columns = Columns(image="image_name", scores={"quality": "MOS"}, split="set")
        return Labels(read_rows(path, columns), CARD)
    path = locate(folder, _RAW)
    if path is None:
        raise RatingsError(f"{folder}: {_SETS} or {_RAW} is missing")
    columns = Columns(image="image_name", scores={"quality": "MOS"}, std={"quality": "SD"})
    return Labels(read_rows(path, columns), CARD_RAW)


KONIQ_10K = KnownSet(
    card=CARD,
    size=10_073,
    targets=("quality",),
    layout=f"{_SETS} [image_name, MOS, set] or {_RAW} [image_name, MOS from 1 to 5, SD], and the images in "
    "1024x768/",
    tables=((_SETS, _RAW),),
    folders=("1024x768",),
    read=_read,
)
