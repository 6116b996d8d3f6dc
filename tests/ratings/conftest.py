"""A fixture for ratings: a miniature BIQ2021 with every trap of the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
