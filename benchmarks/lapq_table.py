"""The table of the LAPQ paper for a model of one's own: pruning and quantising, uniform and by layer.

Beta, sign and shares are chosen on validation images alone. The table itself is measured on the whole
validation part, where LAP, LAQ and LAPQ look a little better than they are, or with ``--report test`` on the
test part, which should be looked at once. Nothing is fitted again after compression. CR and HCR count what
the paper counts (see ``foveal.lab.compression.lapq``): no file is that small.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from _common import REPOSITORY, environment, model_path, positive, progress, run, show
from foveal.artifact.card import Card
from foveal.artifact.file import read_artifact
from foveal.assessor import cut_views
from foveal.evaluation.folder import refuse_existing, write_folder
from foveal.evaluation.scatter import require_matplotlib
from foveal.evaluation.tables import Table
from foveal.imaging.decode import decode
from foveal.imaging.views import Pixels
from foveal.lab.compression.importance import Importance, importance
from foveal.lab.compression.lapq import Compressed, SearchConfig, Setting, Trial
from foveal.lab.compression.layer_plot import write_layer_plot
from foveal.lab.compression.layers import Layer, Matrix, find_layers, read_weights, with_weights
from foveal.lab.compression.paper_table import (
    Agreement,
    PaperTable,
    Row,
    agreement,
    make_table,
    trials_table,
)
from foveal.lab.training.inference import OrderedInference
from foveal.lab.training.prepare import Parts, divide, load_ratings
from foveal.lab.training.recipe import RatingsConfig, SplitConfig
from foveal.ratings.table import Ratings
from foveal.runtime.engine import available_cpus
from foveal.runtime.ordered import ordered_map

if TYPE_CHECKING:
    import onnx

SPLITS = {"biq2021": REPOSITORY / "recipes" / "biq2021-validation.json"}
QUICK = 40
QUICK_SEARCH = SearchConfig(betas=(0.5,), signs=("paper",), strengths=(0.1, 0.4))
Views = Sequence[dict[str, Pixels]]


def main() -> None:
    """Search, measure, print, write."""
    import onnx

    options = parse()
    refuse_existing(options.out)
    require_matplotlib()
    artifact = read_artifact(model_path(options.model))
    if artifact.card.prompt is not None:
        raise ValueError(f"{options.model}: it reads prompts, which this table does without")
    model = onnx.load_from_string(artifact.model_bytes())
    layers = find_layers(model)
    weights = read_weights(model, layers)
    reported, searched = images_of(options, artifact.card)
    config = replace(QUICK_SEARCH if options.quick else SearchConfig(), max_drop=options.max_drop)
    made = make_table(
        model,
        Evaluator(model, layers, searched),
        Evaluator(model, layers, reported),
        config,
        layers=layers,
        on_trial=tell_trial,
        on_row=tell_row,
    )
    notes = [
        f"{artifact.card.model}: {len(layers)} layers, {sum(layer.size for layer in layers):,} weights",
        f"measured on the {options.report} part, {len(reported.rated):,} images",
        searched_on(made, len(searched.rated), options.max_drop),
        *choices(made),
        environment("foveal", "openvino", "constriction"),
    ]
    layer_scores = importance(weights, near_zero=config.near_zero, bins=config.bins)
    write(options.out, made, layer_scores, notes, artifact.card.model)
    show(made.shown(), notes, markdown=options.markdown)


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="a shipped assessor or a model file, its weights in fp32")
    add("ratings", metavar="RATINGS", help="a table of ratings, or with --dataset the folder of a known set")
    add("--dataset", metavar="NAME", help="RATINGS is the folder of a known set, such as biq2021")
    add("--low", type=float, help="lower end of the ratings' scale, where it is no known set")
    add("--high", type=float, help="upper end")
    add("--lower-is-better", action="store_true", help="direction of the ratings")
    add("--split", metavar="FILE", help="which images are for validation (default: of biq2021 the recipes')")
    add("--images", type=positive, default=500, help="validation images of the search (default: %(default)s)")
    add("--max-drop", type=float, default=0.01, help="of SRCC in the search (default: %(default)s)")
    add(
        "--report",
        choices=("validation", "test"),
        default="validation",
        help="part that the table is measured on (default: %(default)s)",
    )
    add("--out", default="runs/lapq", metavar="DIR", help="new folder of the results (default: %(default)s)")
    add("--markdown", action="store_true", help="print a Markdown table")
    add("--quick", action="store_true", help="try the script out: few images, figures mean nothing")
    return parser.parse_args()


@dataclass(frozen=True)
class Images:
    """Rated images, their views cut once and kept.

    Attributes:
        views: of each, uint8 (1, side, side, 3) by input name.
        rated: float64 [n], 1 to 5.
    """

    views: Views
    rated: NDArray[np.float64]

    def take(self, rows: NDArray[np.int64]) -> Images:
        """Some of them."""
        return Images([self.views[row] for row in rows], self.rated[rows])


class Evaluator:
    """How well a model with other weights agrees with people."""

    def __init__(self, model: onnx.ModelProto, layers: Sequence[Layer], images: Images) -> None:
        self._model, self._layers, self._images = model, layers, images
        self._shapes = {name: list(view.shape) for name, view in images.views[0].items()}
        self._output = [output.name for output in model.graph.output].index("quality")

    def __call__(self, weights: Mapping[str, Matrix]) -> Agreement:
        """Run all images through the model with these weights."""
        changed = with_weights(self._model, self._layers, weights)
        infer = OrderedInference(changed.SerializeToString(), self._shapes)
        quality = [outputs[self._output].item() for outputs in infer(self._images.views)]
        return agreement(quality, self._images.rated)


def images_of(options: argparse.Namespace, card: Card) -> tuple[Images, Images]:
    """Images of the report, and those of the search: some of the validation part."""
    parts = parts_of(options, 0)
    some = parts_of(options, QUICK if options.quick else options.images).validation
    if options.report == "validation":
        whole = some if options.quick else parts.validation
        reported = cut(whole, card)
        return reported, reported.take(whole.indices(some.names))
    if parts.test is None:
        raise ValueError(f"{options.ratings}: there is no test part to report on")
    test = parts.test.take(range(min(QUICK, len(parts.test)))) if options.quick else parts.test
    return cut(test, card), cut(some, card)


def parts_of(options: argparse.Namespace, limit: int) -> Parts:
    """Ratings in parts, with at most so many validation images; 0 for all."""
    known = options.dataset is not None
    config = RatingsConfig(
        str(Path(options.ratings).resolve()),
        dataset=options.dataset,
        low=options.low,
        high=options.high,
        higher_is_better=known or not options.lower_is_better,
    )
    file = options.split or SPLITS.get(options.dataset or "")
    resolved = None if file is None else str(Path(file).resolve())
    return divide(load_ratings(config), SplitConfig(kind="given", file=resolved, validation_limit=limit))


def cut(ratings: Ratings, card: Card) -> Images:
    """Cut the views of all images."""
    progress(f"cutting views of {len(ratings):,} images")

    def views(file: Path) -> dict[str, Pixels]:
        cut_once = cut_views(decode(file).pixels, card.views)
        return {name: np.ascontiguousarray(view[np.newaxis]) for name, view in cut_once.items()}

    cpus = available_cpus()
    return Images(list(ordered_map(views, ratings.images, workers=cpus, ahead=cpus)), ratings.quality())


def tell_trial(trial: Trial) -> None:
    """One line of progress."""
    chosen = [
        f"beta {setting.beta:g} {setting.sign} {' '.join(f'{share:.2g}' for share in setting.shares)}"
        for setting in (trial.candidate.pruning, trial.candidate.quantization)
        if setting is not None
    ]
    passed = "passed" if trial.passed else "too much"
    figures = f"CR {trial.candidate.ratio:.2f}, SRCC {trial.srcc:.4f}, {passed}"
    progress("; ".join([f"{trial.method}: {figures}", *chosen]))


def tell_row(row: Row) -> None:
    """One line of progress."""
    progress(f"{row.method}: SRCC {row.agreement.srcc:.4f}, CR {row.ratio:.2f}, HCR {row.huffman_ratio:.2f}")


def searched_on(made: PaperTable, images: int, max_drop: float) -> str:
    """What the search had to go by."""
    return (
        f"chosen on {images:,} validation images in {len(made.search.trials)} trials: SRCC "
        f"{made.search.baseline:.4f} before, a drop up to {max_drop:g}"
    )


def choices(made: PaperTable) -> Iterator[str]:
    """What the search chose, in words."""
    for trial in (made.search.lap, made.search.laq, made.search.lapq):
        parts = [
            f"{what}: {described(setting)}"
            for what, setting in (
                ("pruning", trial.candidate.pruning),
                ("bits", trial.candidate.quantization),
            )
            if setting is not None
        ]
        told = "; ".join(parts) or "nothing by layer passed"
        yield f"{trial.method}: {told} (SRCC {trial.srcc:.4f} in the search)"


def described(setting: Setting) -> str:
    """A setting in words."""
    shares = " / ".join(f"{share:.2f}" for share in setting.shares)
    return f"beta {setting.beta:g}, sign {setting.sign}, shares {shares}, the strongest level first"


def write(
    out: str, made: PaperTable, layers: Mapping[str, Importance], notes: Sequence[str], name: str
) -> None:
    """Table, trials and layers as files, and the plot."""
    lines = "".join(f"- {note}\n" for note in notes)
    write_folder(
        out,
        {
            "table.md": f"{made.to_markdown()}\n{lines}",
            "table.csv": made.to_csv(),
            "trials.csv": trials_table(made.search).to_csv(),
            "layers.csv": layers_table(layers, made.lapq).to_csv(),
        },
    )
    chosen = made.search.lapq.candidate
    setting = chosen.pruning or chosen.quantization
    write_layer_plot(
        Path(out) / "layers.svg",
        layers,
        made.lapq,
        beta=0.5 if setting is None else setting.beta,
        title=f"{name}, LAPQ: CR {made.lapq.ratio:.1f}, HCR {made.lapq.huffman_ratio:.1f}",
    )


def layers_table(layers: Mapping[str, Importance], compressed: Compressed) -> Table:
    """Importance of each layer and what was done to it."""
    headings = "layer", "P", "E", "S", "EWDS", "k", "bits", "kept", "weights", "coded bits"
    rows = []
    for name, one in layers.items():
        layer = compressed.layers[name]
        done = layer.multiplier, layer.bits, layer.kept, layer.weights.size, layer.coded
        rows.append((name, one.share, one.entropy, one.sparsity, one.ewds, *done))
    return Table(headings, tuple(rows))


if __name__ == "__main__":
    run(main)
