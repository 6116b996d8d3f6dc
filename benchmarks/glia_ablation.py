"""What each choice of GLIANet is worth: short runs on a fixed part of BIQ2021's training images.

All variants learn from the same images for the same number of epochs and are compared on the same validation
images, with bootstrap intervals and a paired test against the full method. These are short runs: they rank
choices, and their figures are far below those of a full training. The test part is not touched. When it is
interrupted, it goes on where it stopped.
"""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _common import environment, make_parser, progress, run, shared_data, show
from foveal.evaluation.significance import bootstrap_interval, compare
from foveal.evaluation.tables import Cell, Table
from foveal.lab.training.recipe import read_recipe
from foveal.lab.training_run import TrainingRun, train
from foveal.ratings.table import Ratings

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
GLIA, READOUT, PROBE = "glia-vit-tiny.toml", "glia-readout-vit-tiny.toml", "mlp-probe-vit-tiny.toml"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Variant:
    """A row of the table: a recipe and what is changed in it."""

    name: str
    recipe: str = GLIA
    changes: dict[str, Any] = field(default_factory=dict)


VARIANTS = (
    Variant("GLIANet, width 64"),
    Variant("width 32", changes={"model.width": 32}),
    Variant("width 128", changes={"model.width": 128}),
    Variant("adapter before every second block", changes={"model.every": 2}),
    Variant("adapter before every third block", changes={"model.every": 3}),
    Variant("no adapter: the readout alone", READOUT),
    Variant("one direction (to global)", changes={"model.direction": "to-global"}),
    Variant("no interaction", changes={"model.direction": "none"}),
    Variant("global only", changes={"model.streams": "global"}),
    Variant("local only", changes={"model.streams": "local"}),
    Variant("last CLS read, as in the paper", changes={"model.readout": "cls"}),
    Variant(
        "LoDa-like: one way, global CLS read",
        changes={"model.direction": "to-global", "model.fusion": "global", "model.readout": "cls"},
    ),
    Variant("linear probe, three views", PROBE, {"model.hidden": 0}),
    Variant("MLP probe, three views", PROBE),
)


@dataclass(frozen=True)
class Outcome:
    """What a variant came to on the validation images."""

    parameters: int
    quality: Floats
    seconds: float


def main() -> None:
    """Train what is not trained yet, then print the table."""
    options = parse()
    outcomes: dict[str, Outcome] = {}
    rated: Floats = np.empty(0)
    for number, variant in enumerate(VARIANTS[: options.variants]):
        progress(f"{variant.name} ({number + 1} of {len(VARIANTS)})")
        began = time.monotonic()
        done = train_variant(variant, options)
        rated = done.parts.validation.quality()
        seconds = time.monotonic() - began
        outcomes[variant.name] = Outcome(
            done.model.network.trainable_count(), done.validation_quality[:, 0], seconds
        )
        write_scores(
            Path(options.out) / f"{slug(variant.name)}.csv", done.parts.validation, outcomes[variant.name]
        )
    setting = (
        f"{options.images} training images, {options.epochs} epochs (readout: 22, probes: 40, on cached "
        "features), seed 1"
    )
    notes = [
        f"{setting}; {len(rated)} validation images of BIQ2021",
        "95 % bootstrap intervals; p: paired bootstrap against the first row, two-sided",
        environment("foveal", "torch"),
    ]
    show(ablation_table(outcomes, rated), notes, markdown=options.markdown)


def parse() -> Any:
    """Read the options."""
    parser = make_parser(__doc__)
    parser.add_argument("--biq2021", default=str(shared_data("data/BIQ2021")), help="folder of the set")
    parser.add_argument(
        "--backbone", default=str(shared_data("backbones/vit-tiny-augreg")), help="folder of the ViT-Tiny"
    )
    parser.add_argument("--out", default="runs/glia-ablation", help="folder of the runs")
    parser.add_argument("--cache", help="file of cached features, for the probes")
    parser.add_argument("--images", type=int, default=1200, help="training images")
    parser.add_argument("--validation", type=int, default=600, help="validation images")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of those with adapters")
    parser.add_argument("--variants", type=int, default=len(VARIANTS), help="only the first so many")
    return parser.parse_args()


def train_variant(variant: Variant, options: Any) -> TrainingRun:
    """Train one variant, or go on with it."""
    changes = {
        "ratings.path": str(Path(options.biq2021).resolve()),
        "backbone.name": str(Path(options.backbone).resolve()),
        "split.limit": options.images,
        "split.validation_limit": options.validation,
        **variant.changes,
    }
    if variant.recipe == GLIA:
        # So few steps leave no time for a long average.
        changes |= {"training.epochs": options.epochs, "training.ema": 0.9}
    recipe = read_recipe(RECIPES / variant.recipe, changes)
    return train(recipe, folder=Path(options.out) / slug(variant.name), cache=options.cache, cpu=True)


def ablation_table(outcomes: dict[str, Outcome], rated: Floats) -> Table:
    """A row for each variant."""
    rows: list[tuple[Cell, ...]] = []
    first = next(iter(outcomes.values())).quality
    for name, outcome in outcomes.items():
        srcc, plcc = (bootstrap_interval(outcome.quality, rated, figure) for figure in ("srcc", "plcc"))
        p = (
            ""
            if outcome.quality is first
            else f"{compare(outcome.quality, first, rated, 'srcc').p_value:.3f}"
        )
        rows.append(
            (
                name,
                f"{outcome.parameters:,}",
                srcc.value,
                f"{srcc.low:.3f} to {srcc.high:.3f}",
                plcc.value,
                p,
            )
        )
    return Table(("variant", "trained parameters", "SRCC", "95 %", "PLCC", "p"), tuple(rows))


def write_scores(path: Path, ratings: Ratings, outcome: Outcome) -> None:
    """Keep the scores, so that others can compare."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "quality"])
        writer.writerows(zip(ratings.names, map(float, outcome.quality), strict=True))


def slug(name: str) -> str:
    """A folder's name."""
    return "-".join("".join(letter if letter.isalnum() else " " for letter in name).lower().split())


if __name__ == "__main__":
    run(main)
