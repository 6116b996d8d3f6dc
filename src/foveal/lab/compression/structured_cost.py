"""What a graph costs to run, counted from the sizes that its tensors really have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.lab.compression.inner_run import InnerRun, Views

if TYPE_CHECKING:
    import onnx

_FLOAT = 1  # onnx.TensorProto.FLOAT


def multiply_adds(model: onnx.ModelProto, views: Views) -> int:
    """Multiplications in all MatMul, Gemm and Conv nodes for one image; those by zero count too.

    Args:
        model: the graph.
        views: of one image, any.
    """
    shapes = {item.name: tuple(item.dims) for item in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]
    free = [node.input[0] for node in nodes if node.input[1] not in shapes]
    seen = InnerRun(model, sorted({*(node.output[0] for node in nodes), *free}))(views)
    total = 0
    for node in nodes:
        weight = shapes.get(node.input[1])
        summed = seen[node.input[0]].shape[-1] if weight is None else _summed(node, weight)
        total += seen[node.output[0]].size * summed
    return total


def _summed(node: onnx.NodeProto, weight: tuple[int, ...]) -> int:
    """How many products each output is the sum of."""
    if node.op_type == "Conv":
        return int(np.prod(weight[1:]))
    turned = any(item.name == "transB" and item.i for item in node.attribute)
    return weight[-1 if turned else -2]


def float_count(model: onnx.ModelProto) -> int:
    """Numbers in all float32 initializers: weights, biases, norms and embeddings."""
    return sum(int(np.prod(item.dims)) for item in model.graph.initializer if item.data_type == _FLOAT)
