"""How much a model's outputs suffer when one layer alone is rounded: measured, not guessed from weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foveal.lab.compression.inner_run import InnerRun, Views
from foveal.lab.compression.layers import Layer, read_weights, with_weights
from foveal.lab.compression.moments import Moments
from foveal.lab.compression.quantizers import compensate, spread_scale

if TYPE_CHECKING:
    import onnx

Progress = Callable[[int, int], None]
LEAST_IMAGES = 2
"""Fewer do not deviate."""
_STEP = 1.0
_FLAT = 1e-3


def measure_sensitivity(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    moments: Mapping[str, Moments],
    images: Sequence[Views],
    progress: Progress | None = None,
) -> dict[str, float]:
    """Mean squared change of the model's outputs when one layer is rounded with step 1.

    Each output's column counts in units of its own deviation over the images, so that features of any size
    weigh alike; only one that hardly deviates, a thousandth of what others do, counts by that.

    Args:
        model: fp32.
        layers: whose sensitivity is wanted.
        moments: of their inputs: rounding is compensated as it will be.
        images: a few of the training part, two at least; the cost is one run of each for each layer.
        progress: told how many layers are done, and how many there are.

    Returns:
        By layer's name, >= 0.

    Raises:
        ValueError: there are fewer than two images, or outputs are the same for all of them.
    """
    if len(images) < LEAST_IMAGES:
        raise ValueError(f"{len(images)} images to measure sensitivity on, expected 2 or more")
    weights = read_weights(model, layers)
    outputs = [value.name for value in model.graph.output]
    original = _run(model, outputs, images)
    deviation = original.std(axis=0)
    if not deviation.any():
        raise ValueError("the model gives the same for all images: take others to measure sensitivity on")
    deviation = np.maximum(deviation, _FLAT * deviation.max())
    measured: dict[str, float] = {}
    for layer in layers:
        own = weights[layer.name]
        rounded = compensate(own, moments[layer.name].second, spread_scale(own, _STEP))
        changed = _run(with_weights(model, [layer], {layer.name: rounded.weights}), outputs, images)
        measured[layer.name] = float(np.mean(np.square((changed - original) / deviation)))
        if progress is not None:
            progress(len(measured), len(layers))
    return measured


def _run(model: onnx.ModelProto, outputs: Sequence[str], images: Sequence[Views]) -> NDArray[np.float64]:
    """All outputs of each image in a row: (images, columns)."""
    run = InnerRun(model, outputs)
    return np.stack([
        np.concatenate([np.ravel(seen[name]) for name in outputs]).astype(np.float64)
        for seen in map(run, images)
    ])  # fmt: skip
