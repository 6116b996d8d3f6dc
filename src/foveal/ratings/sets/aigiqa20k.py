"""AIGIQA-20K: 20,000 pictures by 15 generators, the set of the NTIRE 2024 challenge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from foveal.ratings.own_table import Columns, read_rows
from foveal.ratings.sets.known import KnownSet, Labels, join_rows, locate, require
from foveal.ratings.table import DatasetCard

CARD = DatasetCard(
    name="AIGIQA-20K",
    low=0.0,
    high=5.0,
    licence="Apache-2.0 by its record on ModelScope",
    citation=(
        "C. Li et al., AIGIQA-20K: a large database for AI-generated image quality assessment, CVPRW 2024, "
        "arXiv:2404.03407; https://www.modelscope.cn/datasets/lcysyzxdxc/AIGCQA-30K-Image"
    ),
    note=(
        "One score for quality and correspondence together. The official split, 7:1:2, is by image: 214 of "
        "the 3,973 test prompts stand in its training part too. Seeded grouped splits keep them together."
    ),
)
"""MOS from 0 to 5, higher is better."""

_PARTS = {"train": "train", "validation": "val", "test": "test"}


def _read(folder: Path) -> Labels:
    columns = Columns(image="name", scores={"quality": "mos"}, group="prompt", prompt="prompt")
    tables = {p: read_rows(require(folder, *_tables(part)), columns) for p, part in _PARTS.items()}
    rows = join_rows(tables)
    rows = replace(rows, subsets=tuple(name.rpartition("_")[0] for name in rows.names))
    if locate(folder, "images", "all") is None and (folder / "train").is_dir():
        # As the challenge handed it out: each part has a folder of its own.
        files = tuple(f"{_PARTS[part]}/{name}" for part, name in zip(rows.split, rows.names, strict=True))
        return Labels(rows, CARD, files)
    return Labels(rows, CARD)


def _tables(part: str) -> tuple[str, str]:
    return f"info_{part}.csv", f"info_{part}.xlsx"


AIGIQA_20K = KnownSet(
    card=CARD,
    size=20_000,
    targets=("quality",),
    layout="info_train.csv, info_val.csv, info_test.csv [name, prompt, mos], and the images in images/, in "
    "train/, val/ and test/, or beside them",
    tables=tuple(_tables(part) for part in _PARTS.values()),
    folders=("images", "all", "."),
    read=_read,
)
