"""Parts of an ONNX graph from which whole hidden units can leave, found by how tensors flow, not by names.

A block is some layers whose outputs meet one to one in the inputs of another layer: the two layers of an MLP,
or the query, key, value and output projections of an attention. What lies between works on each unit alone.
So a unit leaves with its rows in the producers and its columns in the consumer, and nothing else notices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from foveal.lab.compression.layers import Layer, find_layers

if TYPE_CHECKING:
    import onnx

Kind = Literal["mlp", "heads"]

# fmt: off
_ELEMENTWISE = frozenset([
    "Abs", "Add", "Celu", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "Max", "Min", "Mish", "Mul", "Neg", "Pow", "PRelu", "Relu", "Selu",
    "Sigmoid", "Softplus", "Softsign", "Sub", "Tanh", "ThresholdedRelu",
])
# fmt: on


@dataclass(frozen=True)
class Slot:
    """An input of a node.

    Attributes:
        node: the node's first output, which identifies it.
        position: of the input, from 0.
    """

    node: str
    position: int


@dataclass(frozen=True)
class Block:
    """Layers that share hidden units.

    Attributes:
        kind: hidden units of an MLP, or heads of an attention.
        name: of the consumer.
        producers: layers that make the units; each has ``outputs / units`` outputs for a unit, side by side.
        consumer: the layer that reads them; it has ``inputs / units`` inputs for a unit, side by side.
        units: how many there are.
        vectors: constants that hold numbers for each unit along their last axis, such as biases.
        bias: where the consumer's bias is added; empty if it has none.
        shapes: shapes given to Reshape that count units, each with the axis that does, -2 or -1.
    """

    kind: Kind
    name: str
    producers: tuple[Layer, ...]
    consumer: Layer
    units: int
    vectors: tuple[Slot, ...]
    bias: tuple[Slot, ...]
    shapes: tuple[tuple[Slot, int], ...] = ()


@dataclass(frozen=True)
class Trace:
    """Where tensors come from through operations on single elements alone.

    Attributes:
        sources: layers, in the order of the graph.
        tensors: all between, the layers' outputs included.
        vectors: constants along the last axis that come in on the way.
    """

    sources: tuple[Layer, ...]
    tensors: frozenset[str]
    vectors: tuple[Slot, ...]


class Graph:
    """Who makes and who uses the tensors of a model.

    Args:
        model: its weights are float32 initializers; see
            :func:`~foveal.lab.compression.layers.with_float_weights`.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = {node.output[0]: node for node in model.graph.node}
        self.makers = {name: node for node in model.graph.node for name in node.output if name}
        self.outputs = {value.name for value in model.graph.output}
        self.tensors = {item.name: item for item in model.graph.initializer}
        self._sizes = {value.name: value.type.tensor_type.shape.dim for value in model.graph.value_info}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in set(node.input):
                self.users.setdefault(name, []).append(node)
        self.layers = {layer.weight: layer for layer in find_layers(model, least=1) if self._is_own(layer)}
        self.made_by = {name: layer for layer in self.layers.values() for name in layer.outputs}

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of a tensor that does not depend on inputs."""
        from onnx import numpy_helper

        if name in self.tensors:
            return np.asarray(numpy_helper.to_array(self.tensors[name]))
        maker = self.makers.get(name)
        if maker is None or maker.op_type != "Constant":
            return None
        values = [item.t for item in maker.attribute if item.name == "value"]
        return np.asarray(numpy_helper.to_array(values[0])) if values else None

    def dimensions(self, name: str) -> tuple[int, ...] | None:
        """A tensor's sizes, 0 where one is not known; None if nothing is known."""
        if name in self._sizes:
            return tuple(size.dim_value for size in self._sizes[name])
        value = self.constant(name)
        return None if value is None else value.shape

    def only_user(self, tensor: str) -> onnx.NodeProto | None:
        """The one node that reads a tensor; None if there are several, or the tensor is an output."""
        users = self.users.get(tensor, [])
        return users[0] if len(users) == 1 and tensor not in self.outputs else None

    def trace_back(self, tensors: Iterable[str], readers: Iterable[str]) -> Trace | None:
        """Follow tensors back to the layers that they come from.

        Args:
            tensors: where to begin.
            readers: nodes, by first output, that may read what is found besides the nodes on the way.

        Returns:
            None if anything else than layers and elementwise operations is met, if the layers differ in
            their number of outputs, or if somebody else reads what is found.
        """
        waiting, seen, slots, sources = list(tensors), set[str](), list[Slot](), dict[str, Layer]()
        allowed = set(readers)
        while waiting:
            tensor = waiting.pop()
            if tensor in seen:
                continue
            seen.add(tensor)
            node, made_by = self.makers.get(tensor), self.made_by.get(tensor)
            if made_by is not None:
                sources[made_by.weight] = made_by
            if node is None or (made_by is None and node.op_type not in _ELEMENTWISE):
                return None
            allowed.add(node.output[0])
            for position, name in enumerate(node.input):
                if made_by is not None and position < 2:  # its input and its weights
                    continue
                value = self.constant(name) if name else np.empty(0)
                if value is None:
                    waiting.append(name)
                elif value.size > 1:
                    slots.append(Slot(node.output[0], position))
        ordered = tuple(layer for weight, layer in self.layers.items() if weight in sources)
        trace = Trace(ordered, frozenset(seen), tuple(slots))
        return trace if self._is_closed(trace, allowed) else None

    def _is_closed(self, trace: Trace, allowed: set[str]) -> bool:
        widths = {outputs_of(layer) for layer in trace.sources}
        if len(widths) != 1 or trace.tensors & self.outputs:
            return False
        (width,) = widths
        if any(self._slot_shape(slot)[-1:] != (width,) for slot in trace.vectors):
            return False
        if any(int(np.prod(self._slot_shape(slot))) != width for slot in trace.vectors):
            return False
        return all(user.output[0] in allowed for name in trace.tensors for user in self.users.get(name, []))

    def _slot_shape(self, slot: Slot) -> tuple[int, ...]:
        value = self.constant(self.nodes[slot.node].input[slot.position])
        return () if value is None else value.shape

    def bias_slots(self, layer: Layer) -> tuple[Slot, ...]:
        """Where a layer's bias is added, once for each use; empty if not every use adds the same one."""
        slots = [slot for output in layer.outputs for slot in self._biases_at(output)]
        names = {self.nodes[slot.node].input[slot.position] for slot in slots}
        return tuple(slots) if len(slots) == len(layer.outputs) and len(names) == 1 else ()

    def _biases_at(self, output: str) -> list[Slot]:
        maker = self.makers[output]
        if maker.op_type == "Gemm":
            return [Slot(output, 2)] if len(maker.input) > 2 and maker.input[2] in self.tensors else []
        user = self.only_user(output)
        if user is None or user.op_type != "Add":
            return []
        width = outputs_of(self.made_by[output])
        return [
            Slot(user.output[0], position)
            for position, name in enumerate(user.input)
            if name in self.tensors and tuple(self.tensors[name].dims) == (width,)
        ]

    def _is_own(self, layer: Layer) -> bool:
        """Whether a layer is linear, and its weights serve nothing else."""
        users = self.users[layer.weight]
        return (
            layer.window is None
            and len(users) == len(layer.inputs)
            and layer.weight not in self.outputs
            and not any(layer.weight == user.input[0] for user in users)
            and all(_is_plain(user) for user in users)
        )


