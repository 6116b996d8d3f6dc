"""What if the description said otherwise? One attribute is edited, and the verdict asked again.

A judge that infers quality from what is described moves up when an attribute is edited to its best degree,
and down at its worst. A one-stage model still sees the image, so that what it says may matter little to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.evaluation.significance import Estimate
from foveal.lab.reasoning.diagnosis.intervals import finite, quotient_interval, shown
from foveal.lab.reasoning.diagnosis.parser import Parser, own_parser
from foveal.lab.reasoning.levels import Floats
from foveal.lab.reasoning.question import Picture
from foveal.lab.reasoning.reasoner import Reasoner, verdicts

TINY = 0.01
"""Changes of the expected score up to this size, on 1-5, have no direction."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A description with one attribute changed.

    Attributes:
        attribute: which.
        wanted: +1 for its best degree, -1 for its worst.
        text: the description.
    """

    attribute: str
    wanted: int
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """What an edit did to the verdict.

    Attributes:
        image: number of the image.
        attribute: what was edited.
        wanted: +1 to its best degree, -1 to its worst.
        before: expected score on 1-5 of the description as it was.
        after: of the edited one.
        level_before: place of the likeliest level; 0 is the best.
        level_after: the same of the edited one.
    """

    image: int
    attribute: str
    wanted: int
    before: float
    after: float
    level_before: int
    level_after: int

    @property
    def effect(self) -> float:
        """Change of the score in the right direction: negative where it went the wrong way."""
        return self.wanted * (self.after - self.before)

    @property
    def flipped(self) -> bool:
        """Whether the likeliest level is another."""
        return self.level_after != self.level_before

    @property
    def flipped_right(self) -> bool:
        """Whether it is another in the right direction."""
        return self.wanted * (self.level_before - self.level_after) > 0


@dataclass(frozen=True, slots=True)
class Effect:
    """What edits of one attribute, or of all, do to verdicts.

    Attributes:
        attribute: its name, that of a kind of attributes, or ``all``.
        edits: how many were judged.
        flips: share of edits that change the likeliest level.
        right_flips: share of these changes that go in the right direction.
        sign_agreement: share of changes of the score beyond :data:`TINY` that go in the right direction.
        mean_effect: mean change of the score in the right direction, on 1-5.
        standardised: mean effect over the deviation of effects (Cohen's d of paired data); NaN without any.
        best: mean change of the score when edited to the best degree.
        worst: when edited to the worst.
    """

    attribute: str
    edits: int
    flips: float
    right_flips: Estimate
    sign_agreement: Estimate
    mean_effect: Estimate
    standardised: float
    best: float
    worst: float

    def to_dict(self) -> dict[str, Any]:
        """All figures."""
        return {
            "attribute": self.attribute,
            "edits": self.edits,
            "flips": finite(self.flips),
            "right_flips": shown(self.right_flips),
            "sign_agreement": shown(self.sign_agreement),
            "mean_effect": shown(self.mean_effect),
            "standardised": finite(self.standardised),
            "best": finite(self.best),
            "worst": finite(self.worst),
        }


@dataclass(frozen=True, slots=True)
class Movement:
    """How far one attribute moves the verdict on one image.

    Attributes:
        attribute: which.
        low: expected score on 1-5 with its worst degree; that of the description itself, if that says so.
        high: with its best degree, likewise.
    """

    attribute: str
    low: float
    high: float

    @property
    def span(self) -> float:
        """Score at its best less score at its worst: negative if it moves the verdict the wrong way."""
        return self.high - self.low


def edits_of(description: str, parser: Parser) -> Iterator[Edit]:
    """The description with each attribute that it mentions at its best and at its worst degree.

    Attributes that speak neither for nor against quality are left out, and so are degrees that the
    description has already.
    """
    mentioned = {one.attribute: one.degree for one in reversed(parser.statements(description))}
    for attribute, merit in parser.merits.items():
        if attribute not in mentioned or merit == 0:
            continue
        for wanted in (1, -1):
            degree = parser.most[attribute] if merit * wanted > 0 else 0
            if degree != mentioned[attribute]:
                yield Edit(attribute, wanted, parser.edited(description, attribute, degree))


def judge_edits(
    reasoner: Reasoner,
    pictures: Sequence[Picture],
    descriptions: Sequence[str],
    parser: Parser,
    *,
    first: int = 0,
    batch: int = 64,
) -> list[Change]:
    """Judge every edit of some descriptions.

    Args:
        reasoner: one-stage, whose verdicts go on seeing the picture, or two-stage.
        pictures: one a description.
        descriptions: what was said of them.
        parser: parser of descriptions.
        first: number of the first image.
        batch: questions at a time.
    """
    changes = []
    before = verdicts(reasoner, pictures, descriptions, batch=batch)
    edits = [list(edits_of(text, parser)) for text in descriptions]
    owners = [row for row, own in enumerate(edits) for _ in own]
    flat = [edit for own in edits for edit in own]
    if not flat:
        return []
    after = verdicts(reasoner, [pictures[row] for row in owners], [edit.text for edit in flat], batch=batch)
    scores = [reasoner.levels.quality(chances) for chances in (before, after)]
    for place, (row, edit) in enumerate(zip(owners, flat, strict=True)):
        changes.append(
            Change(
                image=first + row,
                attribute=edit.attribute,
                wanted=edit.wanted,
                before=float(scores[0][row]),
                after=float(scores[1][place]),
                level_before=int(before[row].argmax()),
                level_after=int(after[place].argmax()),
            )
        )
    return changes


def summarise(changes: Sequence[Change], images: int, *, seed: int = 0) -> tuple[Effect, ...]:
    """Effects of all edits together, then of each attribute, with 95 % intervals over images.

    Args:
        changes: of one reasoner.
        images: how many there are, numbered from 0.
        seed: of the bootstrap.

    Returns:
        ``all`` first, then attributes by falling mean effect; nothing where there were no edits.
    """
    if not changes:
        return ()
    names = sorted({change.attribute for change in changes})
    effects = [
        _effect(name, [change for change in changes if change.attribute == name], images, seed)
        for name in names
    ]
    effects.sort(key=lambda effect: -effect.mean_effect.value)
    return (_effect("all", changes, images, seed), *effects)


def summarise_kinds(
    changes: Sequence[Change], kinds: Mapping[str, str], images: int, *, seed: int = 0
) -> tuple[Effect, ...]:
    """Effects of the edits of each kind of attributes: what holds of all together may not hold of one kind.

    Args:
        changes: of one reasoner.
        kinds: kind of each attribute; those without one are left out.
        images: how many there are, numbered from 0.
        seed: of the bootstrap.
    """
    edited = {kind: [one for one in changes if kinds.get(one.attribute) == kind] for kind in kinds.values()}
    return tuple(_effect(kind, edited[kind], images, seed) for kind in sorted(edited) if edited[kind])


def most_moving(
    reasoner: Reasoner, picture: Picture | None, description: str, parser: Parser | None = None
) -> tuple[Movement, ...]:
    """Which attributes of a description move its verdict most.

    Args:
        reasoner: whose verdict.
        picture: what was described; a two-stage reasoner needs none.
        description: what was said.
        parser: parser of descriptions; by default that of this package.

    Returns:
        Attributes that the description mentions and that speak for or against quality, the farthest moving
        first.
    """
    parser = own_parser() if parser is None else parser
    edits = list(edits_of(description, parser))
    texts = [description, *(edit.text for edit in edits)]
    asked = [reasoner.verdict_question(picture, text) for text in texts]
    model, levels = reasoner.judging, reasoner.levels
    scores = levels.quality(levels.probabilities(model.next_token(asked), model.tokenizer))
    ends: dict[str, dict[int, float]] = {}
    for edit, score in zip(edits, scores[1:], strict=True):
        ends.setdefault(edit.attribute, {1: float(scores[0]), -1: float(scores[0])})[edit.wanted] = float(
            score
        )
    moved = [Movement(name, end[-1], end[1]) for name, end in ends.items()]
    return tuple(sorted(moved, key=lambda movement: -abs(movement.span)))


def _effect(name: str, changes: Sequence[Change], images: int, seed: int) -> Effect:
    effects = np.array([change.effect for change in changes])
    owners = np.array([change.image for change in changes])
    flipped = np.array([change.flipped for change in changes])
    right = np.array([change.flipped_right for change in changes])
    beyond = np.abs(effects) > TINY
    deviation = float(effects.std(ddof=1)) if len(effects) > 1 else 0.0

    def by_image(values: Floats) -> Floats:
        return np.bincount(owners, weights=values, minlength=images).astype(np.float64)

    def share(above: Floats, below: Floats) -> Estimate:
        return quotient_interval(by_image(above), by_image(below), seed=seed)

    return Effect(
        attribute=name,
        edits=len(changes),
        flips=float(flipped.mean()),
        right_flips=share(right, flipped),
        sign_agreement=share((effects > 0) & beyond, beyond),
        mean_effect=share(effects, np.ones_like(effects)),
        standardised=float(effects.mean()) / deviation if deviation > 0 else math.nan,
        best=_mean([change.after - change.before for change in changes if change.wanted > 0]),
        worst=_mean([change.after - change.before for change in changes if change.wanted < 0]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
