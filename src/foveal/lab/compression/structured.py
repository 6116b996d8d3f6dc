"""Structured pruning: whole hidden units of MLPs and whole heads of attentions leave a graph.

What leaves is not computed any more, on any CPU, while a zero within a matrix is multiplied like any other
number. The units that stay make up for those that leave, by least squares on calibration images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from foveal.lab.compression.importance import Sign
from foveal.lab.compression.inner_run import Views
from foveal.lab.compression.layers import drop_unused
from foveal.lab.compression.moments import collect_moments
from foveal.lab.compression.structured_blocks import Block, Graph, Kind, find_mlps, matrix_of
from foveal.lab.compression.structured_choice import Array, order_by_error, order_by_worth, spread_of
from foveal.lab.compression.structured_cost import float_count, multiply_adds
from foveal.lab.compression.structured_cut import Cutter
from foveal.lab.compression.structured_heads import find_attentions
from foveal.lab.compression.structured_share import (
    By,
    MeasuredBlock,
    cheapest,
    even_prices,
    measured_prices,
    qlis_prices,
)

if TYPE_CHECKING:
    import onnx

Progress = Callable[[int, int], None]
UnitChoice = Literal["error", "weights"]
"""Which units of a block leave first: those that cost the least after compensation, or those with the least
share of the sum of absolute weights."""


@dataclass(frozen=True)
class StructuredConfig:
    """How much leaves, and what.

    Attributes:
        mlp: share of all MLPs' hidden units that leaves, 0 to below 1.
        heads: share of all attentions' heads that leaves, 0 to below 1; every attention keeps one.
        by: how many units each block loses.
        units: which ones.
        multiple: hidden units of an MLP leave so many at a time: kernels work on vectors of 16.
        vectors: input vectors of each layer and image that are used.
        ridge: how little measured correlations are trusted; added to their diagonal of ones.
        probes: images on which it is measured how much each block's error matters.
        beta: of QLIS, 0 to 1.
        sign: of QLIS.
    """

    mlp: float = 0.0
    heads: float = 0.0
    by: By = "error"
    units: UnitChoice = "error"
    multiple: int = 16
    vectors: int = 192
    ridge: float = 0.001
    probes: int = 8
    beta: float = 0.5
    sign: Sign = "paper"

    def __post_init__(self) -> None:
        for name in ("mlp", "heads"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a share from 0 to below 1")
        for name, known in (("by", ("error", "qlis", "even")), ("units", ("error", "weights"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(known)}")
        for name in ("multiple", "vectors", "probes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if not self.ridge > 0:
            raise ValueError(f"ridge is {self.ridge}, expected above 0")


@dataclass(frozen=True)
class Removed:
    """What left a block.

    Attributes:
        kind: hidden units of an MLP, or heads.
        before: how many there were.
        kept: numbers of those that stay, ascending.
    """

    kind: Kind
    before: int
    kept: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many left."""
        return self.before - len(self.kept)


@dataclass(frozen=True)
class StructuredResult:
    """A graph with less in it.

    Attributes:
        model: as before, but for smaller matrices.
        removed: by the name of the layer that reads the units; blocks that lost nothing included.
        left_alone: softmax nodes that belong to no attention that is recognised.
        weights: numbers in float32 initializers before and after.
        multiply_adds: of one image before and after.
    """

    model: onnx.ModelProto
    removed: Mapping[str, Removed]
    left_alone: tuple[str, ...]
    weights: tuple[int, int]
    multiply_adds: tuple[int, int]