def _is_plain(node: onnx.NodeProto) -> bool:
    """Whether a Gemm neither scales nor transposes what it reads; a MatMul never does."""
    values = {item.name: item for item in node.attribute}
    scales = [values[name].f for name in ("alpha", "beta") if name in values]
    return set(scales) <= {1.0} and not ("transA" in values and values["transA"].i)


def outputs_of(layer: Layer) -> int:
    """Number of a linear layer's outputs."""
    return layer.shape[layer.output_axis]


def inputs_of(layer: Layer) -> int:
    """Number of a linear layer's inputs."""
    return layer.shape[1 - layer.output_axis]


def matrix_of(graph: Graph, layer: Layer) -> NDArray[np.float64]:
    """Weights as they are now, float64 (outputs, inputs)."""
    value = graph.constant(layer.weight)
    if value is None:
        raise ValueError(f"{layer.weight}: no such initializer")
    return np.moveaxis(value, layer.output_axis, 0).astype(np.float64)


def all_uses_in(layers: Iterable[Layer], traces: Sequence[Trace]) -> bool:
    """Whether traces hold every place where layers are used."""
    tensors = frozenset[str]().union(*(trace.tensors for trace in traces))
    return all(output in tensors for layer in layers for output in layer.outputs)


def find_mlps(graph: Graph) -> list[Block]:
    """MLPs: layers whose outputs go through elementwise operations alone into another layer.

    Gated MLPs, in which the outputs of two layers are multiplied, are among them.
    """
    found = []
    for consumer in graph.layers.values():
        trace = graph.trace_back(consumer.inputs, consumer.outputs)
        if trace is None or consumer in trace.sources or not all_uses_in(trace.sources, [trace]):
            continue
        units = inputs_of(consumer)
        if outputs_of(trace.sources[0]) == units:
            bias = graph.bias_slots(consumer)
            found.append(Block("mlp", consumer.name, trace.sources, consumer, units, trace.vectors, bias))
    return found
