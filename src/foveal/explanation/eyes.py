"""The eyes: a vision network, from an image's two views to tokens and a map of local quality."""

from __future__ import annotations

from queue import LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.artifact.card import ViewSpec
from foveal.assessment import HIGHEST, LOWEST
from foveal.assessor import cut_views
from foveal.errors import ArtifactError, CorruptArtifactError, FovealError
from foveal.imaging.views import SIDE, Pixels
from foveal.runtime.engine import available_cpus
from foveal.runtime.openvino_engine import import_openvino

VIEWS = {"whole": ViewSpec("whole"), "fragments": ViewSpec("fragments")}
"""Inputs of the graph, uint8 (images, 224, 224, 3) each: those of the shipped assessor."""
OUTPUTS = ("tokens", "map")

Floats = NDArray[np.float32]


class Eyes:
    """Looks at one image a call, on one thread: what it sees depends on nothing else. Any thread may call.

    Args:
        graph: serialized ONNX model; see :class:`foveal.explanation.file.ExplainerModel`.
        name: what to call it in errors.
        callers: how many may look at once; by default one for each CPU.

    Raises:
        DeviceError: OpenVINO is not installed or does not load here.
        CorruptArtifactError: the graph takes or gives something else.
        ArtifactError: the graph cannot be run.
    """

    def __init__(self, graph: bytes, name: str, *, callers: int | None = None) -> None:
        self._name = name
        callers = callers or available_cpus()
        openvino = import_openvino()
        # As in the assessor's engine: the first look into a tensor must not happen on two threads at once.
        _ = openvino.Tensor(np.zeros(1, np.uint8)).data
        core = openvino.Core()
        options = {
            "NUM_STREAMS": callers,
            "INFERENCE_NUM_THREADS": callers,
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model = core.read_model(graph)
            found = ({port.any_name for port in ports} for ports in (model.inputs, model.outputs))
            if tuple(found) != (set(VIEWS), set(OUTPUTS)):
                wanted = f"take {' and '.join(VIEWS)} and give {' and '.join(OUTPUTS)}"
                raise CorruptArtifactError(f"{name}: its eyes do not {wanted}")
            model.reshape({view: [1, SIDE, SIDE, 3] for view in VIEWS})
            compiled = core.compile_model(model, "CPU", options)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ArtifactError(f"{name}: OpenVINO cannot run its eyes ({reason})") from error
        self._requests: LifoQueue[Any] = LifoQueue()
        for _ in range(callers):
            self._requests.put(compiled.create_infer_request())

    def look(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Look at an image.

        Args:
            pixels: uint8 (height, width, 3).

        Returns:
            Tokens for the describer, float32 (places, width), and local quality on 1-5, higher is better,
            float32 (rows, columns): places of the image in a regular grid.

        Raises:
            FovealError: the network gives numbers that are not finite.
        """
        views = cut_views(pixels, VIEWS)
        request = self._requests.get()
        try:
            request.infer({name: view[None] for name, view in views.items()})
            tokens, quality_map = (request.get_tensor(name).data[0].copy() for name in OUTPUTS)
        finally:
            self._requests.put(request)
        if tokens.ndim != 2 or quality_map.ndim != 2 or not (_finite(tokens) and _finite(quality_map)):
            raise FovealError(f"{self._name}: its eyes give no finite numbers; the model is broken")
        return tokens, np.clip(quality_map, LOWEST, HIGHEST)


def _finite(values: Floats) -> bool:
    return bool(np.isfinite(values).all())
