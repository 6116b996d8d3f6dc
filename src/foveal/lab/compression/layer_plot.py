"""What LAPQ does layer by layer, as a picture: importance, sparsity, bits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foveal.evaluation.scatter import COLOURS, require_matplotlib
from foveal.lab.compression.importance import Importance, Sign, rank_quantiles
from foveal.lab.compression.lapq import Compressed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
_BLUE, _ORANGE, _GREEN, *_ = COLOURS
_INK, _PALE, _FAINT = "#333333", "#BBBBBB", "#EEEEEE"
_WIDTH, _ROW, _EDGES = 12.0, 0.155, 1.5  # inches
_DPI = 150


@dataclass(frozen=True)
class _Column:
    """A series of points, one a layer."""

    label: str
    values: Sequence[float]
    colour: str
    marker: str


def write_layer_plot(
    path: str | os.PathLike[str],
    layers: Mapping[str, Importance],
    compressed: Compressed,
    *,
    beta: float,
    title: str,
) -> None:
    """Draw importance, sparsity and bits of each layer, from the input at the top to the output below.

    Importance is drawn twice: P and EWDS as they are, and the rank of QLIS of both signs, by which levels are
    given out. Bits are those of a kept weight, before and after Huffman coding. The same input gives the
    same file.

    Args:
        path: ends in ``.png`` or ``.svg``.
        layers: importance by layer's name, in the order of the graph.
        compressed: the same layers, compressed.
        beta: of QLIS.
        title: heading.

    Raises:
        ValueError: another suffix, there are no layers, or one has no importance.
        MissingExtraError: matplotlib is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: a plot is written as {' or '.join(SUFFIXES)}")
    if not layers or set(layers) != set(compressed.layers):
        raise ValueError(
            f"{len(layers)} layers with importance, {len(compressed.layers)} compressed: they must be the "
            "same, and at least one"
        )
    require_matplotlib()
    import matplotlib.style

    # Matplotlib's own defaults, whatever the user's settings are, and identifiers that do not change.
    with matplotlib.style.context(["default", {"svg.hashsalt": "foveal", "svg.fonttype": "none"}]):
        figure = _draw(layers, compressed, beta, title)
        # No date, and no version of matplotlib: neither says anything of the picture.
        nothing = {"Date": None, "Creator": None} if path.suffix.lower() == ".svg" else {"Software": None}
        figure.savefig(path, format=path.suffix[1:].lower(), dpi=_DPI, metadata=nothing)


def _draw(layers: Mapping[str, Importance], compressed: Compressed, beta: float, title: str) -> Figure:
    from matplotlib.figure import Figure

    count = len(layers)
    figure = Figure(figsize=(_WIDTH, _EDGES + _ROW * count), layout="constrained")
    raw, ranked, sparsity, bits = figure.subplots(1, 4, sharey=True)
    _points(
        raw,
        "importance",
        [
            _Column("P, share of weights", [one.share for one in layers.values()], _BLUE, "o"),
            _Column("EWDS", [one.ewds for one in layers.values()], _ORANGE, "D"),
        ],
    )
    _points(
        ranked,
        f"rank of QLIS, beta {beta:g}\n(0 least important, 1 most)",
        [
            _Column("as printed: 1 - EWDS", _ranks(layers, beta, "paper"), _BLUE, "o"),
            _Column("as described: EWDS", _ranks(layers, beta, "text"), _ORANGE, "D"),
        ],
    )
    ranked.set_xlim(-0.03, 1.03)
    done = [compressed.layers[name] for name in layers]
    sparsity.barh(range(count), [100 * layer.sparsity for layer in done], color=_GREEN)
    sparsity.set_xlim(0, 100)
    sparsity.set_xlabel("pruned weights, %", color=_INK)
    bits.barh(range(count), [layer.bits for layer in done], color=_PALE, label="given")
    coded = [layer.coded / layer.kept if layer.kept else 0.0 for layer in done]
    bits.plot(coded, range(count), "o", color=_BLUE, markersize=3.5, label="after Huffman coding")
    bits.set_xlim(0, 1.05 * max(layer.bits for layer in done))
    bits.set_xticks(sorted({0, *(layer.bits for layer in done)}))
    bits.set_xlabel("bits of a kept weight", color=_INK)
    _legend(bits)
    raw.set_yticks(range(count), short_names(list(layers)), fontsize=7, parse_math=False)
    raw.set_ylim(count - 0.4, -0.6)
    for axes in (raw, ranked, sparsity, bits):
        _plain(axes)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=_INK, parse_math=False)
    return figure


def _ranks(layers: Mapping[str, Importance], beta: float, sign: Sign) -> list[float]:
    return list(rank_quantiles({name: one.qlis(beta, sign) for name, one in layers.items()}).values())


def _points(axes: Axes, label: str, columns: Sequence[_Column]) -> None:
    for column in columns:
        axes.plot(
            column.values,
            np.arange(len(column.values)),
            column.marker,
            color=column.colour,
            markersize=3.5,
            label=column.label,
        )
    axes.set_xlabel(label, color=_INK)
    _legend(axes)


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), fontsize=8, frameon=False, labelcolor=_INK, borderaxespad=0.2
    )


def _plain(axes: Axes) -> None:
    axes.grid(axis="x", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(color=_PALE, labelcolor=_INK)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(_PALE)


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the dotted parts that all of them begin with; the last part always stays."""
    parts = [name.split(".") for name in names]
    shared = 0
    while all(len(own) > shared + 1 and own[shared] == parts[0][shared] for own in parts):
        shared += 1
    return [".".join(own[shared:]) for own in parts]
