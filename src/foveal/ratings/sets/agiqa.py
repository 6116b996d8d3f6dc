"""AGIQA-1K and AGIQA-3K: pictures generated from prompts, rated by one laboratory.

AGIQA-1K ships two files of scores that differ (by up to 1.4 of 5): ``AIGC_MOS_Zscore.xlsx``, which its readme
documents and which is taken here, and ``AIGC_all.csv``, which holds plain means and is not read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from foveal.ratings.own_table import Columns, read_rows
from foveal.ratings.sets.known import KnownSet, Labels, require, take_rows
from foveal.ratings.table import DatasetCard

# The workbook rates the first name twice, differently, and never the second, which the CSV file has; the CSV
# file calls one of the two by the third name. Nothing tells whose score is whose.
_CONTRADICTED = "dreamStudio_8_9_1_1.jpg"
_NAMES_ON_DISK = (_CONTRADICTED, "dreamStudio_8_5_0_0.jpg", "dreamStudio_8_9_1_.jpg")

CARD_1K = DatasetCard(
    name="AGIQA-1K",
    low=0.0,
    high=5.0,
    licence="MIT",
    citation=(
        "Z. Zhang et al., A perceptual quality assessment exploration for AIGC images, ICMEW 2023, "
        "arXiv:2303.12618; https://github.com/lcysyzxdxc/AGIQA-1k-Database"
    ),
    note=(
        "Scores are the normalised ones of AIGC_MOS_Zscore.xlsx; AIGC_all.csv holds other scores (PLCC .84 "
        f"between the two) and is not read. The workbook rates {_CONTRADICTED} twice, 0.44 and 2.08, and "
        "dreamStudio_8_5_0_0.jpg never: both rows are left out, so 1,078 images remain."
    ),
)
"""Normalised MOS from 0 to 5, higher is better."""

CARD_3K = DatasetCard(
    name="AGIQA-3K",
    low=0.0,
    high=5.0,
    licence="MIT",
    citation=(
        "C. Li et al., AGIQA-3K: an open database for AI-generated image quality assessment, IEEE TCSVT "
        "2023, arXiv:2306.04717; https://github.com/lcysyzxdxc/AGIQA-3k-Database"
    ),
    note=(
        "Seen: quality 0 to 4.49, correspondence (the owners' align) .02 to 4.29. Six generators share 300 "
        "prompts. A published split of others has all test prompts in its training part too."
    ),
)
"""Normalised MOS from 0 to 5, higher is better, for quality and for correspondence with the prompt."""


def _read_1k(folder: Path) -> Labels:
    path = require(folder, "AIGC_MOS_Zscore.xlsx")
    columns = Columns(image="Image", scores={"quality": "MOS"}, group="Prompt", prompt="Prompt")
    rows = read_rows(path, columns)
    rows = replace(rows, subsets=tuple(name.split("_")[0] for name in rows.names))
    if rows.names.count(_CONTRADICTED) < 2:
        return Labels(rows, CARD_1K)
    kept = [index for index, name in enumerate(rows.names) if name != _CONTRADICTED]
    refused = tuple(name for name in rows.names if name == _CONTRADICTED)
    return Labels(take_rows(rows, kept), CARD_1K, unrated=_NAMES_ON_DISK, refused=refused)


def _read_3k(folder: Path) -> Labels:
    columns = Columns(
        image="name",
        scores={"quality": "mos_quality", "correspondence": "mos_align"},
        std={"quality": "std_quality", "correspondence": "std_align"},
        group="prompt",
        prompt="prompt",
    )
    rows = read_rows(require(folder, "data.csv"), columns)
    return Labels(replace(rows, subsets=tuple(name.split("_")[0] for name in rows.names)), CARD_3K)


AGIQA_1K = KnownSet(
    card=CARD_1K,
    size=1080,
    targets=("quality",),
    layout="AIGC_MOS_Zscore.xlsx [Image, Prompt, MOS], and the images in file/ or beside it",
    tables=(("AIGC_MOS_Zscore.xlsx",),),
    folders=("file", "images", "."),
    read=_read_1k,
)

AGIQA_3K = KnownSet(
    card=CARD_3K,
    size=2982,
    targets=("quality", "correspondence"),
    layout="data.csv [name, prompt, mos_quality, std_quality, mos_align, std_align], and the images in "
    "file/, images/ or beside it",
    tables=(("data.csv",),),
    folders=("file", "images", "image", "."),
    read=_read_3k,
)
