"""The whole way to the shipped compact assessor, stage by stage, from a recipe.

    python -m foveal.lab.training.compact_run recipes/foveal-compact.toml STAGE --biq2021 DIR --images DIR
        --photographs DIR --teacher DIR --work DIR

Stages, in order: ``views`` (cut views, the teacher's features), ``train`` (distillation), ``head`` (int8 trunk,
head, calibration, artifact), ``test`` (the official test set, once). Each writes into the work folder and reads
what the one before it left; a killed stage goes on or starts again.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.imaging.degradations import DEGRADATIONS
from foveal.imaging.views import Pixels
from foveal.lab.models.compact import CompactConfig, CompactNet
from foveal.lab.training.bank import build_bank, gather_sources
from foveal.lab.training.distill import DistillConfig, distill
from foveal.lab.training.probe import ProbeConfig
from foveal.lab.training.teacher import TokenTeacher, cell_tokens, pool_tokens
from foveal.lab.training.view_store import (
    ViewPlan,
    iterate_views,
    open_pixels,
    read_plans,
    write_plans,
)
from foveal.ratings.biq2021 import read_biq2021
from foveal.ratings.table import Ratings

RATED, FREE = "biq", "extra"
"""Collections by name, as they begin the name of a source."""


@dataclass(frozen=True)
class Places:
    """Where everything lies on this machine; a recipe never says."""

    biq2021: Path
    images: Path
    photographs: Path
    teacher: Path
    work: Path

    @property
    def roots(self) -> dict[str, Path]:
        """Folder of each collection."""
        return {RATED: self.images, FREE: self.photographs}

    @property
    def store(self) -> Path:
        """Folder of the views."""
        return self.work / "store"


def plan_views(rated: Sequence[str], free: Sequence[str], recipe: dict[str, Any]) -> list[ViewPlan]:
    """All views to cut: two whole and three fragment draws of rated images, one of free ones, and series.

    A series is two degradations of a source, each mild and strong.
    """
    generator = np.random.default_rng(recipe["seed"])
    order = [f"{RATED}/{name}" for name in rated]
    generator.shuffle(order)
    in_series = sorted(set(generator.choice(order, recipe["rated_series"], replace=False)))
    draws = (("whole", 0), ("whole", 1), ("fragments", 0), ("fragments", 1), ("fragments", 2))
    plans = [ViewPlan(source, kind, draw) for source in order for kind, draw in draws]
    for name in free:
        source = f"{FREE}/{name}"
        plans += [ViewPlan(source, kind) for kind in ("whole", "fragments")]
        plans += _series(source, generator)
    for source in in_series:
        plans += _series(source, generator)
    return plans[: recipe["most_views"]]


def _series(source: str, generator: np.random.Generator) -> list[ViewPlan]:
    plans = []
    for degradation in generator.choice(list(DEGRADATIONS), 2, replace=False):
        mild = generator.uniform(0.15, 0.5)
        strong = generator.uniform(mild + 0.25, 1.0)
        plans += [
            ViewPlan(source, kind, 0, str(degradation), round(float(severity), 3))
            for severity in (mild, strong)
            for kind in ("whole", "fragments")
        ]
    return plans


def find_photographs(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Files of the free collections, pattern by pattern, sorted within each."""
    return [
        path.relative_to(folder).as_posix() for pattern in patterns for path in sorted(folder.glob(pattern))
    ]


def cut_views(places: Places, recipe: dict[str, Any], train: Ratings) -> None:
    """Stage ``views``: cut all planned views and let the teacher look at each."""
    free = find_photographs(places.photographs, recipe["photographs"])
    plans = plan_views(sorted(path.name for path in train.images), free, recipe)
    places.store.mkdir(parents=True, exist_ok=True)
    write_plans(places.store, plans)
    generator = np.random.default_rng(recipe["seed"] + 1)

    def some(count: int) -> Iterator[Pixels]:
        rows = np.sort(generator.choice(len(plans), count, replace=False))
        return iterate_views([plans[row] for row in rows], places.roots)

    teacher = TokenTeacher(places.teacher, calibration=list(some(recipe["calibration_views"])))
    cells = np.stack([cell_tokens(tokens) for tokens in teacher.tokens(some(recipe["basis_views"]))])
    mean, projection, spread = _token_basis(cells, len(teacher.layers), recipe["token_components"])
    np.savez(places.store / "basis.npz", mean=mean, projection=projection, spread=spread)
    pixels = open_pixels(places.store, len(plans))
    pooled = _create(places.store / "pooled.npy", (len(plans), len(teacher.layers), 2, cells.shape[-1] // len(teacher.layers)))
    tokens_out = _create(places.store / "tokens.npy", (len(plans), *cells.shape[1:3], projection.shape[1]))

    def keep_views() -> Iterator[Pixels]:
        for row, view in enumerate(iterate_views(plans, places.roots)):
            pixels[row] = view
            yield view

    for row, tokens in enumerate(teacher.tokens(keep_views())):
        pooled[row] = pool_tokens(tokens)
        tokens_out[row] = (cell_tokens(tokens) - mean) @ projection


def _token_basis(
    cells: NDArray[np.float32], layers: int, components: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Principal components of cell tokens, every layer brought to the same variance first."""
    rows = cells.reshape(-1, cells.shape[-1]).astype(np.float64)
    mean = rows.mean(axis=0)
    centred = rows - mean
    width = rows.shape[1] // layers
    scale = np.sqrt((centred.reshape(-1, layers, width) ** 2).mean(axis=(0, 2))).repeat(width)
    centred /= scale
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    values, vectors = values[::-1][:components], vectors[:, ::-1][:, :components]
    projection = vectors / scale[:, None]
    return mean.astype(np.float32), projection.astype(np.float32), np.sqrt(values)


def _create(path: Path, shape: tuple[int, ...]) -> NDArray[np.float16]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)


def train_network(places: Places, recipe: dict[str, Any], train: Ratings, split: dict[str, Any]) -> CompactNet:
    """Stage ``train``: distil, from the last checkpoint if there is one."""
    quality = rated_quality(train)
    held_out = {f"{RATED}/{name}" for name in split["validation"]}
    folds = {f"{RATED}/{name}": number for number, fold in enumerate(split["folds"]) for name in fold}
    bank, _ = build_bank(places.store, quality, folds, held_out, ProbeConfig(**recipe["probe"]))
    config = DistillConfig(**recipe["distill"])
    torch.manual_seed(config.seed)
    network = CompactNet(CompactConfig(**{k: tuple(v) for k, v in recipe["network"].items()}))
    return distill(network, bank, config, places.work / "distill")


def rated_quality(train: Ratings) -> dict[str, float]:
    """Quality on 1-5 by source."""
    scores = train.quality()
    return {f"{RATED}/{path.name}": float(score) for path, score in zip(train.images, scores, strict=True)}
