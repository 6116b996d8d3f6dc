"""What an engine is, and the checks that all engines share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from foveal.artifact.card import PROMPT_IDS, PROMPT_MASK, Card
from foveal.errors import CorruptArtifactError, DeviceError

Batch: TypeAlias = NDArray[np.uint8] | NDArray[np.int64]
"""Several images for one input: views, uint8 (images, side, side, 3), or prompts, int64 (images, length)."""
OUTPUTS = ("quality", "spread")
"""What every graph gives: float32 (images,) each; quality on 1-5, spread > 0.

It also gives each of its card's aspects, float32 (images,) on 1-5, and may give ``quality_map``, float32
(images, rows, columns): local quality on the same scale.
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
            views: by input name, uint8 (images, side, side, 3), equally many images each; where the card
                has a prompt, ``prompt_ids`` and ``prompt_mask`` too, int64 (images, length).

        Returns:
            By output name, float32, images first; ``quality``, ``spread`` and aspects are (images,).

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


def input_shapes(card: Card) -> dict[str, tuple[int, ...]]:
    """Shape that one image has in each input of the card's graph."""
    shapes: dict[str, tuple[int, ...]] = {
        name: (spec.side, spec.side, 3) for name, spec in card.views.items()
    }
    if card.prompt is not None:
        shapes[PROMPT_IDS] = shapes[PROMPT_MASK] = (card.prompt.length,)
    return shapes


def check_signature(card: Card, inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Make sure that a graph takes what its card promises and gives what an assessor needs.

    Raises:
        CorruptArtifactError: it does not.
    """
    inputs, outputs, expected = sorted(inputs), sorted(outputs), sorted(input_shapes(card))
    if inputs != expected:
        raise CorruptArtifactError(f"{card.model}: its graph takes {inputs}, its card says {expected}")
    missing = [name for name in (*OUTPUTS, *sorted(card.aspects)) if name not in outputs]
    if missing:
        raise CorruptArtifactError(f"{card.model}: its graph does not give {missing}, only {outputs}")


def count_images(views: Mapping[str, Batch], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Check a batch against the card and count its images.

    Args:
        views: what is to be run.
        shapes: from :func:`input_shapes`.

    Raises:
        ValueError: a view or prompt is missing, unknown, of another dtype or shape, or the counts differ.
    """
    if views.keys() != shapes.keys():
        raise ValueError(f"views are {sorted(views)}, expected {sorted(shapes)}")
    counts = set()
    for name, batch in views.items():
        dtype = "int64" if len(shapes[name]) == 1 else "uint8"
        if batch.dtype != dtype or batch.shape[1:] != shapes[name]:
            wanted = ", ".join(map(str, shapes[name]))
            raise ValueError(
                f"view {name!r} is {batch.dtype} {batch.shape}, expected {dtype} (images, {wanted})"
            )
        counts.add(len(batch))
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"views hold {sorted(counts)} images, expected equally many and at least one")
    return counts.pop()
