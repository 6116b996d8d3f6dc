"""How many hidden units each block loses, out of one budget for all blocks of a kind."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from foveal.lab.compression.importance import Sign, importance, rank_quantiles
from foveal.lab.compression.inner_run import InnerRun, Views
from foveal.lab.compression.layers import find_layers, read_weights
from foveal.lab.compression.structured_blocks import Block
from foveal.lab.compression.structured_choice import Array, Order, Spread
from foveal.lab.compression.structured_cut import Cutter

if TYPE_CHECKING:
    import onnx

By = Literal["error", "qlis", "even"]
"""``error``: those units leave whose loss shows least in the model's outputs; ``qlis``: more leave where the
paper's importance ranks lower; ``even``: the same share everywhere."""

_PROBE = 0.25
"""Share of a block's units whose loss is tried out."""


@dataclass(frozen=True)
class MeasuredBlock:
    """A block with what calibration says about it.

    Attributes:
        block: the block.
        spread: of its consumer's inputs.
        order: in which its units leave.
    """

    block: Block
    spread: Spread
    order: Order


Prices = dict[str, list[tuple[float, float]]]
"""By block's name: what each chunk of its units is held to cost, and the error that it makes in the block."""


def even_prices(group: Sequence[MeasuredBlock]) -> Prices:
    """Prices at which every block loses the same share of its units."""
    return {one.block.name: _rising(one, 1.0) for one in group}


def qlis_prices(model: onnx.ModelProto, group: Sequence[MeasuredBlock], beta: float, sign: Sign) -> Prices:
    """Prices at which the share that a block loses falls evenly with the rank of its QLIS among all blocks.

    A block's QLIS is the mean over its layers; importances are taken among all layers of the model.

    Args:
        model: the graph.
        group: its blocks of one kind.
        beta: see :meth:`~foveal.lab.compression.importance.Importance.qlis`.
        sign: likewise.
    """
    if not group:
        return {}
    # Under the names of their weights, which are never shared.
    layers = [replace(layer, name=layer.weight) for layer in find_layers(model, least=1)]
    of_layers = importance(read_weights(model, layers))
    scores = {
        one.block.name: float(
            np.mean([
                of_layers[layer.weight].qlis(beta, sign)
                for layer in (*one.block.producers, one.block.consumer)
            ])
        )
        for one in group
    }  # fmt: skip
    ranks = rank_quantiles(scores)
    return {one.block.name: _rising(one, 1 / (1 - ranks[one.block.name])) for one in group}


def measured_prices(
    model: onnx.ModelProto, group: Sequence[MeasuredBlock], images: Sequence[Views]
) -> Prices:
    """Prices that say how much the loss of each chunk shows in the model's outputs.

    Each block alone loses a quarter of its units. What the outputs then are off by, each column in units of
    its own deviation over the images, is divided by what the block's own outputs are off by. So much does
    the block's error matter. (Its size against what the block gives says little: where a few numbers are
    huge, as in the residual streams of large transformers, a small share of them is a great loss.)

    Args:
        model: the graph.
        group: its blocks of one kind.
        images: at least two; the cost is one run of each for each block.
    """
    if not group:
        return {}
    original = _outputs(model, images)
    deviation = np.maximum(original.std(axis=0), 1e-6 * max(1.0, float(np.abs(original).max())))
    prices: Prices = {}
    for one in group:
        errors, gain = one.order.errors, 0.0
        count = max(1, round(len(errors) * _PROBE))
        if len(errors) and errors[count - 1] > 0:
            cutter = Cutter(model)
            gone = one.order.chunks[:count].ravel()
            cutter.cut(one.block, one.spread, np.setdiff1d(np.arange(one.block.units), gone))
            off = np.square((_outputs(cutter.model, images) - original) / deviation).mean()
            gain = float(off / errors[count - 1])
        prices[one.block.name] = [(gain * error, error) for error in _marginal(one)]
    return prices


def _rising(one: MeasuredBlock, weight: float) -> list[tuple[float, float]]:
    """Prices that grow with the share of the units that have left, and between equals with the error."""
    chunk = one.order.chunks.shape[1]
    return [
        (weight * number * chunk / one.block.units, error) for number, error in enumerate(_marginal(one), 1)
    ]


def _marginal(one: MeasuredBlock) -> list[float]:
    marginal: list[float] = np.diff(one.order.errors, prepend=0.0).tolist()
    return marginal


def _outputs(model: onnx.ModelProto, images: Sequence[Views]) -> Array:
    """All outputs of each image in a row: (images, columns)."""
    names = [value.name for value in model.graph.output]
    run = InnerRun(model, names)
    rows = [np.concatenate([np.ravel(seen[name]) for name in names]) for seen in map(run, images)]
    return np.stack(rows).astype(np.float64)


def cheapest(prices: Mapping[str, Sequence[tuple[float, float]]], budget: int) -> dict[str, int]:
    """How many items to take from each of several queues, always the cheapest of those in front.

    Args:
        prices: of the items in each queue, in order.
        budget: items to take.

    Raises:
        ValueError: there are not so many.
    """
    most = sum(map(len, prices.values()))
    if prices and budget > most:
        raise ValueError(
            f"{budget} groups of units would have to leave, but only {most} can: every block keeps one; "
            "ask for a smaller share"
        )
    taken = dict.fromkeys(prices, 0)
    front = [(queue[0], name) for name, queue in prices.items() if queue]
    heapq.heapify(front)
    for _ in range(budget if prices else 0):
        _, name = heapq.heappop(front)
        taken[name] += 1
        if taken[name] < len(prices[name]):
            heapq.heappush(front, (prices[name][taken[name]], name))
    return taken
