"""The plots of a diagnosis, by name."""

from __future__ import annotations

import math

import numpy as np

from foveal.evaluation.significance import Estimate
from foveal.lab.reasoning.diagnosis.attention import TOP
from foveal.lab.reasoning.diagnosis.collect import ReasonerDiagnosis
from foveal.lab.reasoning.diagnosis.counterfactual import Effect
from foveal.lab.reasoning.diagnosis.diagnose import Diagnosis
from foveal.lab.reasoning.diagnosis.intervals import LEVEL
from foveal.lab.reasoning.diagnosis.plots import (
    KIND_COLOURS,
    DotRow,
    ReachRow,
    StackRow,
    dots,
    grid,
    level_colours,
    reaches,
    stacks,
)
from foveal.lab.reasoning.diagnosis.spans import KINDS

MOST = 16
"""Attributes in a plot."""
_NONE = Estimate(math.nan, math.nan, math.nan, LEVEL)


def plots(diagnosis: Diagnosis) -> dict[str, str]:
    """All plots as SVG by name; those of one reasoner end in its name. Some are left out without data."""
    found = {
        "stability": _stability(diagnosis),
        "grounding": _grounding(diagnosis),
        "information": _information(diagnosis),
        "agreement": _agreement(diagnosis),
    }
    if any(one.effects for one in diagnosis.reasoners):
        found["counterfactual"] = _counterfactual(diagnosis)
        found["counterfactual-directions"] = _directions(diagnosis)
    for one in diagnosis.reasoners:
        found[f"lens-{one.name}"] = _lens(diagnosis, one)
        found[f"attention-{one.name}"] = _attention(one)
        if one.attention.image_map is not None:
            found[f"attention-map-{one.name}"] = grid(
                one.attention.image_map.mean(axis=0),
                title=f"{one.name}: attention of the verdict over the image, mean over layers and images",
                name=f"map-{one.name}",
            )
    return found


def shown_attribute(name: str) -> str:
    """An attribute's name for people."""
    return name.replace("_", " ")


def _names(diagnosis: Diagnosis) -> list[str]:
    return [one.name for one in diagnosis.reasoners]


def _stability(diagnosis: Diagnosis) -> str:
    last = diagnosis.reasoners[0].stability.last_layers
    labels = {
        "differing": "a. verdicts differ",
        "disagreement": "b. pairs disagree",
        "differing_likeliest": "a. of likeliest levels",
        "disagreement_likeliest": "b. of likeliest levels",
        "late_flips": f"c. flips in last {last} layer{'s' if last > 1 else ''}",
    }
    rows = [
        DotRow(label, tuple(getattr(one.stability, name) for one in diagnosis.reasoners))
        for name, label in labels.items()
    ]
    return dots(
        rows,
        _names(diagnosis),
        title="Instability by three definitions; less is steadier",
        axis="instability (0 % is steady), with 95 % intervals",
        name="stability",
        percent=True,
    )


def _grounding(diagnosis: Diagnosis) -> str:
    of = [one.grounding for one in diagnosis.reasoners]
    rows = [
        DotRow("score explained (R²)", tuple(one.r2 for one in of)),
        DotRow("answers that contradict", tuple(one.contradiction for one in of)),
        DotRow("... where both take sides", tuple(one.contradiction_of_sided for one in of)),
    ]
    return dots(
        rows,
        _names(diagnosis),
        title="Variance of the score that described attributes explain, and contradicting answers",
        axis="share, with 95 % intervals",
        name="grounding",
        percent=True,
    )


def _information(diagnosis: Diagnosis) -> str:
    of = [one.grounding.information for one in diagnosis.reasoners]
    told = [place for place in range(len(of[0])) if any(infos[place].mentioned for infos in of)]
    order = sorted(told or [0], key=lambda place: -max(infos[place].bits for infos in of))[:MOST]
    rows = [
        DotRow(
            shown_attribute(of[0][place].attribute),
            tuple(Estimate(infos[place].bits, math.nan, math.nan, LEVEL) for infos in of),
            tuple(infos[place].chance for infos in of),
        )
        for place in order
    ]
    return dots(
        rows,
        _names(diagnosis),
        title="What each described attribute tells of the verdict",
        axis="mutual information with the verdict, bits (line: by chance)",
        name="information",
    )


