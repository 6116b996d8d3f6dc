"""Fixtures for the lab: one thread, small networks, and a store of views with every role in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from foveal.imaging.views import SIDE
from foveal.lab.models.compact import CompactConfig
from foveal.lab.training.view_store import ViewPlan, open_pixels, write_plans

LAYERS, WIDTH, COMPONENTS = 3, 8, 5


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order: equal runs give equal bits, and tests side by side do not fight for the CPUs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_config() -> CompactConfig:
    """A network that trains in milliseconds."""
    return CompactConfig((8, 8, 16, 16), (1, 1, 1, 1), signature=12, hidden=8)


def _write_store(
    folder: Path,
    plans: list[ViewPlan],
    pooled: NDArray[np.float32],
    pixels: Callable[[int], NDArray[np.uint8]],
) -> None:
    generator = np.random.default_rng(5)
    spread = np.geomspace(3, 0.1, COMPONENTS)
    tokens = generator.normal(0, spread, (len(plans), 7, 7, COMPONENTS))
    folder.mkdir(parents=True, exist_ok=True)
    write_plans(folder, plans)
    np.save(folder / "pooled.npy", pooled.astype(np.float16))
    np.save(folder / "tokens.npy", tokens.astype(np.float16))
    np.savez(folder / "basis.npz", spread=spread)
    mapped = open_pixels(folder, len(plans))
    for row in range(len(plans)):
        mapped[row] = pixels(row)
    mapped.flush()


def plan_source(source: str, *, rated: bool, series: bool) -> list[ViewPlan]:
    """The views that a store has of one source, as the recipe plans them."""
    draws = (("whole", 0), ("whole", 1), ("fragments", 0), ("fragments", 1), ("fragments", 2))
    plans = [ViewPlan(source, kind, draw) for kind, draw in (draws if rated else (draws[0], draws[2]))]
    if series:
        plans += [
            ViewPlan(source, kind, 0, degradation, severity)
            for degradation in ("blur", "noise")
            for severity in (0.3, 0.8)
            for kind in ("whole", "fragments")
        ]
    return plans


@pytest.fixture(scope="session")
def write_store() -> Callable[..., None]:
    """Writes a store: ``write_store(folder, plans, pooled, pixels)`` with random tokens.

    ``pooled`` is (views, layers, 2, width); ``pixels`` gives the view of a row.
    """
    return _write_store


@pytest.fixture(scope="session")
def flat_pixels() -> Callable[[int], NDArray[np.uint8]]:
    """Pixels for stores whose pictures nobody looks at."""
    return lambda row: np.full((SIDE, SIDE, 3), row % 256, np.uint8)
