"""Two-stage reasoning over training seeds: one table from the figures of several ``foveal diagnose`` runs.

Usage:
  foveal diagnose runs/two-stage-0 BIQ2021 --dataset biq2021 --out diagnoses/0    # and so for 1, 2
  python benchmarks/reasoning_seeds.py diagnoses/?/diagnosis.json --control diagnoses/c*/diagnosis.json

The control is a one-stage model whose verdicts learn what the judge learns (``verdict.one_stage_rule``): what
two stages change beside it is due to the stages, and not to targets that are averages of ratings.
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
CONTROL = "control"
"""Column of one-stage models that learnt the judge's targets."""


@dataclass(frozen=True)
class Measure:
    """A row: what it is called, where it stands, how it is shown."""

    name: str
    read: Callable[[Figures], float | None]
    percent: bool = True


def _all_edits(figures: Figures) -> Figures:
    return next(effect for effect in figures["counterfactuals"] if effect["attribute"] == "all")


def _of_kind(kind: str) -> Callable[[Figures], float | None]:
    def read(figures: Figures) -> float | None:
        found = [one for one in figures["counterfactuals_by_kind"] if one["attribute"] == kind]
        return found[0]["sign_agreement"]["value"] if found else None

    return read


def _r2_of(kind: str) -> Callable[[Figures], float | None]:
    return lambda figures: figures["grounding"]["r2_by_kind"][kind]["value"]


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
    Measure("... on impressions alone", _r2_of("impressions"), percent=False),
    Measure("... on what is measured alone", _r2_of("measured"), percent=False),
    Measure("edits that change the level", lambda f: _all_edits(f)["flips"]),
    Measure("of these, in the right direction", lambda f: _all_edits(f)["right_flips"]["value"]),
    Measure("edits move the score the right way", lambda f: _all_edits(f)["sign_agreement"]["value"]),
    Measure("... edits of impressions", _of_kind("impressions")),
    Measure("... edits of what is measured", _of_kind("measured")),
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
    parser.add_argument("--control", nargs="*", type=Path, default=[], help="diagnosis.json of each control")
    options = parser.parse_args()
    runs, controls = ([_read(path) for path in paths] for paths in (options.files, options.control))
    columns = {name: [run["reasoners"][name] for run in runs] for name in runs[0]["reasoners"]}
    if controls:
        columns[CONTROL] = [control["reasoners"]["one-stage"] for control in controls]
    print(f"{_counted(runs)} images; {len(runs)} seeds", end="")
    print(f", {len(controls)} controls" if controls else "", end="; mean ± deviation over seeds\n\n")
    above = columns.pop("two-stage")
    names = [*columns, "two-stage", *(f"two-stage over {name}" for name in columns)]
    print(f"| measure | {' | '.join(names)} |")
    print("|---|" + "---:|" * len(names))
    for measure in MEASURES:
        two, others = _values(measure, above), [_values(measure, column) for column in columns.values()]
        cells = [_shown(values, measure.percent) for values in (*others, two)]
        cells += [_ratio(two, other) if measure.percent else "" for other in others]
        print(f"| {measure.name} | {' | '.join(cells)} |")


def _read(path: Path) -> Figures:
    figures: Figures = json.loads(path.read_text(encoding="utf-8"))
    return figures


def _counted(runs: list[Figures]) -> str:
    return " / ".join(dict.fromkeys(str(run["images"]) for run in runs))


def _values(measure: Measure, column: list[Figures]) -> list[float | None]:
    return [measure.read(figures) for figures in column]


def _shown(values: list[float | None], percent: bool) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    scale, digits, unit = (100, 1, " %") if percent else (1, 3, "")
    spread = f" ± {scale * statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{scale * statistics.mean(known):.{digits}f}{spread}{unit}"


def _ratio(above: list[float | None], below: list[float | None]) -> str:
    """Ratio seed by seed; where there are fewer controls than seeds, of those that there are."""
    pairs = zip(above, below, strict=False)
    ratios: list[float | None] = [one / other for one, other in pairs if one is not None and other]
    return _shown(ratios, percent=False)


if __name__ == "__main__":
    main()
