"""Fixtures for ratings: a miniature BIQ2021 with every trap of the real one, and a writer of any table."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

Columns = Mapping[str, Sequence[object]]

TRAIN_ROWS = [
    ("ss03 (3753).jpg", "0.8471"),
    ("ss01 (1726).jpg", "0.2874"),
    ("ss02 (1014).jpg", "0.4357"),
    ("ss03 (1).jpg", "1"),
]
TEST_ROWS = [("ss03 (7805).jpg", "0.7321"), ("ss02 (9).jpg", "0.0000")]


@pytest.fixture
def mini_biq2021(tmp_path: Path) -> Path:
    """Six images in the owners' layout: spaces, two empty columns, one suffix in capitals on disk."""
    folder = tmp_path / "BIQ2021 copy"
    (folder / "Images").mkdir(parents=True)
    train = "".join(f"{name},{mos},,\n" for name, mos in TRAIN_ROWS)
    (folder / "Train (Images and MOS).csv").write_text("Image Name,MOS,,\n" + train, encoding="utf-8")
    test = "".join(f"{name},{mos}\r\n" for name, mos in TEST_ROWS)
    (folder / "Test (Images and MOS).csv").write_bytes(("Image Name,MOS\r\n" + test).encode())
    for seed, (name, _) in enumerate(TRAIN_ROWS + TEST_ROWS):
        on_disk = "ss02 (1014).JPG" if name == "ss02 (1014).jpg" else name
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "Images" / on_disk, "JPEG")
    return folder


def _write_table(path: Path, columns: Columns) -> Path:
    """Write columns in the format that the suffix says, each value in the format's own type."""
    rows = list(zip(*columns.values(), strict=True))
    match path.suffix:
        case ".csv" | ".tsv" as suffix:
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, delimiter="," if suffix == ".csv" else "\t").writerows([[*columns], *rows])
        case ".jsonl":
            lines = (json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows)
            path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        case ".parquet":
            pq.write_table(pa.table({name: pa.array(cells) for name, cells in columns.items()}), path)
        case ".xlsx":
            book = openpyxl.Workbook()
            for row, cells in enumerate([tuple(columns), *rows], start=1):
                for column, value in enumerate(cells, start=1):
                    cell = book.active.cell(row, column, value)
                    if isinstance(value, str):
                        cell.data_type = "s"  # or openpyxl would take '=a' for a formula
            book.save(path)
    return path


@pytest.fixture(scope="session")
def write_table() -> Callable[[Path, Columns], Path]:
    """Writes a table: ``write_table(path, {heading: values})``; returns the path."""
    return _write_table
