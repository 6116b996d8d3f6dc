"""Levels into graphs: int8 weights behind DequantizeLinear, and int8 activations where layers multiply.

Both engines know this form (QuantizeLinear and DequantizeLinear around float operators) and turn it into
integer kernels. Levels and scales stay as they were chosen: what was put on few levels is coded in few bits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foveal.lab.compression.activation_grid import Grid, Samples, fit_grid, sample_activations
from foveal.lab.compression.inner_run import Views
from foveal.lab.compression.layers import Layer, drop_unused
from foveal.lab.compression.quantizers import Quantized

if TYPE_CHECKING:
    import onnx

_RESHAPING = frozenset({"Reshape", "Transpose"})


def with_levels(
    model: onnx.ModelProto, layers: Iterable[Layer], quantized: Mapping[str, Quantized]
) -> onnx.ModelProto:
    """A copy of a model in which layers hold int8 levels and a scale for each output; activations stay float.

    :func:`~foveal.lab.compression.layers.with_float_weights` is the reverse.

    Args:
        model: its weights are float32 initializers.
        layers: of that model.
        quantized: by layer's name; layers that are not in it stay as they are.

    Raises:
        ValueError: levels are not of their layer's shape.
    """
    from onnx import helper, numpy_helper

    changed = _copy(model)
    graph = changed.graph
    nodes = []
    for layer in layers:
        if layer.name not in quantized:
            continue
        levels, scale = quantized[layer.name].levels, quantized[layer.name].scale
        if levels.shape != (len(scale), layer.size // len(scale)):
            raise ValueError(f"layer {layer.name}: levels are {levels.shape}, its weight is {layer.shape}")
        names = [f"{layer.weight}.levels", f"{layer.weight}.scale"]
        graph.initializer.append(numpy_helper.from_array(layer.tensor(levels), names[0]))
        graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), names[1]))
        nodes.append(
            helper.make_node(
                "DequantizeLinear",
                names,
                [layer.weight],
                name=f"{layer.weight}.dequantize",
                axis=layer.output_axis,
            )
        )
    taken = {node.output[0] for node in nodes}
    kept = [item for item in graph.initializer if item.name not in taken]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    _set_nodes(graph, [*nodes, *graph.node])
    return changed


def with_integer_activations(
    model: onnx.ModelProto,
    layers: Iterable[Layer],
    quantized: Mapping[str, Quantized],
    images: Sequence[Views],
    *,
    exclude: Collection[str] = (),
    correct_biases: bool = True,
) -> onnx.ModelProto:
    """A copy of a model that multiplies integers: levels of weights with levels of activations.

    Inputs of layers, and queries and keys of attention, are put on 256 levels that are fitted to calibration
    images. All else, such as norms, softmax and GELU, is computed in floating point.

    Args:
        model: its weights are float32 initializers that lie on the grids of ``quantized``.
        layers: of that model.
        quantized: by layer's name; layers that are not in it stay as they are.
        images: a hundred or so, of the training part.
        exclude: names of layers whose inputs stay float: what reads pooled features, as a head does, takes
            little time and is sensitive.
        correct_biases: take the mean error that rounding causes off the biases.

    Raises:
        ValueError: there are no images, or levels are not of their layer's shape.
    """
    chosen = [layer for layer in layers if layer.name in quantized]
    inner = [layer for layer in chosen if layer.name not in exclude]
    readers: dict[str, list[Layer]] = {}
    for layer in inner:
        for name in layer.inputs:
            readers.setdefault(name, []).append(layer)
    attended = [name for name in _attention_inputs(model) if name not in readers]
    axes = {name: _axis(found[0]) for name, found in readers.items()} | dict.fromkeys(attended, -1)
    samples = sample_activations(model, axes, images)
    grids = {name: fit_grid(samples[name], _cost(found, quantized)) for name, found in readers.items()}
    for name in attended:
        ones = np.ones(samples[name].shape[1])
        grids[name] = fit_grid(samples[name], ones, signed=True, most_outliers=0)
    changed = with_levels(model, chosen, quantized)
    if correct_biases:
        _correct_biases(changed, inner, quantized, samples, grids)
    _round(changed.graph, grids, {output for layer in inner for output in layer.outputs})
    for layer in inner:
        for name, output in zip(layer.inputs, layer.outputs, strict=True):
            _pass_by(changed.graph, quantized[layer.name], name, output, grids[name])
    drop_unused(changed)
    return changed


def _axis(layer: Layer) -> int:
    return -1 if layer.window is None else 1


def _cost(readers: Sequence[Layer], quantized: Mapping[str, Quantized]) -> NDArray[np.float64]:
    """What an error in each channel of an activation costs: its squared effect on all that read it."""
    total: Any = 0.0
    for layer in readers:
        squares = (quantized[layer.name].weights.astype(np.float64) ** 2).sum(axis=0)
        channels = squares.size if layer.window is None else layer.shape[1]
        total = total + squares.reshape(channels, -1).sum(axis=1)
    cost: NDArray[np.float64] = total + 1e-12 * (total.max() + 1e-12)
    return cost


def _attention_inputs(model: onnx.ModelProto) -> list[str]:
    """Queries and keys: what is multiplied with each other to give the input of a softmax.

    They are taken where they come out of their layers, before heads are split.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    fixed = {item.name for item in model.graph.initializer}
    found: dict[str, None] = {}
    for node in model.graph.node:
        if node.op_type != "Softmax":
            continue
        source = makers.get(node.input[0])
        while source is not None and source.op_type in ("Mul", "Div", "Add"):
            source = _maker_of_first(source, makers, fixed)
        if source is None or source.op_type != "MatMul" or fixed & set(source.input):
            continue
        for name in source.input:
            found[_before_reshaping(name, makers)] = None
    return list(found)


