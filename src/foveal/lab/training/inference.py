"""A frozen graph over a long stream of views: OpenVINO's asynchronous queue, results in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.runtime.openvino_engine import import_openvino


class OrderedInference:
    """Runs an OpenVINO model on single inputs, several at once.

    Args:
        model: an ``openvino.Model`` with static shapes, or a serialized ONNX model.
        shapes: shape of each input by name, to make an ONNX model static.
    """

    def __init__(self, model: Any, shapes: Mapping[str, list[int]] | None = None) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        if isinstance(model, bytes):
            model = core.read_model(model)
        if shapes is not None:
            model.reshape(dict(shapes))
        # Where the CPU has bf16 OpenVINO would take it unasked, and the assessor's engine does not.
        options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
        options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = "0"  # as the assessor's engine has it
        compiled = core.compile_model(model, "CPU", options)
        self._queue = openvino.AsyncInferQueue(compiled)
        self._outputs = len(model.outputs)

    def __call__(self, inputs: Iterable[Any]) -> Iterator[tuple[NDArray[np.float32], ...]]:
        """Yield the outputs for each input (as ``start_async`` takes it) without the batch axis."""
        done: dict[int, tuple[NDArray[np.float32], ...]] = {}
        # A callback that held this object would keep it, and its model, for ever.
        outputs = range(self._outputs)

        def keep(request: Any, index: int) -> None:
            done[index] = tuple(request.get_output_tensor(i).data[0].copy() for i in outputs)

        self._queue.wait_all()  # what a caller who stopped early has left under way
        self._queue.set_callback(keep)
        emitted = submitted = 0
        for views in inputs:
            self._queue.start_async(views, submitted)
            submitted += 1
            while emitted in done:
                yield done.pop(emitted)
                emitted += 1
        self._queue.wait_all()
        while emitted < submitted:
            yield done.pop(emitted)
            emitted += 1
