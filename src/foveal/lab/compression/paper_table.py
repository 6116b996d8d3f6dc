"""The table of the LAPQ paper for any model: uniform pruning and quantising beside LAP, LAQ and LAPQ.

As in the paper nothing is fitted again after compression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from foveal.evaluation.correlation import krcc, plcc, srcc
from foveal.evaluation.pairs import checked_pairs
from foveal.evaluation.tables import Table
from foveal.lab.compression.lapq import (
    Compressed,
    Plan,
    Search,
    SearchConfig,
    Trial,
    compress,
    search,
)
from foveal.lab.compression.layers import Layer, Matrix, find_layers, read_weights
from foveal.lab.compression.minmax import BITS
from foveal.lab.compression.pruning import MULTIPLIERS

if TYPE_CHECKING:
    import onnx

Evaluate = Callable[[Mapping[str, Matrix]], "Agreement"]
"""How well a model agrees with people when its layers, by name, have other weights."""


@dataclass(frozen=True)
class Agreement:
    """The paper's figures of agreement, -1 to 1.

    Attributes:
        srcc: Spearman's rank correlation.
        krcc: Kendall's tau-b.
        plcc: Pearson's correlation of the scores as they are.
    """

    srcc: float
    krcc: float
    plcc: float


def agreement(predicted: ArrayLike, rated: ArrayLike) -> Agreement:
    """Agreement of a network, which compression may have ruined, with people.

    Args:
        predicted: float [n]. Where all are the same, the network tells no images apart: its figures are 0.
        rated: float [n].

    Raises:
        ValueError: NaN, infinities, different lengths, fewer than three points, or ratings all the same.
        MissingExtraError: SciPy is not installed.
    """
    predicted, rated = np.asarray(predicted, np.float64), np.asarray(rated, np.float64)
    if predicted.size and np.isfinite(predicted.flat[0]) and (predicted == predicted.flat[0]).all():
        # Another column in its place: whatever else is wrong with them is still told.
        checked_pairs(np.arange(predicted.size, dtype=np.float64), rated)
        return Agreement(0.0, 0.0, 0.0)
    return Agreement(srcc(predicted, rated), krcc(predicted, rated), plcc(predicted, rated))


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        method: what the paper calls it.
        agreement: on the images of the report.
        ratio: CR.
        huffman_ratio: HCR.
        huffman_ratio_with_zeros: the same with the places of pruned weights paid for; not in the paper.
    """

    method: str
    agreement: Agreement
    ratio: float
    huffman_ratio: float
    huffman_ratio_with_zeros: float


_HEADINGS = ("method", "SRCC", "KRCC", "PLCC", "CR", "HCR", "HCR with zeros")


@dataclass(frozen=True)
class PaperTable:
    """The table, and what stands behind its last rows.

    Attributes:
        rows: in the paper's order.
        search: choices, and all that was tried.
        lapq: the layers of the last row.
    """

    rows: tuple[Row, ...]
    search: Search
    lapq: Compressed

    def shown(self) -> Table:
        """The table for people, with as many decimals as in the paper."""
        return Table(
            _HEADINGS,
            tuple(
                (cells[0], *(f"{cell:.4f}" for cell in cells[1:4]), *(f"{cell:.1f}" for cell in cells[4:]))
                for cells in map(_cells, self.rows)
            ),
        )

    def data(self) -> Table:
        """The table for programs."""
        return Table(_HEADINGS, tuple(map(_cells, self.rows)))

    def to_markdown(self) -> str:
        """A Markdown table."""
        return self.shown().to_markdown()

    def to_csv(self) -> str:
        """Comma separated, in full precision."""
        return self.data().to_csv()


def _cells(row: Row) -> tuple[str | float, ...]:
    figures = row.agreement.srcc, row.agreement.krcc, row.agreement.plcc
    return (row.method, *figures, row.ratio, row.huffman_ratio, row.huffman_ratio_with_zeros)


def make_table(
    model: onnx.ModelProto,
    evaluate_validation: Evaluate,
    evaluate_report: Evaluate,
    config: SearchConfig | None = None,
    *,
    layers: list[Layer] | None = None,
    on_trial: Callable[[Trial], None] = lambda trial: None,
    on_row: Callable[[Row], None] = lambda row: None,
) -> PaperTable:
    """Compress a model in all of the paper's ways and measure each once.

    Args:
        model: its weights are float32.
        evaluate_validation: on validation images; alone decides on beta, sign and shares.
        evaluate_report: on the images of the report; called once a row, when all is decided.
        config: of the search.
        layers: of the model; by default all of :func:`find_layers`.
        on_trial: told of each trial of the search.
        on_row: told of each row.

    Raises:
        ValueError: the model has no layers to compress.
    """
    weights = read_weights(model, find_layers(model) if layers is None else layers)
    found = search(weights, lambda changed: evaluate_validation(changed).srcc, config, on_trial)
    rows = []
    lapq = Compressed({})
    for method, plan in _plans(list(weights), found):
        lapq = compress(weights, plan)
        ratios = lapq.ratio, lapq.huffman_ratio, lapq.huffman_ratio_with_zeros
        rows.append(Row(method, evaluate_report(lapq.weights), *ratios))
        on_row(rows[-1])
    return PaperTable(tuple(rows), found, lapq)


def _plans(names: list[str], found: Search) -> Iterator[tuple[str, Plan]]:
    """Rows in the paper's order; LAPQ is the last."""
    for multiplier in MULTIPLIERS:
        if multiplier:
            yield f"P level {multiplier}", Plan(dict.fromkeys(names, multiplier), {})
    for bits in BITS:
        yield f"Q {bits}-bit", Plan({}, dict.fromkeys(names, bits))
    yield "Baseline", Plan({}, {})
    for trial in (found.lap, found.laq, found.lapq):
        yield trial.method, trial.candidate.plan


def trials_table(found: Search) -> Table:
    """All that a search tried, for programs: method, settings, CR, SRCC, and whether it passed."""
    rows = []
    for trial in found.trials:
        cells: list[str | float] = [trial.method]
        for setting in (trial.candidate.pruning, trial.candidate.quantization):
            cells += [""] * 3 if setting is None else [setting.beta, setting.sign, _listed(setting.shares)]
        rows.append((*cells, trial.candidate.ratio, trial.srcc, int(trial.passed)))
    chosen = [f"{of}_{what}" for of in ("pruning", "bits") for what in ("beta", "sign", "shares")]
    return Table(("method", *chosen, "cr", "srcc", "passed"), tuple(rows))


def _listed(shares: tuple[float, ...]) -> str:
    return " ".join(f"{share:.4g}" for share in shares)
