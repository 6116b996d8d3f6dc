"""Attentions of an ONNX graph from which heads can leave.

What is recognised is the attention of Hugging Face's ViT, DeiT, DINO, CLIP and SigLIP as their "eager" form
is exported: softmax(scale q k^T) v, heads made by Reshape and Transpose from three layers, and read by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.lab.compression.layers import Layer
from foveal.lab.compression.structured_blocks import (
    Block,
    Graph,
    Slot,
    Trace,
    all_uses_in,
    inputs_of,
    outputs_of,
)

if TYPE_CHECKING:
    import onnx

_SPLIT = (0, 2, 1, 3)
"""From (image, token, head, channel) to (image, head, token, channel), and back."""
_SPLIT_TURNED = (0, 2, 3, 1)


@dataclass(frozen=True)
class _Part:
    """How one of query, key and value comes from its layer."""

    trace: Trace
    heads: int
    shape: Slot

    @property
    def layer(self) -> Layer:
        return self.trace.sources[0]


@dataclass(frozen=True)
class _Attention:
    """One place where an attention is computed."""

    parts: tuple[_Part, _Part, _Part]
    merged: Slot
    consumer: Layer

    @property
    def weights(self) -> tuple[str, ...]:
        return (*(part.layer.weight for part in self.parts), self.consumer.weight)


def find_attentions(graph: Graph) -> tuple[list[Block], list[str]]:
    """Attentions, in the order of the graph, and the softmaxes that belong to none that is recognised."""
    places: dict[tuple[str, ...], list[_Attention]] = {}
    softmaxes: dict[tuple[str, ...], list[str]] = {}
    alone: list[str] = []
    for node in graph.nodes.values():
        if node.op_type == "Softmax":
            place = _attention(graph, node)
            if place is None:
                alone.append(node.name or node.output[0])
            else:
                places.setdefault(place.weights, []).append(place)
                softmaxes.setdefault(place.weights, []).append(node.name or node.output[0])
    blocks = []
    for weights, same in places.items():
        block = _block(graph, same)
        if block is None:
            alone += softmaxes[weights]
        else:
            blocks.append(block)
    return blocks, alone


def _block(graph: Graph, places: Sequence[_Attention]) -> Block | None:
    """All places that use the same layers; None if heads cannot leave from them."""
    parts = [part for place in places for part in place.parts]
    producers, consumer = tuple(part.layer for part in places[0].parts), places[0].consumer
    heads = {part.heads for part in parts}
    if len(heads) != 1 or len({layer.weight for layer in (*producers, consumer)}) != 4:
        return None
    if len(places) != len(consumer.inputs) or not all_uses_in(producers, [part.trace for part in parts]):
        return None
    (count,) = heads
    value = producers[2]
    if inputs_of(consumer) != outputs_of(value) or any(outputs_of(layer) % count for layer in producers):
        return None
    return Block(
        "heads",
        consumer.name,
        producers,
        consumer,
        count,
        tuple(slot for part in parts for slot in part.trace.vectors),
        graph.bias_slots(consumer),
        (*((part.shape, -2) for part in parts), *((place.merged, -1) for place in places)),
    )


def _attention(graph: Graph, softmax: onnx.NodeProto) -> _Attention | None:
    context = graph.only_user(softmax.output[0])
    product = _product(graph, softmax)
    if context is None or context.op_type != "MatMul" or context.input[0] != softmax.output[0]:
        return None
    if product is None or not _along_last(softmax):
        return None
    query = _part(graph, product, 0, _SPLIT)
    key = _part(graph, product, 1, _SPLIT_TURNED)
    value = _part(graph, context, 1, _SPLIT)
    turned = graph.only_user(context.output[0])
    if query is None or key is None or value is None or turned is None or _turn(turned) != _SPLIT:
        return None
    merge = graph.only_user(turned.output[0])
    if merge is None or merge.op_type != "Reshape" or _shape(graph, merge) is None:
        return None
    reader = graph.only_user(merge.output[0])
    consumer = graph.made_by.get(reader.output[0]) if reader is not None else None
    if consumer is None or merge.output[0] not in consumer.inputs:
        return None
    return _Attention((query, key, value), Slot(merge.output[0], 1), consumer)


def _along_last(softmax: onnx.NodeProto) -> bool:
    return all(item.i in (-1, 3) for item in softmax.attribute if item.name == "axis")


def _product(graph: Graph, softmax: onnx.NodeProto) -> onnx.NodeProto | None:
    """The product of queries and keys, from which the softmax comes by scaling and masking."""
    tensor = softmax.input[0]
    while graph.only_user(tensor) is not None and (node := graph.makers.get(tensor)) is not None:
        if node.op_type == "MatMul":
            return node
        rest = _unscaled(graph, node, masks=True)
        if rest is None:
            return None
        tensor = rest
    return None


def _part(graph: Graph, reader: onnx.NodeProto, position: int, layout: tuple[int, ...]) -> _Part | None:
    """Follow queries, keys or values back to the layer that makes them."""
    tensor, turns = reader.input[position], tuple(range(len(layout)))
    while graph.only_user(tensor) is not None and (node := graph.makers.get(tensor)) is not None:
        if node.op_type == "Reshape":
            return _from_reshape(graph, node) if turns == layout else None
        turn = _turn(node)
        if turn is not None and len(turn) == len(turns):
            turns, tensor = tuple(turn[axis] for axis in turns), node.input[0]
            continue
        rest = _unscaled(graph, node, masks=False)
        if rest is None:
            return None
        tensor = rest
    return None


def _from_reshape(graph: Graph, reshape: onnx.NodeProto) -> _Part | None:
    shape = _shape(graph, reshape)
    trace = graph.trace_back([reshape.input[0]], [reshape.output[0]])
    if shape is None or len(shape) != len(_SPLIT) or trace is None or len(trace.sources) != 1:
        return None
    heads, channels = shape[-2:]
    width = outputs_of(trace.sources[0])
    if channels < 1 or width % channels or heads not in (-1, width // channels):
        return None
    return _Part(trace, width // channels, Slot(reshape.output[0], 1))


def _shape(graph: Graph, reshape: onnx.NodeProto) -> tuple[int, ...] | None:
    value = graph.constant(reshape.input[1])
    return None if value is None else tuple(value.tolist())


def _turn(node: onnx.NodeProto) -> tuple[int, ...] | None:
    """The permutation of a Transpose."""
    if node.op_type != "Transpose":
        return None
    return next((tuple(item.ints) for item in node.attribute if item.name == "perm"), None)


def _unscaled(graph: Graph, node: onnx.NodeProto, *, masks: bool) -> str | None:
    """The tensor that a node scales by one number, or adds a mask to that is the same for all heads."""
    if node.op_type not in ("Mul", "Div", "Add") or len(node.input) != 2:
        return None
    tensor, other = node.input
    if node.op_type != "Div" and (graph.constant(tensor) is not None or not _same_for_heads(graph, other)):
        tensor, other = other, tensor
    if node.op_type == "Add":
        return tensor if masks and _same_for_heads(graph, other) else None
    value = graph.constant(other)
    return tensor if value is not None and value.size == 1 else None


def _same_for_heads(graph: Graph, name: str) -> bool:
    """Whether a tensor has no axis for heads, the third from the end, or just one entry along it."""
    sizes = graph.dimensions(name)
    return sizes is not None and (len(sizes) < 3 or sizes[-3] == 1)
