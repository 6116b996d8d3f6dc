"""Choose an engine by name and device."""

from __future__ import annotations

import importlib.util

from foveal.artifact.file import Artifact
from foveal.errors import DeviceError
from foveal.runtime.engine import Engine

ENGINES = ("auto", "openvino", "onnxruntime")
DEVICES = ("auto", "cpu", "cuda")


def make_engine(
    artifact: Artifact, *, engine: str = "auto", device: str = "auto", threads: int | None = None
) -> Engine:
    """Make ready to run an artifact.

    Args:
        artifact: what to run.
        engine: ``openvino``, ``onnxruntime``, or ``auto``: ONNX Runtime on CUDA; on the CPU OpenVINO where
            it is installed.
        device: ``cpu``, ``cuda``, or ``auto``, which is the CPU.
        threads: images at once on the CPU; by default one for each CPU that this process may use.

    Raises:
        DeviceError: an unknown name, or a device or engine that is not available here.
        MissingExtraError: ONNX Runtime is asked for and not installed.
        ArtifactError: the graph cannot be run.
    """
    if engine not in ENGINES:
        raise DeviceError(f"there is no engine {engine!r}, only {', '.join(ENGINES)}")
    if device not in DEVICES:
        raise DeviceError(f"there is no device {device!r}, only {', '.join(DEVICES)}")
    if device == "cuda" and engine == "openvino":
        raise DeviceError("engine 'openvino' does not run on CUDA; use engine 'onnxruntime' or 'auto'")
    if engine == "auto":
        on_cpu = "openvino" if importlib.util.find_spec("openvino") else "onnxruntime"
        engine = "onnxruntime" if device == "cuda" else on_cpu
    if engine == "openvino":
        from foveal.runtime.openvino_engine import OpenVINOEngine

        return OpenVINOEngine(artifact, threads=threads)
    from foveal.runtime.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(artifact, device="cuda" if device == "cuda" else "cpu", threads=threads)
