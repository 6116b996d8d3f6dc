"""The OpenVINO engine: the default on CPUs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from queue import LifoQueue
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from foveal.artifact.file import Artifact
from foveal.errors import ArtifactError, DeviceError
from foveal.runtime.engine import Batch, check_signature, count_images, input_shapes, resolve_threads

Precision = Literal["f32", "bf16"]


class OpenVINOEngine:
    """Runs a graph with OpenVINO on the CPU, one image a call and one thread an image.

    Several callers run side by side, each on a stream of its own. So every image takes the very same path
    through the very same kernels, and its score cannot depend on batch, order or number of threads.

    Args:
        artifact: what to run.
        threads: images at once; by default one for each CPU.
        precision: arithmetic of the layers that are not quantized; ``bf16`` where the CPU has it.

    Raises:
        DeviceError: OpenVINO is not installed or does not load here.
        ArtifactError: the graph cannot be run.
    """

    name = "openvino"
    device = "cpu"
    best_batch = 1

    def __init__(
        self, artifact: Artifact, *, threads: int | None = None, precision: Precision = "f32"
    ) -> None:
        self.threads = resolve_threads(threads)
        self._shapes = input_shapes(artifact.card)
        openvino = import_openvino()
        # The first look into a tensor sets up NumPy inside the binding. Two threads that come there first at
        # the same time wait for each other for ever, each holding what the other needs (GIL and C++ guard).
        _ = openvino.Tensor(np.zeros(1, np.uint8)).data
        core = openvino.Core()
        try:
            model = core.read_model(artifact.model_bytes())
            inputs = [port.any_name for port in model.inputs]
            self._outputs = [port.any_name for port in model.outputs]
            check_signature(artifact.card, inputs, self._outputs)
            model.reshape({name: [1, *shape] for name, shape in self._shapes.items()})
            compiled = core.compile_model(model, "CPU", _config(self.threads, precision))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ArtifactError(f"{artifact.card.model}: OpenVINO cannot run its graph ({reason})") from error
        # Last in, first out: the request that was just used has its buffers still in the cache.
        self._requests: LifoQueue[Any] = LifoQueue()
        for _ in range(self.threads):
            self._requests.put(compiled.create_infer_request())

    def run(self, views: Mapping[str, Batch]) -> dict[str, NDArray[np.float32]]:
        """Execute the graph; see :meth:`foveal.runtime.engine.Engine.run`."""
        count = count_images(views, self._shapes)
        rows = [
            self._run_one({name: batch[i : i + 1] for name, batch in views.items()}) for i in range(count)
        ]
        return {name: np.concatenate([row[name] for row in rows]) for name in self._outputs}

    def _run_one(self, views: dict[str, Batch]) -> dict[str, NDArray[np.float32]]:
        request = self._requests.get()
        try:
            request.infer(views)  # without the GIL
            return {name: request.get_tensor(name).data.copy() for name in self._outputs}
        finally:
            self._requests.put(request)


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would otherwise report the import over the network.

    OpenVINO falls back to a stub where the package ``openvino_telemetry`` is absent: so it is made to look
    absent during the import.

    Raises:
        DeviceError: it is not installed or does not load.
    """
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    hidden = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = cast("Any", None)
    try:
        import openvino
    except ImportError as error:
        raise DeviceError(f"OpenVINO cannot be loaded ({error}): pip install openvino") from error
    finally:
        del sys.modules["openvino_telemetry"]
        if hidden is not None:
            sys.modules["openvino_telemetry"] = hidden
    return openvino


def _config(threads: int, precision: Precision) -> dict[str, Any]:
    return {
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        # Where only weights are quantised OpenVINO would round activations too, for speed, on some CPUs.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        # Pinned threads of two processes would meet on the same cores.
        "ENABLE_CPU_PINNING": False,
    }
