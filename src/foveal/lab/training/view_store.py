"""Views cut once and kept on disk, so that every epoch of a distillation reads instead of decoding.

Layout of a store (a folder):
    views.csv     one row a view, in order: source, kind, draw, degradation, severity
    pixels.npy    uint8 (views, 224, 224, 3), memory-mapped
    pooled.npy    float16 (views, layers, 2, width): CLS and mean patch token of the teacher's layers
    tokens.npy    float16 (views, 7, 7, components): the teacher's patch tokens, 2 x 2 averaged, all layers
                  concatenated, projected onto their principal components
    basis.npz     mean, components and spread of that projection
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from foveal.imaging.degradations import degrade
from foveal.imaging.views import GRID, SIDE, Pixels, fragment_view, whole_view

LONGEST_SIDE = 512
"""Photographs from other collections are reduced to the size that the rated ones have."""


@dataclass(frozen=True)
class ViewPlan:
    """What one view shows: enough to cut it again, bit for bit."""

    source: str
    kind: str
    draw: int = 0
    degradation: str = ""
    severity: float = 0.0


def cut(plan: ViewPlan, pixels: Pixels) -> Pixels:
    """Cut a planned view. Draw 0 is the view that the assessor sees; the others are augmented."""
    if plan.degradation:
        pixels = degrade(pixels, plan.degradation, plan.severity)
    if plan.draw == 0:
        return whole_view(pixels) if plan.kind == "whole" else fragment_view(pixels)
    generator = np.random.default_rng([plan.draw, *plan.source.encode()])
    if generator.random() < 0.5:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
    if plan.kind == "whole":
        return whole_view(_random_crop(pixels, generator))
    return fragment_view(pixels, generator.random((GRID, GRID, 2)))


def read_pixels(path: Path, longest_side: int = LONGEST_SIDE) -> Pixels:
    """Decode an image of a training collection, reduced to ``longest_side`` where it is larger."""
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
        picture.thumbnail((longest_side, longest_side), Image.Resampling.BICUBIC)
        return np.asarray(picture)


def write_plans(folder: Path, plans: Sequence[ViewPlan]) -> None:
    """Write ``views.csv``."""
    with (folder / "views.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(ViewPlan)])
        writer.writeheader()
        writer.writerows(asdict(plan) for plan in plans)


def read_plans(folder: Path) -> list[ViewPlan]:
    """Read ``views.csv``."""
    with (folder / "views.csv").open(newline="", encoding="utf-8") as file:
        return [
            ViewPlan(row["source"], row["kind"], int(row["draw"]), row["degradation"], float(row["severity"]))
            for row in csv.DictReader(file)
        ]


def iterate_views(plans: Sequence[ViewPlan], roots: dict[str, Path], workers: int = 2) -> Iterator[Pixels]:
    """Cut views in order; a source is ``collection/path``, decoded once for a run of plans that share it."""
    groups: list[list[ViewPlan]] = []
    for plan in plans:
        if groups and groups[-1][0].source == plan.source:
            groups[-1].append(plan)
        else:
            groups.append([plan])

    def cut_group(group: list[ViewPlan]) -> list[Pixels]:
        collection, _, name = group[0].source.partition("/")
        pixels = read_pixels(roots[collection] / name)
        return [cut(plan, pixels) for plan in group]

    with ThreadPoolExecutor(workers) as pool:
        ahead = 8
        pending = [pool.submit(cut_group, group) for group in groups[:ahead]]
        for index in range(len(groups)):
            views = pending.pop(0).result()
            if index + ahead < len(groups):
                pending.append(pool.submit(cut_group, groups[index + ahead]))
            yield from views


def open_pixels(folder: Path, count: int | None = None) -> NDArray[np.uint8]:
    """Memory-map ``pixels.npy``: for writing when ``count`` is given, else for reading."""
    path = folder / "pixels.npy"
    if count is None:
        mapped: NDArray[np.uint8] = np.load(path, mmap_mode="r")
        return mapped
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, SIDE, SIDE, 3))


def _random_crop(pixels: Pixels, generator: np.random.Generator) -> Pixels:
    """Keep 80 to 100 % of the area, shape kept: quality as people see it hardly changes."""
    height, width = pixels.shape[:2]
    scale = float(np.sqrt(generator.uniform(0.8, 1.0)))
    kept_height, kept_width = round(height * scale), round(width * scale)
    top = int(generator.integers(0, height - kept_height + 1))
    left = int(generator.integers(0, width - kept_width + 1))
    return np.ascontiguousarray(pixels[top : top + kept_height, left : left + kept_width])
