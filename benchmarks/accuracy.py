"""Agreement of an assessor with people on the official test part of BIQ2021, and coverage of its intervals.

Reported on all 2,000 images, on the clean part (without near copies of training images, as listed in
test-neighbours.csv) and within each subset. Test images are for reporting: choose nothing by these figures.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from _common import environment, load, make_parser, progress, run, shared_data, show
from foveal.assessment import Assessment
from foveal.assessor import Assessor
from foveal.evaluation.report import report
from foveal.evaluation.significance import compare
from foveal.evaluation.tables import Cell, Table
from foveal.ratings.biq2021 import read_biq2021, read_near_copies
from foveal.ratings.files import column, numbers, read_columns
from foveal.ratings.table import Ratings

OFFICIAL = 2000
NEIGHBOURS = "test-neighbours.csv"
QUICK = 60
SCORES = ("quality", "low", "high")
STATISTICS: tuple[Literal["srcc", "plcc"], ...] = ("srcc", "plcc")
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """What an assessor says of n images: quality and its interval, float64 (n,) each."""

    quality: Floats
    low: Floats
    high: Floats


def main() -> None:
    """Score or read scores, then print all tables."""
    options = parse()
    ratings = read_biq2021(options.biq2021, missing="drop").part("test")
    if options.quick:
        ratings = ratings.take(range(QUICK))
    near = near_copies(options.biq2021, ratings)
    if options.from_scores:
        model, scores = str(options.from_scores), read_scores(options.from_scores, ratings)
    else:
        assessor = load(options.model)
        model, scores = assessor.card.model, assess(assessor, ratings)
    if options.scores:
        write_scores(options.scores, ratings, scores)
    notes = [
        f"{model} on the test part of BIQ2021; PLCC and RMSE with the logistic fits are marked -4 and -5"
    ]
    if len(ratings) != OFFICIAL:
        notes.append(f"NOT official: {len(ratings)} of the {OFFICIAL} test images")
    notes.append(environment("foveal", "openvino"))
    result = report(ratings, scores.quality, leave_out=near)
    print(result.to_markdown() if options.markdown else result.to_text())
    parts = parts_of(ratings, near)
    show(interval_table(ratings, scores, parts), notes, markdown=options.markdown)
    if options.compare:
        other = read_scores(options.compare, ratings)
        note = f"{model} minus {options.compare}; paired bootstrap, two-sided p"
        show(comparison_table(ratings, scores, other, parts), [note], markdown=options.markdown)


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        "--biq2021",
        type=Path,
        default=shared_data("BIQ2021"),
        metavar="DIR",
        help="the data set (default: data/BIQ2021 in FOVEAL_SHARED or in shared beside the repository)",
    )
    add("--scores", type=Path, metavar="OUT.csv", help="keep the scores of all images")
    add("--from-scores", type=Path, metavar="IN.csv", help="take kept scores instead of running the model")
    add("--compare", type=Path, metavar="OTHER.csv", help="test the difference to these kept scores")
    return parser.parse_args()


def near_copies(folder: Path, ratings: Ratings) -> list[str]:
    """Rated images that have a near copy in the training part."""
    there = set(ratings.names)
    return [name for name in read_near_copies(folder / NEIGHBOURS) if name in there]


def assess(assessor: Assessor, ratings: Ratings) -> Scores:
    """Judge all rated images."""
    progress(f"scoring {len(ratings)} images")
    rows = [
        (result.quality, result.interval.low, result.interval.high)
        for result in assessor.stream(ratings.images)
        if isinstance(result, Assessment)
    ]
    return Scores(*np.array(rows, np.float64).T)


def write_scores(path: Path, ratings: Ratings, scores: Scores) -> None:
    """Keep scores and ratings, full precision."""
    columns = [getattr(scores, name).tolist() for name in SCORES]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", *SCORES, "rated"))
        writer.writerows(zip(ratings.names, *columns, ratings.quality().tolist(), strict=True))


def read_scores(path: Path, ratings: Ratings) -> Scores:
    """Read scores that were kept, in the order of the ratings.

    Raises:
        ValueError: an image has no scores.
        RatingsError: the file is missing or malformed.
    """
    table = read_columns(path)
    row_of = {name: row for row, name in enumerate(column(table, "image", path))}
    absent = [name for name in ratings.names if name not in row_of]
    if absent:
        raise ValueError(f"{path}: {len(absent)} images have no scores, the first is {absent[0]!r}")
    rows = [row_of[name] for name in ratings.names]
    return Scores(*(numbers(column(table, name, path), name, path)[rows] for name in SCORES))


def parts_of(ratings: Ratings, near: Collection[str]) -> dict[str, NDArray[np.bool_]]:
    """Which images are in each part: all, clean, and each subset."""
    clean = np.ones(len(ratings), np.bool_)
    clean[ratings.indices(near)] = False
    subsets = np.array(ratings.subsets)
    return {
        "all": np.ones(len(ratings), np.bool_),
        "clean": clean,
        **{name: subsets == name for name in sorted(set(ratings.subsets))},
    }


def interval_table(ratings: Ratings, scores: Scores, parts: dict[str, NDArray[np.bool_]]) -> Table:
    """Share of ratings inside the intervals, and mean width of the intervals."""
    rated = ratings.quality()
    inside = (scores.low <= rated) & (rated <= scores.high)
    width = scores.high - scores.low
    rows: list[tuple[Cell, ...]] = [
        (part, int(chosen.sum()), float(inside[chosen].mean()), float(width[chosen].mean()))
        for part, chosen in parts.items()
    ]
    return Table(("part", "n", "coverage of the interval", "mean width"), tuple(rows))


def comparison_table(
    ratings: Ratings, first: Scores, second: Scores, parts: dict[str, NDArray[np.bool_]]
) -> Table:
    """Difference of two sets of scores in SRCC and PLCC, by part."""
    rated = ratings.quality()
    rows: list[tuple[Cell, ...]] = []
    for part, chosen in parts.items():
        for statistic in STATISTICS:
            result = compare(first.quality[chosen], second.quality[chosen], rated[chosen], statistic)
            ends = f"{result.low:+.3f} to {result.high:+.3f}"
            rows.append((part, statistic.upper(), f"{result.difference:+.3f}", ends, f"{result.p_value:.4f}"))
    return Table(("part", "figure", "difference", "95 %", "p"), tuple(rows))


if __name__ == "__main__":
    run(main)
