"""A diagnosis in a table of figures and a few sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from foveal.evaluation.significance import Estimate
from foveal.evaluation.tables import Table
from foveal.lab.reasoning.diagnosis.collect import ReasonerDiagnosis
from foveal.lab.reasoning.diagnosis.diagnose import Diagnosis
from foveal.lab.reasoning.diagnosis.intervals import LEVEL, Paired, mean_interval

_NONE = Estimate(math.nan, math.nan, math.nan, LEVEL)


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of each reasoner.

    Attributes:
        label: what it is.
        values: an estimate for each; NaN where undefined.
        higher: whether more is better; None where neither is.
        percent: whether it is a share.
        paired: the two on the same images, where that is known.
    """

    label: str
    values: tuple[Estimate, ...]
    higher: bool | None
    percent: bool = True
    paired: Paired | None = None

    @property
    def best(self) -> int | None:
        """Which reasoner is better beyond chance: the interval of the difference leaves out 0.

        Where figures are not compared image by image, their intervals must not overlap.
        """
        figures = [one.value for one in self.values]
        if self.higher is None or len(figures) < 2 or not all(map(math.isfinite, figures)):
            return None
        if self.paired is not None:
            clear = self.paired.difference.low > 0 or self.paired.difference.high < 0
        else:
            first, second = self.values
            clear = first.high < second.low or second.high < first.low
        if not clear:
            return None
        return figures.index(max(figures) if self.higher else min(figures))

    def text(self, value: float) -> str:
        """A value for people."""
        if not math.isfinite(value):
            return "-"
        return f"{100 * value:.1f} %" if self.percent else f"{value:.3f}"


def measures(diagnosis: Diagnosis) -> tuple[Measure, ...]:
    """The figures that matter most."""
    found = diagnosis.reasoners
    grounded = [one.grounding for one in found]
    edited = [one.effects[0] if one.effects else None for one in found]
    compared = diagnosis.compared or {}

    def of_edits(name: str) -> tuple[Estimate, ...]:
        return tuple(_NONE if one is None else getattr(one, name) for one in edited)

    def unstable(label: str, name: str) -> Measure:
        values = tuple(getattr(one.stability, name) for one in found)
        return Measure(label, values, higher=False, paired=compared.get(name))

    return (
        unstable("Verdict differs when asked again (a)", "differing"),
        unstable("Pairs of answers that disagree (b)", "disagreement"),
        unstable("Likeliest level differs with the description (a)", "differing_likeliest"),
        unstable(f"Flips within the last {found[0].stability.last_layers} layers (c)", "late_flips"),
        Measure(
            "Score explained by what is said (R²)",
            tuple(one.r2 for one in grounded),
            higher=True,
            percent=False,
        ),
        *_explained_by_kind(found),
        Measure(
            "Answers that contradict themselves",
            tuple(one.contradiction for one in grounded),
            higher=False,
            paired=compared.get("contradiction"),
        ),
        Measure("Edits that change the level do so the right way", of_edits("right_flips"), higher=True),
        Measure("Edits move the score the right way", of_edits("sign_agreement"), higher=True),
        *_by_kind(found),
        Measure("Mean effect of an edit on the score", of_edits("mean_effect"), higher=True, percent=False),
        Measure(
            "Attention on the description", tuple(described_attention(one) for one in found), higher=None
        ),
        Measure(
            "SRCC with people", tuple(one.agreement["srcc"] for one in found), higher=True, percent=False
        ),
        Measure(
            "PLCC with people", tuple(one.agreement["plcc"] for one in found), higher=True, percent=False
        ),
    )


def _explained_by_kind(found: Sequence[ReasonerDiagnosis]) -> Iterator[Measure]:
    """R squared again, on the attributes of each kind alone."""
    for kind in found[0].grounding.r2_by_kind:
        values = tuple(one.grounding.r2_by_kind[kind] for one in found)
        yield Measure(f"... by {kind} alone", values, higher=None, percent=False)


def _by_kind(found: Sequence[ReasonerDiagnosis]) -> Iterator[Measure]:
    """The direction of edits again, for each kind of attributes."""
    by_kind = [{effect.attribute: effect for effect in one.kinds} for one in found]
    for kind in dict.fromkeys(name for kinds in by_kind for name in kinds):
        values = tuple(kinds[kind].sign_agreement if kind in kinds else _NONE for kinds in by_kind)
        yield Measure(f"... edits of {kind}", values, higher=True)


def summary_table(diagnosis: Diagnosis) -> Table:
    """The same for a terminal."""
    names = tuple(one.name for one in diagnosis.reasoners)
    rows = tuple(
        (measure.label, *(measure.text(one.value) for one in measure.values))
        for measure in measures(diagnosis)
    )
    return Table(("measure", *names), rows)


def sentences(diagnosis: Diagnosis) -> Iterator[str]:
    """What was found, in words."""
    times = diagnosis.config.samples
    shares = ", ".join(
        f"on {_percent(one.stability.differing)} of images ({one.name})" for one in diagnosis.reasoners
    )
    yield f"Asked {times} times, the verdict is not always the same {shares}{_ratio(diagnosis, 'differing')}."
    explained = ", ".join(
        f"{max(one.grounding.r2.value, 0):.0%} ({one.name})"
        for one in diagnosis.reasoners
        if math.isfinite(one.grounding.r2.value)
    )
    if explained:
        yield f"Of the variance of scores, the described attributes explain {explained}."
    against = ", ".join(
        f"{_percent(one.grounding.contradiction)} ({one.name})" for one in diagnosis.reasoners
    )
    yield f"Answers whose description speaks one way and whose verdict goes the other: {against}."
    moved = ", ".join(
        f"by {one.effects[0].mean_effect.value:+.2f} on average ({one.name}, right way in "
        f"{_percent(one.effects[0].sign_agreement)})"
        for one in diagnosis.reasoners
        if one.effects
    )
    if moved:
        yield f"Editing one described attribute moves the score {moved}."
    looked = ", ".join(f"{_percent(described_attention(one))} ({one.name})" for one in diagnosis.reasoners)
    yield f"Of the verdict's attention, the description holds {looked}."


def described_attention(one: ReasonerDiagnosis) -> Estimate:
    """Share of the verdict's attention that the description holds, mean over layers."""
    return mean_interval(one.attention.shares[:, :, 1].mean(axis=1))


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f} %" if math.isfinite(estimate.value) else "an undefined share"


def _ratio(diagnosis: Diagnosis, name: str) -> str:
    if diagnosis.compared is None:
        return ""
    ratio = diagnosis.compared[name].ratio
    if not math.isfinite(ratio.value):
        return ""
    return f": {ratio.value:.2f} times as many (95 % interval {ratio.low:.2f} to {ratio.high:.2f})"
