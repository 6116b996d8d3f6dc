"""Small ONNX graphs with known weights, and a tiny trained model cut in two."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from foveal.artifact.card import Calibration
from foveal.lab.backbones import load_backbone
from foveal.lab.backbones.tuning import TuningMode, apply_tuning
from foveal.lab.compression.layers import find_layers
from foveal.lab.compression.quantizers import spread_scale
from foveal.lab.compression.split import Body, export_body
from foveal.lab.models.base import Backbones
from foveal.lab.models.registry import MODELS
from foveal.lab.trained import Record, TrainedModel, reference
from foveal.lab.training.recipe import CardConfig

Arrays = Mapping[str, NDArray[Any]]


def make_graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    weights: Arrays,
) -> onnx.ModelProto:
    """A checked model; inputs are float32 with a free batch axis before their shape."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", *shape]) for n, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model)
    return model


def run_graph(model: onnx.ModelProto, views: Arrays, tensors: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """What ONNX Runtime makes of a model: its outputs, and further tensors by name."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    own = [value.name for value in model.graph.output]
    extra = [name for name in tensors if name not in own]
    opened.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in extra)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # What the nodes say: optimised, products behind DequantizeLinear would be rounded once more.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(opened.SerializeToString(), options)
    return dict(zip([*own, *extra], session.run([*own, *extra], dict(views)), strict=True))


def node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), [output], name=f"{output}.node", **attributes)


def random(*shape: int, seed: int = 0, size: float = 1.0) -> NDArray[np.float32]:
    return np.random.default_rng([seed, *shape]).normal(0, size, shape).astype(np.float32)


def mlp(widths: Sequence[int], *, tokens: int = 6, seed: int = 0) -> onnx.ModelProto:
    """``x`` (tokens, widths[0]) -> ``y``: layers ``fc0``, ``fc1``, ... with ReLU between them.

    As exporters write them: a product with weights (in, out) of no name, and a bias that is added to it.
    """
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, NDArray[np.float32]] = {}
    last, value = len(widths) - 2, "x"
    for number, (narrow, wide) in enumerate(pairwise(widths)):
        weights[f"val_{number}"] = random(narrow, wide, seed=seed + number, size=narrow**-0.5)
        weights[f"fc{number}.bias"] = random(wide, seed=seed + number, size=0.1)
        nodes.append(node("MatMul", [value, f"val_{number}"], f"product{number}"))
        sum_name = "y" if number == last else f"sum{number}"
        nodes.append(node("Add", [f"product{number}", f"fc{number}.bias"], sum_name))
        if number < last:
            nodes.append(node("Relu", [sum_name], f"relu{number}"))
            value = f"relu{number}"
    return make_graph(nodes, {"x": (tokens, widths[0])}, ["y"], weights)


def images(count: int, *shape: int, seed: int = 0) -> list[dict[str, NDArray[np.float32]]]:
    """Inputs ``x`` of single images whose columns are correlated, and not around zero."""
    mixing = random(shape[-1], shape[-1], seed=99, size=shape[-1] ** -0.5) + 0.2
    return [{"x": random(1, *shape, seed=seed + 1000 + number) @ mixing + 0.3} for number in range(count)]


def together(views: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
    """Single images as one batch."""
    return {name: np.concatenate([view[name] for view in views]) for name in views[0]}


def scales_of(model: onnx.ModelProto, step: float) -> dict[str, NDArray[np.float32]]:
    """Scales of all layers for a step in standard deviations."""
    tensors = arrays(model)
    return {
        layer.name: spread_scale(layer.matrix(tensors[layer.weight]), step) for layer in find_layers(model)
    }


def arrays(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Initializers by name."""
    return {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}


@cache
def tiny_model(folder: Path, kind: str = "probe", mode: str = "", **options: Any) -> TrainedModel:
    """A model on the backbone in a folder as training leaves it, every trained weight moved."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        backbone = load_backbone(folder)
        tuning = TuningMode(mode, blocks=1) if mode == "last" else TuningMode()
        described = reference(str(folder), backbone, tuning if mode else None)
        apply_tuning(backbone, tuning)
        config = MODELS[kind].config(**options)
        network = MODELS[kind].make(Backbones(backbone), config, ("quality",)).eval()
        with torch.no_grad():
            for parameter in network.trainable():
                parameter.add_(0.2 * torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
    record = Record(
        kind=kind,
        options=dataclasses.asdict(config),
        targets=("quality",),
        backbone=described,
        calibration={"quality": Calibration(coverage=0.9, factor=1.5, count=99)},
        card=CardConfig("tiny", "1", "MIT", "", ""),
    )
    return TrainedModel(network, record)


@cache
def probe_of_two(folder: Path) -> tuple[TrainedModel, Body]:
    """A probe that reads two layers of a backbone, and its body: exporting takes seconds."""
    model = tiny_model(folder, layers=(1, 2), views=("whole",), hidden=6)
    return model, export_body(model)
