"""A graph that gives tensors from its inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foveal.lab.compression.layers import Layer, Window
from foveal.runtime.openvino_engine import import_openvino

if TYPE_CHECKING:
    import onnx

Views = Mapping[str, NDArray[Any]]
"""Inputs of a graph by name, of one image each: (1, ...)."""
Source = tuple[tuple[str, ...], Window | None]
"""Where a layer's input vectors come from: its ``inputs`` and its ``window``."""


class InnerRun:
    """Runs a graph up to some of its tensors; what only other outputs need is not computed.

    Args:
        model: the graph; float arithmetic is done in fp32.
        tensors: names of tensors or inputs.

    Raises:
        ValueError: the graph has no such tensor.
    """

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str]) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        graph = core.read_model(model.SerializeToString())
        given = {name for port in graph.inputs for name in port.names}
        self._given = [name for name in tensors if name in given]
        self._tensors = [name for name in tensors if name not in given]
        results = [openvino.opset13.result(port) for port in _ports(graph, self._tensors)]
        self._request: Any = None
        if results:
            cut = openvino.Model(results, graph.get_parameters(), "inner")
            cut.reshape({port.any_name: [1, *list(port.partial_shape)[1:]] for port in cut.inputs})
            options = {"NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
            self._request = core.compile_model(cut, "CPU", options).create_infer_request()

    def __call__(self, views: Views) -> dict[str, NDArray[np.float32]]:
        """Tensors by name for one image; they are overwritten by the next call."""
        seen = {name: np.asarray(views[name], np.float32) for name in self._given}
        if self._request is not None:
            self._request.infer(dict(views))
            for number, name in enumerate(self._tensors):
                seen[name] = self._request.get_output_tensor(number).data
        return seen


def _ports(graph: Any, tensors: Sequence[str]) -> list[Any]:
    known = {name: port for op in graph.get_ops() for port in op.outputs() for name in port.names}
    if missing := [name for name in tensors if name not in known]:
        raise ValueError(f"the graph has no tensor {missing[0]!r}")
    return [known[name] for name in tensors]


def layer_inputs(
    model: onnx.ModelProto, layers: Sequence[Layer], images: Iterable[Views], vectors: int | None = None
) -> Iterator[dict[Source, NDArray[np.float32]]]:
    """What layers are fed with, image by image.

    Args:
        model: the graph.
        layers: of that graph; those with the same :func:`source` are fed with the same.
        images: run one by one.
        vectors: keep at most so many of each tensor's vectors, evenly spaced; all if None.

    Yields:
        (vectors, inputs) by the layers' :func:`source`.
    """
    sources = list(dict.fromkeys(map(source, layers)))
    run = InnerRun(model, sorted({name for names, _ in sources for name in names}))
    for views in images:
        seen = run(views)
        yield {
            (names, window): np.concatenate(
                [_thinned(input_vectors(seen[name], window), vectors) for name in names]
            )
            for names, window in sources
        }


def source(layer: Layer) -> Source:
    """What decides on a layer's input vectors: a tensor may be read through windows of several sizes."""
    return layer.inputs, layer.window


def input_vectors(values: NDArray[np.float32], window: Window | None) -> NDArray[np.float32]:
    """What a layer multiplies its weights by: (vectors, inputs).

    Args:
        values: (..., inputs) for a linear layer, (batch, channels, rows, columns) for a convolution.
        window: of a convolution.
    """
    if window is None:
        return values.reshape(-1, values.shape[-1])
    top, left, bottom, right = window.pads
    padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, window.kernel, axis=(2, 3))
    patches = patches[:, :, :: window.strides[0], :: window.strides[1]]
    inputs = values.shape[1] * window.kernel[0] * window.kernel[1]
    return np.ascontiguousarray(patches.transpose(0, 2, 3, 1, 4, 5)).reshape(-1, inputs)


def _thinned(rows: NDArray[np.float32], most: int | None) -> NDArray[np.float32]:
    if most is None or len(rows) <= most:
        return rows.copy()
    taken: NDArray[np.float32] = rows[np.linspace(0, len(rows) - 1, most).astype(int)]
    return taken
