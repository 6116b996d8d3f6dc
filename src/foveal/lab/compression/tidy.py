"""Rewriting a graph, before it is quantised, into one that computes the same and suits integers better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foveal.lab.compression.layers import drop_unused

if TYPE_CHECKING:
    import onnx

_MIDDLE = 128.0
_MIDDLE_NAME = "pixels.middle"


@dataclass(frozen=True)
class _Normalised:
    """A convolution of (pixels - mean) / deviation; all but ``node`` are names."""

    node: onnx.NodeProto
    pixels: str
    mean: str
    deviation: str


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model whose first convolutions read pixels themselves, less 128, not normalised ones.

    Mean and deviation go into the convolution: conv(W, (p - m) / d) is conv(W / d, p - 128) and a constant.
    Pixels less 128 are int8 numbers, so quantising this input costs no accuracy at all, where a fitted range
    costs some.

    Outputs stay equal but for the rounding of float32. Convolutions with padding, whose border would change,
    and those whose weights are also used otherwise, stay as they are.

    Args:
        model: its weights are float32 initializers.
    """
    import onnx
    from onnx import numpy_helper

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    tensors = {item.name: item for item in graph.initializer}
    groups = _groups(graph, tensors.keys())
    for (weight, bias), group in groups.items():
        names = (weight, bias, group[0].mean, group[0].deviation)
        folded = _fold(*(numpy_helper.to_array(tensors[name]).astype(np.float64) for name in names))
        if folded is None:
            continue
        for name, value in zip((weight, bias), folded, strict=True):
            tensors[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
        for found in group:
            found.node.input[0] = _centred(found.pixels)
    _centre(graph, {found.pixels for group in groups.values() for found in group})
    drop_unused(changed)
    return changed


def _groups(graph: onnx.GraphProto, constants: Iterable[str]) -> dict[tuple[str, str], list[_Normalised]]:
    """Convolutions of normalised pixels by weight and bias, where these are used in no other way."""
    makers = {output: node for node in graph.node for output in node.output}
    readers = [name for node in graph.node for name in node.input]
    groups: dict[tuple[str, str], list[_Normalised]] = {}
    for node in graph.node:
        found = _normalised(node, makers, set(constants))
        if found is not None:
            groups.setdefault((node.input[1], node.input[2]), []).append(found)
    return {
        names: group
        for names, group in groups.items()
        if all(readers.count(name) == len(group) for name in names)
        and len({(found.mean, found.deviation) for found in group}) == 1
    }


def _normalised(
    node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], constants: set[str]
) -> _Normalised | None:
    if node.op_type != "Conv" or not constants.issuperset(node.input[1:]) or len(node.input) < 3:
        return None
    divide = makers.get(node.input[0])
    subtract = makers.get(divide.input[0]) if divide is not None and divide.op_type == "Div" else None
    cast = makers.get(subtract.input[0]) if subtract is not None and subtract.op_type == "Sub" else None
    if divide is None or subtract is None or cast is None or cast.op_type != "Cast" or _is_padded(node):
        return None
    if not constants.issuperset((subtract.input[1], divide.input[1])):
        return None
    return _Normalised(node, subtract.input[0], subtract.input[1], divide.input[1])


def _is_padded(convolution: onnx.NodeProto) -> bool:
    """Whether it reads beyond its input; grouped ones count too, whose weights have another shape."""
    from onnx import helper

    attributes = {item.name: helper.get_attribute_value(item) for item in convolution.attribute}
    automatic = attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    return automatic or attributes.get("group", 1) != 1 or any(attributes.get("pads", ()))


def _fold(
    weight: NDArray[np.float64],
    bias: NDArray[np.float64],
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Weight and bias for pixels less 128; None if mean or deviation is not a number or one a channel."""
    shape = (1, weight.shape[1], 1, 1)
    for constant in (mean, deviation):
        if constant.size != 1 and constant.shape not in (shape, shape[1:]):
            return None
    weight = weight / deviation.reshape(1, -1, 1, 1)
    return weight, bias + (weight * (_MIDDLE - mean.reshape(1, -1, 1, 1))).sum(axis=(1, 2, 3))


def _centred(pixels: str) -> str:
    return f"{pixels}.centred"


def _centre(graph: onnx.GraphProto, sources: set[str]) -> None:
    """Make what was promised to convolutions, and remove the nodes that nothing reads any more."""
    import onnx
    from onnx import helper, numpy_helper

    promised = {name for node in graph.node for name in node.input}
    wanted = {name for name in sources if _centred(name) in promised}
    if not wanted:
        return
    graph.initializer.append(numpy_helper.from_array(np.array(_MIDDLE, np.float32), _MIDDLE_NAME))
    needed = promised | {value.name for value in graph.output}
    rewritten = onnx.GraphProto()
    for node in graph.node:
        rewritten.node.append(node)
        for name in sorted(wanted.intersection(node.output)):
            centre = helper.make_node("Sub", [name, _MIDDLE_NAME], [_centred(name)], name=_centred(name))
            rewritten.node.append(centre)
    while dead := [
        node for node in rewritten.node if node.op_type in ("Div", "Sub") and not needed & set(node.output)
    ]:
        for node in dead:
            rewritten.node.remove(node)
        needed = {name for node in rewritten.node for name in node.input} | {v.name for v in graph.output}
    del graph.node[:]
    graph.node.extend(rewritten.node)
