"""What is known of an image before training, and kept: tokens of the frozen tower, readings of the meters."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.attributes import ATTRIBUTES, measure
from foveal.lab.reasoning.degraded import Sight
from foveal.lab.reasoning.small.image_processor import two_views
from foveal.lab.reasoning.small.tower import TwoViewTower

_BATCH = 16
Tell = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Readings:
    """Attributes of images.

    Attributes:
        degrees: of each image, by attribute.
        places: of each image, where attributes stand out, if they do.
    """

    degrees: tuple[dict[str, int], ...]
    places: tuple[dict[str, str], ...]


def read_meters(
    sights: Sequence[Sight], cache: Path, *, workers: int | None = None, tell: Tell = lambda done, of: None
) -> Readings:
    """Measure all attributes of images, or read them from an earlier run.

    Args:
        sights: images.
        cache: a JSON file; written once all are measured, and read again only for the same files and meters.
        workers: threads.
        tell: called with how many are done, of how many.

    Raises:
        ImageError: one cannot be read.
    """
    key = _key(sights, [f"{name} {item.thresholds}" for name, item in ATTRIBUTES.items()])
    kept = _kept(cache, key)
    if kept is None:
        with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            kept = []
            for row in pool.map(_meter, sights):
                kept.append(row)
                tell(len(kept), len(sights))
        _keep(cache, {"key": key, "rows": kept})
    return Readings(tuple(row["degrees"] for row in kept), tuple(row["places"] for row in kept))


def read_tokens(
    tower: TwoViewTower, sights: Sequence[Sight], cache: Path, *, tell: Tell = lambda done, of: None
) -> NDArray[np.float16]:
    """Run the frozen tower over images, or read its tokens from an earlier run.

    Args:
        tower: the eyes.
        sights: images.
        cache: a ``.npy`` file; a JSON file beside it says of which images and weights it is.
        tell: called with how many are done, of how many.

    Returns:
        float16 (images, 49, features), mapped from the file.

    Raises:
        ImageError: one cannot be read.
    """
    key, label = _key(sights, [tower_digest(tower)]), cache.with_suffix(".json")
    if not (cache.exists() and _kept(label, key) is not None):
        shape = len(sights), 49, tower.config.hidden_size
        cache.parent.mkdir(parents=True, exist_ok=True)
        stored = np.lib.format.open_memmap(cache, "w+", np.float16, shape)
        with ThreadPoolExecutor(os.cpu_count()) as pool, torch.inference_mode():
            for start in range(0, len(sights), _BATCH):
                views = np.stack(list(pool.map(_views, sights[start : start + _BATCH])))
                tokens = tower(torch.from_numpy(views)).last_hidden_state
                stored[start : start + len(views)] = tokens.numpy().astype(np.float16)
                tell(min(start + _BATCH, len(sights)), len(sights))
        stored.flush()
        _keep(label, {"key": key, "rows": [sight.label for sight in sights]})
    mapped: NDArray[np.float16] = np.load(cache, mmap_mode="r")
    return mapped


def tower_digest(tower: TwoViewTower) -> str:
    """Fingerprint of the tower's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(tower.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _meter(sight: Sight) -> dict[str, Any]:
    readings = measure(sight.pixels())
    return {
        "degrees": {name: reading.degree for name, reading in readings.items()},
        "places": {name: reading.place for name, reading in readings.items() if reading.place is not None},
    }


def _views(sight: Sight) -> NDArray[np.uint8]:
    return two_views(sight.pixels())


def _key(sights: Sequence[Sight], more: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for sight in sights:
        digest.update(f"{sight.label} {sight.path.stat().st_size}\n".encode())
    for text in more:
        digest.update(text.encode())
    return digest.hexdigest()


def _kept(cache: Path, key: str) -> list[Any] | None:
    try:
        stored = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stored["rows"] if isinstance(stored, dict) and stored.get("key") == key else None


def _keep(cache: Path, values: dict[str, Any]) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    part = cache.with_name(cache.name + ".part")
    part.write_text(json.dumps(values), encoding="utf-8")
    part.replace(cache)
