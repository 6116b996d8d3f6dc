"""The weights of an ONNX graph that compression is about: those of linear layers and convolutions."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

Matrix = NDArray[np.float32]
"""Weights of a layer, float32 (outputs, inputs); a convolution's inputs are (channel, row, column), flat."""

_WEIGHT = ".weight"
_BIAS = ".bias"
_FLOAT = 1  # onnx.TensorProto.FLOAT
_SCOPES = "pkg.torch.onnx.name_scopes"
_CLASSES = "pkg.torch.onnx.class_hierarchy"
_MODULES = ("Linear", "Conv2d")


@dataclass(frozen=True)
class Window:
    """What a convolution slides over its input.

    Attributes:
        kernel: rows and columns.
        strides: down and right.
        pads: rows above, columns left, rows below, columns right.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True)
class Layer:
    """A linear layer or a convolution, with all places where it is used.

    Attributes:
        name: what its module is called, without ``.weight``; the initializer's name where that is not known.
        weight: the initializer.
        shape: of the initializer.
        inputs: tensors that it is applied to.
        outputs: tensors that it gives, before any bias that is added separately; in the order of ``inputs``.
        output_axis: axis of the initializer that counts the layer's outputs.
        window: of a convolution; None of a linear layer.
        bias: initializer that is added to the outputs, and used for nothing else; None if there is none.
    """

    name: str
    weight: str
    shape: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    output_axis: int
    window: Window | None = None
    bias: str | None = None

    @property
    def size(self) -> int:
        """Number of weights."""
        return int(np.prod(self.shape))

    def matrix(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """The initializer's values as (outputs, inputs)."""
        return np.ascontiguousarray(np.moveaxis(tensor, self.output_axis, 0).reshape(self._rows, -1))

    def tensor(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """The reverse of :meth:`matrix`."""
        rest = [size for axis, size in enumerate(self.shape) if axis != self.output_axis]
        return np.ascontiguousarray(np.moveaxis(matrix.reshape(self._rows, *rest), 0, self.output_axis))

    @property
    def _rows(self) -> int:
        return self.shape[self.output_axis]


def find_layers(model: onnx.ModelProto, least: int = 256) -> list[Layer]:
    """Layers with weights of their own, in the order in which the graph runs them.

    Grouped convolutions are left out: they hold few weights. So are products that are scaled or transposed
    on the way (Gemm with alpha or transA), and weights that several layers use in different ways.

    Args:
        model: its weights are float32 initializers; see :func:`with_float_weights`.
        least: smaller ones are left out: they hold little, and their scales would weigh more.

    Returns:
        One entry a weight; a weight that is used in several places lists them all.
    """
    shapes = {item.name: tuple(item.dims) for item in model.graph.initializer if item.data_type == _FLOAT}
    makers: dict[str, onnx.NodeProto] = {}
    found: dict[str, Layer | None] = {}
    for node in model.graph.node:
        layer = _layer(node, shapes)
        if layer is None or layer.size < least:
            continue
        makers.setdefault(layer.weight, node)
        known = found.setdefault(layer.weight, layer)
        if known is not None and known is not layer:
            found[layer.weight] = _joined(known, layer)
    biases = _Biases(model, shapes)
    taken: set[str] = set()
    layers = []
    for layer in found.values():
        if layer is not None:
            bias = biases.of(layer)
            names = _module_names(layer.weight, bias or "", makers[layer.weight])
            name = next(name for name in names if name not in taken)
            taken.add(name)
            layers.append(replace(layer, name=name, bias=bias))
    return layers


def _layer(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> Layer | None:
    if node.op_type not in ("MatMul", "Gemm", "Conv") or node.input[1] not in shapes:
        return None
    weight, attributes = node.input[1], _attributes(node)
    shape = shapes[weight]
    axis, window = 0, None
    if node.op_type == "Conv":
        if len(shape) != 4 or not _is_plain_convolution(attributes):
            return None
        window = Window(
            shape[2:4],
            tuple(attributes.get("strides", (1, 1))),
            tuple(attributes.get("pads", (0, 0, 0, 0))),
        )
    elif len(shape) != 2 or any(attributes.get(name, plain) != plain for name, plain in _PLAIN.items()):
        return None
    else:
        axis = 0 if attributes.get("transB", 0) else 1
    return Layer(weight, weight, shape, (node.input[0],), (node.output[0],), axis, window)


_PLAIN = {"transA": 0, "alpha": 1.0, "beta": 1.0}


def _is_plain_convolution(attributes: Mapping[str, Any]) -> bool:
    return (
        attributes.get("group", 1) == 1
        and set(attributes.get("dilations", [1])) == {1}
        and attributes.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    )


def _joined(first: Layer, second: Layer) -> Layer | None:
    """One layer that is used in all places of two; None if it is not the same layer."""
    if (first.output_axis, first.window) != (second.output_axis, second.window):
        return None
    return replace(first, inputs=first.inputs + second.inputs, outputs=first.outputs + second.outputs)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


class _Biases:
    """Which biases are added to products.

    Exporters store equal tensors once. So a bias may be that of several layers, or the shift of a norm too:
    what is used for anything else must not be changed for one layer's sake, and is not called its bias.
    """

    def __init__(self, model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes
        self._uses = Counter(name for node in model.graph.node for name in node.input)
        self._added: dict[str, str] = {}
        for node in model.graph.node:
            if node.op_type == "Add":
                first, second = node.input
                pairs = ((first, second), (second, first))
                self._added.update({value: other for value, other in pairs if other in shapes})
            elif node.op_type in ("Gemm", "Conv") and len(node.input) > len(("input", "weight")):
                self._added[node.output[0]] = node.input[2]

    def of(self, layer: Layer) -> str | None:
        """The bias of all the layer's outputs, if it has one of its own."""
        added = {self._added.get(output) for output in layer.outputs}
        bias = added.pop()
        rows = layer.shape[layer.output_axis]
        own = bias is not None and not added and self._uses[bias] == len(layer.outputs)
        return bias if own and self._shapes.get(bias or "") == (rows,) else None


def _module_names(weight: str, bias: str, node: onnx.NodeProto) -> list[str]:
    """What a layer may be called, best first.

    Exporters transpose weights and give them numbers for names, but leave biases as they are, and note from
    which module a node comes.
    """
    names = [weight.removesuffix(_WEIGHT)] if weight.endswith(_WEIGHT) else []
    if bias.endswith(_BIAS):
        names.append(bias.removesuffix(_BIAS))
    notes = {item.key: item.value for item in node.metadata_props}
    if _SCOPES in notes and _CLASSES in notes:
        scopes, classes = ast.literal_eval(notes[_SCOPES]), ast.literal_eval(notes[_CLASSES])
        if classes[-2:-1] and classes[-2].startswith("torch.nn.modules.") and classes[-2].endswith(_MODULES):
            names.append(scopes[-2])
    return [*names, weight]


def read_weights(model: onnx.ModelProto, layers: Iterable[Layer]) -> dict[str, Matrix]:
    """Weights of layers by the layer's name, (outputs, inputs) each."""
    from onnx import numpy_helper

    tensors = {item.name: item for item in model.graph.initializer}
    return {
        layer.name: layer.matrix(numpy_helper.to_array(tensors[layer.weight])).astype(np.float32)
        for layer in layers
    }


def with_weights(
    model: onnx.ModelProto, layers: Iterable[Layer], weights: Mapping[str, Matrix]
) -> onnx.ModelProto:
    """A copy of a model with other weights in some layers.

    Args:
        model: the model.
        layers: those to change.
        weights: (outputs, inputs) by layer's name; layers that are not in it stay as they are.
    """
    return with_initializers(
        model,
        {
            layer.weight: layer.tensor(weights[layer.name]).astype(np.float32)
            for layer in layers
            if layer.name in weights
        },
    )


def with_initializers(model: onnx.ModelProto, arrays: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """A copy of a model in which some initializers hold other arrays."""
    import onnx
    from onnx import numpy_helper

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for item in changed.graph.initializer:
        if item.name in arrays:
            item.CopyFrom(numpy_helper.from_array(arrays[item.name], item.name))
    return changed


def with_float_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which weights that pass through a DequantizeLinear are float32 initializers again.

    What quantises activations stays. So a model that is in int8 already can be compressed further.
    """
    import onnx
    from onnx import numpy_helper

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    tensors = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    dequantising = [
        node
        for node in graph.node
        if node.op_type == "DequantizeLinear" and tensors.keys() >= set(node.input)
    ]
    for node in dequantising:
        values = dequantised(*(tensors[name] for name in node.input), axis=_attributes(node).get("axis", 1))
        graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        graph.node.remove(node)
    drop_unused(changed)
    return changed


def dequantised(
    levels: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any] | None = None, *, axis: int = 1
) -> NDArray[np.float32]:
    """(levels - zero) * scale, with one scale or one for each index of an axis (ONNX DequantizeLinear)."""
    shape = [1] * levels.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    shifted = levels.astype(np.float32)
    if zero is not None:
        shifted -= zero.reshape(shape if zero.size > 1 else [1] * levels.ndim).astype(np.float32)
    return shifted * scale.reshape(shape).astype(np.float32)


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove initializers that no node of the main graph uses."""
    used = {name for node in model.graph.node for name in node.input}
    used |= {value.name for value in model.graph.output}
    kept = [item for item in model.graph.initializer if item.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def weight_count(layers: Sequence[Layer]) -> int:
    """Weights of all layers together."""
    return sum(layer.size for layer in layers)
