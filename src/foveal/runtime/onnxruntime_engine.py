"""The ONNX Runtime engine: a second opinion on CPUs, and the way to NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.artifact.file import Artifact
from foveal.errors import ArtifactError, DeviceError, MissingExtraError
from foveal.runtime.engine import Batch, check_signature, count_images, input_shapes, resolve_threads

_CUDA_BATCH = 32
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


class OnnxRuntimeEngine:
    """Runs a graph with ONNX Runtime.

    On the CPU one image a call, on the caller's thread alone; on CUDA whole batches.

    Args:
        artifact: what to run.
        device: ``cpu`` or ``cuda``.
        threads: callers that are expected at once; by default one for each CPU.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        DeviceError: no CUDA here.
        ArtifactError: the graph cannot be run.
    """

    name = "onnxruntime"

    def __init__(self, artifact: Artifact, *, device: str = "cpu", threads: int | None = None) -> None:
        self.device = device
        self.threads = resolve_threads(threads)
        self.best_batch = _CUDA_BATCH if device == "cuda" else 1
        self._shapes = input_shapes(artifact.card)
        runtime = _import_onnxruntime(device)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        model, providers = artifact.model_bytes(), _providers(runtime, device)
        try:
            self._session = runtime.InferenceSession(model, options, providers=providers)
        except Exception as error:  # its many exception classes have no common base
            raise ArtifactError(
                f"{artifact.card.model}: ONNX Runtime cannot run its graph ({error})"
            ) from error
        if device == "cuda" and _CUDA not in self._session.get_providers():
            raise DeviceError(f"CUDA does not start here; {_CUDA_ADVICE}")
        self._outputs = [port.name for port in self._session.get_outputs()]
        check_signature(artifact.card, [port.name for port in self._session.get_inputs()], self._outputs)

    def run(self, views: Mapping[str, Batch]) -> dict[str, NDArray[np.float32]]:
        """Execute the graph; see :meth:`foveal.runtime.engine.Engine.run`."""
        count = count_images(views, self._shapes)
        step = count if self.device == "cuda" else 1
        rows = [
            self._session.run(
                self._outputs, {name: batch[start : start + step] for name, batch in views.items()}
            )
            for start in range(0, count, step)
        ]
        return {
            name: np.concatenate(parts)
            for name, parts in zip(self._outputs, zip(*rows, strict=True), strict=True)
        }


_CUDA_ADVICE = (
    "it needs an NVIDIA GPU with its driver, and in place of onnxruntime: "
    "pip install 'onnxruntime-gpu[cuda,cudnn]'"
)


def _import_onnxruntime(device: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        if device == "cuda":
            raise DeviceError(f"device 'cuda' runs on ONNX Runtime; {_CUDA_ADVICE}") from error
        raise MissingExtraError("engine 'onnxruntime'", "onnxruntime") from error
    return onnxruntime


def _providers(runtime: Any, device: str) -> list[Any]:
    if device == "cpu":
        return [_CPU]
    if _CUDA not in runtime.get_available_providers():
        raise DeviceError(f"this ONNX Runtime has no CUDA; {_CUDA_ADVICE}")
    if hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()  # finds CUDA and cuDNN where pip has put them
    # TensorFloat-32 has 10 bits of mantissa: scores would leave those of the CPU.
    return [(_CUDA, {"use_tf32": "0"}), _CPU]
