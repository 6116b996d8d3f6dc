"""What layers see: first and second moments of their inputs over calibration images.

They are all that error compensation, bias correction and the prediction of a layer's output error need:
with H = E[x x^T], changing a layer's weights by D changes its outputs by tr(D H D^T) on average, squared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foveal.lab.compression.inner_run import Views, layer_inputs, source
from foveal.lab.compression.layers import Layer

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Moments:
    """Moments of a layer's input vectors.

    Attributes:
        second: float64 (inputs, inputs): mean of x x^T.
        mean: float64 (inputs,).
        count: vectors seen.
    """

    second: NDArray[np.float64]
    mean: NDArray[np.float64]
    count: int


class MomentSums:
    """Sums over vectors, from which moments come."""

    def __init__(self) -> None:
        self._second: NDArray[np.float64] | float = 0.0
        self._first: NDArray[np.float64] | float = 0.0
        self._count = 0

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Take (vectors, inputs) more."""
        # A few thousand vectors in fp32 are exact enough; millions summed up would not be.
        self._second = self._second + (vectors.T @ vectors).astype(np.float64)
        self._first = self._first + vectors.sum(axis=0, dtype=np.float64)
        self._count += len(vectors)

    def moments(self) -> Moments:
        """Means of what was taken.

        Raises:
            ValueError: nothing was.
        """
        if not self._count:
            raise ValueError("no calibration images: give some of the training part")
        second, mean = np.asarray(self._second) / self._count, np.asarray(self._first) / self._count
        return Moments(second, mean, self._count)


def collect_moments(
    model: onnx.ModelProto, layers: Sequence[Layer], images: Iterable[Views], vectors: int | None = None
) -> dict[str, Moments]:
    """Run a model over calibration images and gather what its layers are fed with.

    Args:
        model: the graph.
        layers: of that graph.
        images: of the training part.
        vectors: use at most so many vectors of each tensor and image.

    Returns:
        Moments by layer's name. Layers that share their input share the arrays.

    Raises:
        ValueError: there are no images.
    """
    sums = {source(layer): MomentSums() for layer in layers}
    for seen in layer_inputs(model, layers, images, vectors):
        for place, rows in seen.items():
            sums[place].add(rows)
    moments = {place: total.moments() for place, total in sums.items()}
    return {layer.name: moments[source(layer)] for layer in layers}