def prune_structured(
    model: onnx.ModelProto,
    images: Sequence[Views],
    config: StructuredConfig,
    progress: Progress | None = None,
) -> StructuredResult:
    """Take whole units out of a graph and let the others make up for them.

    Args:
        model: fp32; see :func:`~foveal.lab.compression.layers.with_float_weights`.
        images: calibration images of the training part; 64 do.
        config: how much.
        progress: told how many blocks are done, and how many there are.

    Returns:
        The smaller graph. A graph in which nothing is recognised comes back as it was; see ``removed``.

    Raises:
        ValueError: there are no images, or more would have to leave than blocks can lose.
    """
    if not images:
        raise ValueError("no calibration images: give some of the training part")
    graph = Graph(model)
    heads, alone = find_attentions(graph)
    blocks = _named([*(find_mlps(graph) if config.mlp else []), *(heads if config.heads else [])])
    measured = list(_measure(model, graph, blocks, images, config, progress=progress))
    kept = _kept_units(model, measured, images, config)
    smaller = Cutter(model)
    for one in measured:
        smaller.cut(one.block, one.spread, kept[one.block.name])
    drop_unused(smaller.model)
    removed = {
        block.name: Removed(block.kind, block.units, tuple(kept[block.name].tolist())) for block in blocks
    }
    return StructuredResult(
        smaller.model,
        removed,
        tuple(alone),
        (float_count(model), float_count(smaller.model)),
        (multiply_adds(model, images[0]), multiply_adds(smaller.model, images[0])),
    )


def _named(blocks: Sequence[Block]) -> list[Block]:
    """Blocks under names that differ: layers that share a bias are called alike."""
    names = [block.name for block in blocks]
    return [
        block if names.count(block.name) == 1 else replace(block, name=block.consumer.weight)
        for block in blocks
    ]


def _measure(
    model: onnx.ModelProto,
    graph: Graph,
    blocks: Sequence[Block],
    images: Sequence[Views],
    config: StructuredConfig,
    *,
    progress: Progress | None,
) -> Iterator[MeasuredBlock]:
    # Under the names of their weights, which are never shared.
    consumers = [replace(block.consumer, name=block.consumer.weight) for block in blocks]
    moments = collect_moments(model, consumers, images, config.vectors) if blocks else {}
    for done, block in enumerate(blocks, 1):
        weights = matrix_of(graph, block.consumer)
        spread = spread_of(moments[block.consumer.weight], bias=bool(block.bias), ridge=config.ridge)
        chunk = config.multiple if block.kind == "mlp" else 1
        if config.units == "error":
            order = order_by_error(weights, spread, block.units, chunk)
        else:
            order = order_by_worth(weights, spread, _weight_shares(graph, block), chunk)
        yield MeasuredBlock(block, spread, order)
        if progress is not None:
            progress(done, len(blocks))


def _weight_shares(graph: Graph, block: Block) -> Array:
    """Share of the block's sum of |weights| that each unit's rows and columns have: (units,)."""
    sums = np.abs(matrix_of(graph, block.consumer)).sum(axis=0).reshape(block.units, -1).sum(axis=1)
    for layer in block.producers:
        sums = sums + np.abs(matrix_of(graph, layer)).sum(axis=1).reshape(block.units, -1).sum(axis=1)
    return np.asarray(sums / max(sums.sum(), 1e-300))


def _kept_units(
    model: onnx.ModelProto,
    measured: Sequence[MeasuredBlock],
    images: Sequence[Views],
    config: StructuredConfig,
) -> dict[str, NDArray[np.intp]]:
    """Units that stay in each block, ascending."""
    few = images[:: max(1, len(images) // config.probes)][: config.probes]
    kept = {}
    for kind, share, chunk in (("mlp", config.mlp, config.multiple), ("heads", config.heads, 1)):
        group = [one for one in measured if one.block.kind == kind]
        if config.by == "error":
            prices = measured_prices(model, group, few)
        elif config.by == "qlis":
            prices = qlis_prices(model, group, config.beta, config.sign)
        else:
            prices = even_prices(group)
        units = sum(one.block.units for one in group)
        # A share such as 1/6 of 36 must not come out a hair below 6.
        lost = cheapest(prices, int(share * units / chunk + 1e-9))
        for one in group:
            gone = one.order.chunks[: lost[one.block.name]].ravel()
            kept[one.block.name] = np.setdiff1d(np.arange(one.block.units), gone)
    return kept
