"""What the gate of MST-CLIPIQA takes from the coarse stream and what from the fine one, for each distortion.

Clean photographs are degraded in known ways. For each way: the mean of the gate over dimensions and pictures
(1 is all coarse, 0 all fine), the shares of dimensions that lean clearly to one stream, how far single
dimensions move from where they stand on the clean photographs, and which ones move most.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from _common import EXAMPLES, environment, find_images, make_parser, progress, run, show
from foveal.assessor import cut_views
from foveal.evaluation.tables import Cell, Table
from foveal.imaging.decode import decode
from foveal.imaging.degradations import DEGRADATIONS
from foveal.imaging.views import Pixels
from foveal.lab.models.mst_clipiqa import MstClipIqa
from foveal.lab.trained import load_trained

CLEAN = "none"
COARSE, FINE = 0.6, 0.4
"""From here on a dimension leans to the coarse stream; up to here to the fine one."""
NAMED = 3
Floats = NDArray[np.float64]


def main() -> None:
    """Degrade, look, print."""
    options = parse()
    files, kinds = find_images(options.images), tuple(DEGRADATIONS)
    if options.quick:
        files, kinds = files[:2], kinds[:2]
    model = load_trained(options.trained, backbone=options.backbone, fine_backbone=options.fine_backbone)
    network = model.network
    if not isinstance(network, MstClipIqa):
        raise ValueError(f"{options.trained}: a {model.record.kind} has no gate; give an mst-clipiqa")
    gates = {}
    for kind in (CLEAN, *kinds):
        progress(f"{kind}")
        gates[kind] = gates_of(network, degraded(files, kind, options.severity))
    size = next(iter(gates.values())).shape[1]
    notes = [
        f"{model.record.card.name}, {size} dimensions, {len(files)} photographs, severity {options.severity}",
        f"coarse, fine: share of dimensions whose mean gate is above {COARSE}, below {FINE}",
        "moved: mean absolute change of a dimension's gate from clean; dimensions: + towards coarse",
        environment("foveal", "torch"),
    ]
    show(gate_table(gates), notes, markdown=options.markdown)


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--trained", default="runs/mst/model", help="folder of the trained model (default: %(default)s)")
    add("--backbone", help="folder of its backbone, if not found by name")
    add("--fine-backbone", help="likewise of the fine stream's own")
    add("--images", type=Path, default=EXAMPLES / "photos", metavar="DIR", help="clean photographs")
    add("--severity", type=float, default=0.6, help="of the degradations, 0 to 1 (default: %(default)s)")
    return parser.parse_args()


def degraded(files: Iterable[str], kind: str, severity: float) -> Iterator[Pixels]:
    """Photographs as they are, or degraded in one way."""
    for file in files:
        pixels = decode(file).pixels
        yield pixels if kind == CLEAN else DEGRADATIONS[kind](pixels, severity)


@torch.inference_mode()
def gates_of(network: MstClipIqa, pictures: Iterable[Pixels]) -> Floats:
    """Gate of each picture, (pictures, dimensions)."""
    rows = []
    for pixels in pictures:
        views = cut_views(pixels, network.views)
        features = network.features({name: torch.from_numpy(v.copy())[None] for name, v in views.items()})
        rows.append(network.gate(features)[0].double().numpy())
    return np.stack(rows)


def gate_table(gates: dict[str, Floats]) -> Table:
    """A row for each distortion; the first one is none."""
    clean = gates[CLEAN].mean(axis=0)
    rows: list[tuple[Cell, ...]] = []
    for kind, values in gates.items():
        mean = values.mean(axis=0)
        change = mean - clean
        most = np.argsort(-np.abs(change))[:NAMED]
        named = ", ".join(f"{index} ({change[index]:+.2f})" for index in most)
        rows.append(
            (
                kind,
                float(mean.mean()),
                float((mean > COARSE).mean()),
                float((mean < FINE).mean()),
                float(np.abs(change).mean()),
                "" if kind == CLEAN else named,
            )
        )
    return Table(
        ("distortion", "mean gate", "coarse", "fine", "moved", "dimensions that move most"), tuple(rows)
    )


if __name__ == "__main__":
    run(main)
