"""Made-up sets of rated images, and assessors that know them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True, eq=False)
class MadeSet:
    """A table of tiny pictures on disk, rated from 0 to 100.

    Attributes:
        name: of its folder.
        folder: with ``ratings.csv`` (image, mos, scene, part) and the pictures.
        names: of the pictures.
        mos: float64 [n].
    """

    name: str
    folder: Path
    names: tuple[str, ...]
    mos: NDArray[np.float64]

    def table(self, **fields: object) -> dict[str, object]:
        """Its ``[sets.NAME]`` in a benchmark's file."""
        columns = {"scores": {"quality": "mos"}, "group": "scene", "split": "part"}
        path = f"{self.name}/ratings.csv"
        return {"path": path, "low": 0, "high": 100, "columns": columns, "split": "seeded", **fields}


def write_csv(path: Path, columns: Mapping[str, Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


@pytest.fixture
def make_set(tmp_path: Path) -> Callable[..., MadeSet]:
    """Makes a set: ``make_set(name, count, seed=..., copies={3: 0}, scenes=[...], parts=[...])``.

    Pictures are 8 x 8 noise, all different, but for ``copies``: picture 3 is the same file as picture 0. By
    default two neighbours are a scene, and of three scenes one is in the test part and the others in train.
    """

    def make(
        name: str,
        count: int = 30,
        *,
        seed: int = 0,
        copies: Mapping[int, int] | None = None,
        scenes: Sequence[str] = (),
        parts: Sequence[str] = (),
    ) -> MadeSet:
        folder = tmp_path / name
        folder.mkdir()
        generator = np.random.default_rng([seed, count])
        mos = generator.uniform(0, 100, count).round(2)
        names = tuple(f"{number:02}.png" for number in range(count))
        for picture in names:
            Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / picture)
        for copy, original in (copies or {}).items():
            (folder / names[copy]).write_bytes((folder / names[original]).read_bytes())
        rows = range(count)
        columns = {
            "image": names,
            "mos": mos.tolist(),
            "scene": list(scenes) or [f"scene {row // 2}" for row in rows],
            "part": list(parts) or ["test" if row // 2 % 3 == 0 else "train" for row in rows],
        }
        write_csv(folder / "ratings.csv", columns)
        return MadeSet(name, folder, names, mos)

    return make


@pytest.fixture
def write_table() -> Callable[[Path, Mapping[str, Sequence[object]]], None]:
    """Writes a CSV file: ``write_table(path, {"image": [...], "score": [...]})``."""
    return write_csv