def _maker_of_first(
    node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], fixed: Collection[str]
) -> onnx.NodeProto | None:
    return next((makers[name] for name in node.input if name not in fixed and name in makers), None)


def _before_reshaping(name: str, makers: Mapping[str, onnx.NodeProto]) -> str:
    while name in makers and makers[name].op_type in _RESHAPING:
        name = makers[name].input[0]
    return name


def _correct_biases(
    model: onnx.ModelProto,
    layers: Iterable[Layer],
    quantized: Mapping[str, Quantized],
    samples: Mapping[str, Samples],
    grids: Mapping[str, Grid],
) -> None:
    """Take W E[round(x) - x] off the bias of each linear layer that has one."""
    from onnx import numpy_helper

    tensors = {item.name: item for item in model.graph.initializer}
    errors = {
        name: (grid.round(samples[name]).astype(np.float64) - samples[name]).mean(axis=0)
        for name, grid in grids.items()
    }
    for layer in layers:
        if layer.bias is None or layer.window is not None:
            continue
        error = np.mean([errors[name] for name in layer.inputs], axis=0)
        item = tensors[layer.bias]
        bias = numpy_helper.to_array(item) - quantized[layer.name].weights @ error
        item.CopyFrom(numpy_helper.from_array(bias.astype(np.float32), item.name))


def _round(graph: onnx.GraphProto, grids: Mapping[str, Grid], products: Collection[str]) -> None:
    """Round activations, for the layers whose outputs are ``products``; queries and keys for all."""
    for node in graph.node:
        for number, name in enumerate(node.input):
            if name in grids and (grids[name].signed or (number == 0 and node.output[0] in products)):
                node.input[number] = f"{name}.rounded"
    for name, grid in grids.items():
        _insert_behind(graph, name, _rounding(graph, name, grid))


def _rounding(graph: onnx.GraphProto, name: str, grid: Grid) -> list[onnx.NodeProto]:
    """From ``name`` to its levels and back to ``name.rounded``."""
    from onnx import helper, numpy_helper

    zero = np.array(grid.zero, np.int8 if grid.signed else np.uint8)
    form = [f"{name}.scale", f"{name}.zero"]
    graph.initializer.append(numpy_helper.from_array(np.array(grid.scale, np.float32), form[0]))
    graph.initializer.append(numpy_helper.from_array(zero, form[1]))
    return [
        helper.make_node(kind, [source, *form], [target], name=f"{target}.node")
        for kind, source, target in (
            ("QuantizeLinear", name, f"{name}.rounded_levels"),
            ("DequantizeLinear", f"{name}.rounded_levels", f"{name}.rounded"),
        )
    ]


def _pass_by(graph: onnx.GraphProto, quantized: Quantized, name: str, output: str, grid: Grid) -> None:
    """Add what outlier channels have beyond the grid, times their weights, to a layer's output."""
    from onnx import helper, numpy_helper

    if not grid.outliers:
        return
    stem = f"{output}.excess"
    constants: dict[str, NDArray[Any]] = {
        "channels": np.array(grid.outliers, np.int64),
        "low": np.array(grid.low, np.float32),
        "high": np.array(grid.high, np.float32),
        "weights": np.ascontiguousarray(quantized.weights[:, grid.outliers].T),
    }
    for part, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(value, f"{stem}.{part}"))
    for node in graph.node:
        for number, old in enumerate(node.output):
            if old == output:
                node.output[number] = f"{stem}.inside"
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Gather", [name, f"{stem}.channels"], f"{stem}.all", {"axis": -1}),
        ("Clip", [f"{stem}.all", f"{stem}.low", f"{stem}.high"], f"{stem}.cut", {}),
        ("Sub", [f"{stem}.all", f"{stem}.cut"], f"{stem}.beyond", {}),
        ("MatMul", [f"{stem}.beyond", f"{stem}.weights"], f"{stem}.product", {}),
        ("Add", [f"{stem}.inside", f"{stem}.product"], output, {}),
    ]
    nodes = [
        helper.make_node(kind, inputs, [target], name=f"{target}.node", **attributes)
        for kind, inputs, target, attributes in steps
    ]
    _insert_behind(graph, f"{stem}.inside", nodes)


def _insert_behind(graph: onnx.GraphProto, name: str, new: Iterable[onnx.NodeProto]) -> None:
    """Put nodes behind the one that makes a tensor, or first if it is an input of the graph."""
    place = next((i + 1 for i, node in enumerate(graph.node) if name in node.output), 0)
    _set_nodes(graph, [*graph.node[:place], *new, *graph.node[place:]])


def _set_nodes(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    # Slices of a repeated field are references into it: they must be copies before it is emptied.
    import onnx

    copies = onnx.GraphProto()
    copies.node.extend(nodes)
    del graph.node[:]
    graph.node.extend(copies.node)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
