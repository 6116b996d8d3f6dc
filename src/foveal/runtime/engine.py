"""What an engine is, and the checks that all engines share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from foveal.artifact.card import Card, ViewSpec
from foveal.errors import CorruptArtifactError, DeviceError

Batch = NDArray[np.uint8]
"""Views of several images for one input: uint8 (images, side, side, 3)."""
OUTPUTS = ("quality", "spread")
"""What every graph gives: float32 (images,) each; quality on 1-5, spread > 0.

It may also give ``quality_map``, float32 (images, rows, columns): local quality on the same scale.
"""


class Engine(Protocol):
    """Executes one graph; safe to call from any thread. An image's numbers depend on that image alone."""

    @property
    def name(self) -> str:
        """``openvino`` or ``onnxruntime``."""
        ...

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""
        ...

    @property
    def best_batch(self) -> int:
        """Images per call of :meth:`run` that it is quickest with."""
        ...

    @property
    def threads(self) -> int:
        """Callers that it serves at once."""
        ...

    def run(self, views: Mapping[str, Batch]) -> dict[str, NDArray[np.float32]]:
        """Execute the graph.

        Args:
            views: by input name, uint8 (images, side, side, 3), equally many images each.

        Returns:
            By output name, float32, images first; ``quality`` and ``spread`` are (images,).

        Raises:
            ValueError: the views are not what the artifact's card asks for.
        """
        ...


def available_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_threads(threads: int | None) -> int:
    """The number of threads asked for, or one for each CPU; DeviceError if it is below 1."""
    if threads is None:
        return available_cpus()
    if threads < 1:
        raise DeviceError(f"threads is {threads}, expected 1 or more")
    return threads


def check_signature(card: Card, inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Make sure that a graph takes what its card promises and gives what an assessor needs.

    Raises:
        CorruptArtifactError: it does not.
    """
    inputs, outputs = sorted(inputs), sorted(outputs)
    if inputs != sorted(card.views):
        raise CorruptArtifactError(
            f"{card.model}: its graph takes {inputs}, its card says {sorted(card.views)}"
        )
    missing = [name for name in OUTPUTS if name not in outputs]
    if missing:
        raise CorruptArtifactError(f"{card.model}: its graph does not give {missing}, only {outputs}")


def count_images(views: Mapping[str, Batch], specs: Mapping[str, ViewSpec]) -> int:
    """Check a batch against the card and count its images.

    Raises:
        ValueError: a view is missing, unknown, of another dtype or shape, or the counts differ.
    """
    if views.keys() != specs.keys():
        raise ValueError(f"views are {sorted(views)}, expected {sorted(specs)}")
    counts = set()
    for name, batch in views.items():
        side = specs[name].side
        if batch.dtype != np.uint8 or batch.shape[1:] != (side, side, 3):
            raise ValueError(
                f"view {name!r} is {batch.dtype} {batch.shape}, expected uint8 (images, {side}, {side}, 3)"
            )
        counts.add(len(batch))
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"views hold {sorted(counts)} images, expected equally many and at least one")
    return counts.pop()
