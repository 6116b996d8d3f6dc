"""How far explanations can be trusted: the shipped explainer on rated images that it has not learnt from.

Usage:
  python benchmarks/explainer.py BIQ2021 recipes/biq2021-validation.json --part validation
  python benchmarks/explainer.py BIQ2021 --part test
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from _common import environment, make_parser, positive, progress, run, show
from foveal.evaluation.correlation import plcc, srcc
from foveal.evaluation.tables import Cell, Table
from foveal.explanation.explainer import MOVED, load_explainer
from foveal.explanation.explanation import Explanation
from foveal.explanation.wordings import WORDINGS
from foveal.ratings.sources import read_ratings
from foveal.ratings.splits import read_split
from foveal.ratings.table import Ratings

KINDS = {True: "what is measured", False: "impressions"}
Row = tuple[Cell, ...]


def main() -> None:
    """Explain every image, and print the figures."""
    options = parse()
    rated = chosen(options)
    explainer, explained = load_explainer(options.explainer), []
    for number, path in enumerate(rated.images):
        explained.append(explainer(path))
        if number % 100 == 0:
            progress(f"{number} of {len(rated)} images")
    rows = (*agreement(explained, rated.quality()), *disagreement(explained), *directions(explained))
    notes = [
        f"{explainer.card.model}, {options.part} part, {len(rated):,} images",
        environment("foveal", "numpy", "openvino"),
    ]
    show(Table(("measured", "value"), rows), notes, markdown=options.markdown)


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = make_parser(__doc__)
    parser.add_argument("ratings", type=Path, help="folder of BIQ2021")
    parser.add_argument("split", type=Path, nargs="?", help="a split file")
    parser.add_argument("--part", default="test", choices=["train", "validation", "test"])
    parser.add_argument("--explainer", type=Path, help="by default the shipped one")
    parser.add_argument("--limit", type=positive, metavar="N", help="images at most, the first ones by name")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> Ratings:
    """The images that were asked for."""
    whole = read_ratings(options.ratings, dataset="biq2021")
    if options.split is not None:
        whole = read_split(options.split).apply(whole)
    part = whole.part(options.part)
    return part if options.limit is None else part.take(part.indices(sorted(part.names)[: options.limit]))


def agreement(explained: Sequence[Explanation], mos: np.ndarray) -> Iterator[Row]:
    """Agreement of the verdict with people, beside that of the score; and whether it knows how sure it is."""
    for name, scores in (
        ("verdict", np.array([one.verdict.quality for one in explained])),
        ("score", np.array([one.quality for one in explained])),
    ):
        yield f"SRCC of the {name} with people", f"{srcc(scores, mos):.3f}"
        yield f"PLCC of the {name} with people", f"{plcc(scores, mos):.3f}"
        yield f"root mean square error of the {name}", f"{float(np.sqrt(((scores - mos) ** 2).mean())):.3f}"
    levels = list(explained[0].verdict.probabilities)
    # Equal ranges of the scale, as the levels were learnt.
    rated = [levels[len(levels) - max(1, int(np.ceil((value - 1) / 4 * len(levels))))] for value in mos]
    right = np.mean([one.verdict.level == level for one, level in zip(explained, rated, strict=True)])
    sure = np.mean([max(one.verdict.probabilities.values()) for one in explained])
    yield "likeliest level is that of the rating", _percent(right)
    yield "its mean probability", _percent(sure)


def disagreement(explained: Sequence[Explanation]) -> Iterator[Row]:
    """How often an explanation says that it does not fit together."""
    found = Counter(kind for one in explained for kind in {given.kind for given in one.disagreements})
    for kind in ("verdict-score", "description-verdict", "said-measured"):
        yield f"explanations that tell of {kind}", _percent(found[kind] / len(explained))


def directions(explained: Sequence[Explanation]) -> Iterator[Row]:
    """Whether saying an attribute at its best or worst moves the verdict that way, by kind of attribute."""
    for measured, kind in KINDS.items():
        ways = []
        for seen in (seen for one in explained for seen in one.seen):
            wording = WORDINGS[seen.attribute]
            if wording.merit == 0 or wording.measured != measured:
                continue
            for change in seen.what_if:
                wanted = wording.merit * np.sign(change.degree - seen.said.degree)
                if abs(change.change) > MOVED:
                    ways.append(wanted * change.change > 0)
        yield f"edits of {kind} that move the verdict", f"{len(ways):,}"
        yield "... of these, the right way", _percent(np.mean(ways)) if ways else "-"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    run(main)