def _agreement(diagnosis: Diagnosis) -> str:
    rows = []
    for kind in ("srcc", "plcc"):
        rows.append(
            DotRow(f"{kind.upper()}, described", tuple(one.agreement[kind] for one in diagnosis.reasoners))
        )
        if any(one.image_agreement for one in diagnosis.reasoners):
            alone = tuple((one.image_agreement or {}).get(kind, _NONE) for one in diagnosis.reasoners)
            rows.append(DotRow(f"{kind.upper()}, image only", alone))
    return dots(
        rows,
        _names(diagnosis),
        title="Agreement of closed-set scores with people",
        axis="correlation with MOS, with 95 % intervals",
        name="agreement",
    )


def _counterfactual(diagnosis: Diagnosis) -> str:
    by_name: list[dict[str, Effect]] = [
        {effect.attribute: effect for effect in one.effects[1:]} for one in diagnosis.reasoners
    ]
    every = {name for effects in by_name for name in effects}

    def size(name: str) -> float:
        return max(abs(effects[name].mean_effect.value) for effects in by_name if name in effects)

    chosen = sorted(every, key=lambda name: (-size(name), name))[:MOST]
    rows = [
        ReachRow(
            shown_attribute(name),
            tuple(
                (effects[name].worst, effects[name].best) if name in effects else (math.nan, math.nan)
                for effects in by_name
            ),
        )
        for name in chosen
    ]
    return reaches(
        rows,
        _names(diagnosis),
        title="Change of the score when one attribute of the description is edited to its worst or best",
        axis="mean change of the score: worst degree (hollow), best degree (filled)",
        name="counterfactual",
    )


def _directions(diagnosis: Diagnosis) -> str:
    wholes = [one.effects[0] if one.effects else None for one in diagnosis.reasoners]
    rows = [
        DotRow(
            "score moves the right way",
            tuple(_NONE if whole is None else whole.sign_agreement for whole in wholes),
        ),
        DotRow(
            "flips go the right way",
            tuple(_NONE if whole is None else whole.right_flips for whole in wholes),
        ),
    ]
    return dots(
        rows,
        _names(diagnosis),
        title="How often an edited attribute moves the verdict in the right direction",
        axis="share of changes, with 95 % intervals (by chance 50 %)",
        name="directions",
        percent=True,
    )


def _lens(diagnosis: Diagnosis, one: ReasonerDiagnosis) -> str:
    mean, agreed = one.lens.closed.mean(axis=0), one.lens.agreement
    rows = [
        StackRow(
            f"{'output, ' if layer == len(mean) else ''}layer {layer}",
            tuple(float(share) for share in mean[layer - 1]),
            "" if layer == len(mean) else f"{agreed[layer - 1]:.0%}",
        )
        for layer in range(len(mean), 0, -1)
    ]
    return stacks(
        rows,
        diagnosis.levels.words,
        level_colours(len(diagnosis.levels.words)),
        title=f"{one.name}: mean probability of each level word by layer",
        name=f"lens-{one.name}",
        heading="as the output",
    )


def _attention(one: ReasonerDiagnosis) -> str:
    shares, few = one.attention.shares.mean(axis=0), one.attention.top.mean(axis=0)
    seen = bool(one.attention.tokens[:, 0].any())
    rows = [
        StackRow(
            f"layer {layer}",
            tuple(float(share) for share in shares[layer - 1]),
            f"{few[layer - 1]:.0%}" if seen else "",
        )
        for layer in range(len(shares), 0, -1)
    ]
    tokens = one.attention.tokens.mean(axis=0)
    counts = np.round(tokens / tokens.sum(), 6)
    rows.append(StackRow("share of tokens", tuple(float(share) for share in counts)))
    return stacks(
        rows,
        KINDS,
        KIND_COLOURS,
        title=f"{one.name}: attention of the verdict by layer, mean over images",
        name=f"attention-{one.name}",
        heading=f"top {TOP} image" if seen else "",
    )
