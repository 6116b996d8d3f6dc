"""Two-stage reasoning over training seeds: one table from the figures of several ``foveal diagnose`` runs.

Usage:
  foveal diagnose runs/two-stage-0 BIQ2021 --dataset biq2021 --out diagnoses/0    # and so for 1, 2
  python benchmarks/reasoning_seeds.py diagnoses/*/diagnosis.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figures = dict[str, Any]


@dataclass(frozen=True)
class Measure:
    """A row: what it is called, where it stands, how it is shown."""

    name: str
    read: Callable[[Figures], float | None]
    percent: bool = True


def _all_edits(figures: Figures) -> Figures:
    return next(effect for effect in figures["counterfactuals"] if effect["attribute"] == "all")


def _image_only(figures: Figures) -> float | None:
    found = figures["image_only_agreement"]
    return None if found is None else found["srcc"]["value"]


MEASURES = (
    Measure("verdict differs when asked again (a)", lambda f: f["stability"]["differing"]["value"]),
    Measure("pairs of answers that disagree (b)", lambda f: f["stability"]["disagreement"]["value"]),
    Measure("flips within the last 2 layers (c)", lambda f: f["stability"]["late_flips"]["value"]),
    Measure(
        "(a) of the likeliest level, only the description drawn",
        lambda f: f["stability"]["differing_likeliest"]["value"],
    ),
    Measure("answers that contradict themselves", lambda f: f["grounding"]["contradiction"]["value"]),
    Measure(
        "the same, of answers in which both take a side",
        lambda f: f["grounding"]["contradiction_of_sided"]["value"],
    ),
    Measure("R squared of the score on what is said", lambda f: f["grounding"]["r2"]["value"], percent=False),
    Measure("edits that change the level", lambda f: _all_edits(f)["flips"]),
    Measure("of these, in the right direction", lambda f: _all_edits(f)["right_flips"]["value"]),
    Measure("edits move the score the right way", lambda f: _all_edits(f)["sign_agreement"]["value"]),
    Measure("mean effect of an edit, on 1-5", lambda f: _all_edits(f)["mean_effect"]["value"], percent=False),
    Measure(
        "attention of the verdict on the description, mean of the layers",
        lambda f: statistics.mean(shares[1] for shares in f["attention"]["shares_by_layer"]),
    ),
    Measure("SRCC with people", lambda f: f["agreement"]["srcc"]["value"], percent=False),
    Measure("PLCC with people", lambda f: f["agreement"]["plcc"]["value"], percent=False),
    Measure("SRCC straight from the image", _image_only, percent=False),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, help="diagnosis.json of each seed's run")
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in parser.parse_args().files]
    names = list(runs[0]["reasoners"])
    print(f"{len(runs)} seeds, {' / '.join(str(run['images']) for run in runs)} images, mean ± deviation\n")
    print(f"| measure | {' | '.join(names)} | {names[-1]} over {names[0]} |")
    print("|---|" + "---:|" * (len(names) + 1))
    for measure in MEASURES:
        columns = [[measure.read(run["reasoners"][name]) for run in runs] for name in names]
        ratio = _ratio(columns[-1], columns[0]) if measure.percent else ""
        cells = [_shown(column, measure.percent) for column in columns]
        print(f"| {measure.name} | {' | '.join(cells)} | {ratio} |")


def _shown(values: list[float | None], percent: bool) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    scale, digits, unit = (100, 1, " %") if percent else (1, 3, "")
    spread = f" ± {scale * statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{scale * statistics.mean(known):.{digits}f}{spread}{unit}"


def _ratio(above: list[float | None], below: list[float | None]) -> str:
    ratios = [one / other for one, other in zip(above, below, strict=True) if one is not None and other]
    return _shown(list(ratios), percent=False) if ratios else "-"


if __name__ == "__main__":
    main()
