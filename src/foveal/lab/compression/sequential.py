"""Quantising a whole graph, layer by layer, each one knowing what those before it have done.

A layer is fitted to the inputs that the quantised graph gives it, not to those of the original: so it makes
up for errors before it instead of adding to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from foveal.lab.compression.inner_run import Source, Views, layer_inputs, source
from foveal.lab.compression.layers import Layer, read_weights, with_initializers
from foveal.lab.compression.quantizers import Quantized, Scale, compensate

if TYPE_CHECKING:
    import onnx

Progress = Callable[[int, int], None]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class SequentialConfig:
    """How layers are fitted.

    Attributes:
        vectors: input vectors of each tensor and image that are used.
        damping: see :func:`~foveal.lab.compression.quantizers.compensate`.
        adapt: move the weights, before they are rounded, to those that turn the changed inputs into the
            original outputs with the least squared error; 1 entirely, 0 not at all.
        ridge: how much each input must matter for that, as a share of the mean power.
        biases: set biases so that the mean of each output stays what it was.
        together: stages that are fitted on one run of the graph: at 1 each knows of all before it, at 4 a
            block of a transformer knows of the blocks before it, in a quarter of the time.
    """

    vectors: int = 96
    damping: float = 0.01
    adapt: float = 0.0
    ridge: float = 0.01
    biases: bool = True
    together: int = 1

    def __post_init__(self) -> None:
        for name in ("vectors", "together"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if not (self.damping > 0 and self.ridge > 0 and 0 <= self.adapt <= 1):
            raise ValueError("damping and ridge must be above 0, adapt from 0 to 1")


@dataclass(frozen=True)
class QuantizedGraph:
    """A graph whose layers lie on grids.

    Attributes:
        model: with float weights that are exactly levels times scales, and corrected biases.
        layers: levels and scales by layer's name.
    """

    model: onnx.ModelProto
    layers: Mapping[str, Quantized]


def quantize_graph(  # noqa: PLR0917
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    scales: Mapping[str, Scale],
    images: Sequence[Views],
    config: SequentialConfig | None = None,
    progress: Progress | None = None,
) -> QuantizedGraph:
    """Quantise layers in the order of the graph, with error compensation.

    Args:
        model: fp32.
        layers: those to quantise, in the order of :func:`~foveal.lab.compression.layers.find_layers`.
        scales: of each layer, by name.
        images: calibration images of the training part.
        config: how.
        progress: told how many layers are done, and how many there are.

    Raises:
        ValueError: there are no images.
    """
    config = config or SequentialConfig()
    if not images:
        raise ValueError("no calibration images: give some of the training part")
    original = _gather(layer_inputs(model, layers, images, config.vectors))
    done: dict[str, Quantized] = {}
    current = with_initializers(model, {})
    stages = iter(_stages(layers).items())
    while chunk := dict(islice(stages, config.together)):
        inner = [layer for stage in chunk.values() for layer in stage]
        now = _gather(layer_inputs(current, inner, images, config.vectors))
        for place, stage in chunk.items():
            pair = original.pop(place), now.pop(place)
            arrays, fitted = _fit_stage(current, stage, scales, pair, config)
            current = with_initializers(current, arrays)
            done.update(fitted)
            if progress is not None:
                progress(len(done), len(layers))
    return QuantizedGraph(current, done)


def _stages(layers: Sequence[Layer]) -> dict[Source, list[Layer]]:
    """Layers by what they are fed with: those of one stage do not change each other's inputs."""
    stages: dict[Source, list[Layer]] = {}
    for layer in layers:
        stages.setdefault(source(layer), []).append(layer)
    return stages


def _gather(images: Iterator[dict[Source, Vectors]]) -> dict[Source, Vectors]:
    gathered: dict[Source, list[Vectors]] = {}
    for seen in images:
        for place, rows in seen.items():
            gathered.setdefault(place, []).append(rows)
    return {place: np.concatenate(parts) for place, parts in gathered.items()}


def _fit_stage(
    model: onnx.ModelProto,
    stage: Sequence[Layer],
    scales: Mapping[str, Scale],
    inputs: tuple[Vectors, Vectors],
    config: SequentialConfig,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, Quantized]]:
    """Quantise layers that share their inputs; give what they hold now, by initializer, and their levels."""
    before, now = inputs
    second = (now.T @ now).astype(np.float64) / len(now)
    moved = _adaptation(before, now, second, config)
    means = before.mean(axis=0, dtype=np.float64), now.mean(axis=0, dtype=np.float64)
    arrays: dict[str, NDArray[np.float32]] = {}
    fitted: dict[str, Quantized] = {}
    biases = _read_biases(model, stage)
    for layer, weights in zip(stage, read_weights(model, stage).values(), strict=True):
        wanted = weights if moved is None else weights @ moved
        result = compensate(wanted, second, scales[layer.name], damping=config.damping)
        fitted[layer.name] = result
        arrays[layer.weight] = layer.tensor(result.weights)
        if layer.bias is not None and config.biases:
            shift = weights @ means[0] - result.weights @ means[1]
            arrays[layer.bias] = (biases[layer.bias] + shift).astype(np.float32)
    return arrays, fitted


def _adaptation(
    before: Vectors, now: Vectors, second: NDArray[np.float64], config: SequentialConfig
) -> NDArray[np.float64] | None:
    """A with W A x' nearest to W x, where x' are the inputs that have changed."""
    if not config.adapt:
        return None
    cross = (before.T @ now).astype(np.float64) / len(now)
    ridge = np.eye(len(second)) * (config.ridge * np.diag(second).mean() + 1e-12)
    best = scipy.linalg.solve(second + ridge, (cross + ridge).T, assume_a="pos").T
    adapted: NDArray[np.float64] = config.adapt * best + (1 - config.adapt) * np.eye(len(second))
    return adapted


def _read_biases(model: onnx.ModelProto, stage: Sequence[Layer]) -> dict[str, NDArray[np.float64]]:
    from onnx import numpy_helper

    wanted = {layer.bias for layer in stage}
    return {
        item.name: numpy_helper.to_array(item).astype(np.float64)
        for item in model.graph.initializer
        if item.name in wanted
    }
