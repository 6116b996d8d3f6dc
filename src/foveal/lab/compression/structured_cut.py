"""Taking hidden units out of a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foveal.lab.compression.layers import Layer
from foveal.lab.compression.structured_blocks import Block, Graph, Slot, inputs_of, matrix_of, outputs_of
from foveal.lab.compression.structured_choice import Array, Spread, inputs_of_units, made_up

if TYPE_CHECKING:
    import onnx


class Cutter:
    """Takes units out of a copy of a model.

    Sizes of inner tensors that an exporter noted are dropped from the copy: they would be wrong.

    Args:
        model: stays as it is.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnx

        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        del self.model.graph.value_info[:]
        self._graph = Graph(self.model)

    def cut(self, block: Block, spread: Spread, kept: NDArray[np.intp]) -> None:
        """Leave only some of a block's units.

        Args:
            block: of the model that was given.
            spread: of its consumer's inputs.
            kept: units that stay, ascending.
        """
        if len(kept) == block.units:
            return
        for layer in block.producers:
            rows = inputs_of_units(kept, outputs_of(layer) // block.units)
            self._set_weights(layer, matrix_of(self._graph, layer)[rows])
        columns = inputs_of_units(kept, inputs_of(block.consumer) // block.units)
        weights, shift = made_up(matrix_of(self._graph, block.consumer), spread, columns)
        self._set_weights(block.consumer, weights)
        self._change(block.bias, lambda bias: bias + shift)
        self._change(block.vectors, lambda row: row[..., inputs_of_units(kept, row.shape[-1] // block.units)])
        for axis in (-2, -1):
            slots = [slot for slot, counted in block.shapes if counted == axis]
            self._change(slots, partial(_recounted, axis=axis, before=block.units, now=len(kept)))

    def _set_weights(self, layer: Layer, matrix: Array) -> None:
        self._write(layer.weight, np.moveaxis(matrix, 0, layer.output_axis).astype(np.float32))

    def _change(self, slots: Iterable[Slot], change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        """Change what slots are given; if others are given it too, they keep theirs."""
        by_name: dict[str, list[Slot]] = {}
        for slot in slots:
            by_name.setdefault(self._graph.nodes[slot.node].input[slot.position], []).append(slot)
        for name, same in by_name.items():
            value = self._graph.constant(name)
            if value is None:
                raise ValueError(f"{name}: no such constant")
            users = {node.output[0] for node in self._graph.users[name]}
            own = name in self._graph.tensors and users <= {slot.node for slot in same}
            new = name if own else f"{name}/{same[0].node}"
            self._write(new, change(value).astype(value.dtype))
            for slot in same:
                self._graph.nodes[slot.node].input[slot.position] = new

    def _write(self, name: str, value: NDArray[Any]) -> None:
        from onnx import numpy_helper

        item = self._graph.tensors.get(name)
        if item is None:
            item = self._graph.tensors[name] = self.model.graph.initializer.add()
        item.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))


def _recounted(shape: NDArray[Any], axis: int, before: int, now: int) -> NDArray[Any]:
    """A shape given to Reshape, with fewer units along an axis; -1 stays what it is."""
    changed = shape.copy()
    if changed[axis] > 0:
        changed[axis] = changed[axis] // before * now
    return changed
