"""Findings of single images as tables, a row each, for those who want to look further."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from foveal.evaluation.tables import Cell, Table
from foveal.lab.reasoning.diagnosis.attention import TOP
from foveal.lab.reasoning.diagnosis.collect import ReasonerDiagnosis
from foveal.lab.reasoning.diagnosis.diagnose import Diagnosis
from foveal.lab.reasoning.diagnosis.spans import KINDS

Row = tuple[Cell, ...]


def tables(diagnosis: Diagnosis) -> dict[str, Table]:
    """Tables by name; rows of the first reasoner come first in each."""
    words = tuple(f"p_{word}" for word in diagnosis.levels.words)
    top = diagnosis.reasoners[0].lens.tokens.shape[2]
    candidates = tuple(f"{kind}_{place}" for place in range(1, top + 1) for kind in ("token", "p"))
    headings = {
        "answers": (
            *("image", "mos", "reasoner", "answer", "description", "verdict", "likeliest", "score"),
            *words,
        ),
        "images": ("image", "mos", "reasoner", "score", "image_only", *_measures(diagnosis), "contradiction"),
        "counterfactuals": (
            *("image", "reasoner", "attribute", "wanted"),
            *("score_before", "score_after", "level_before", "level_after"),
        ),
        "information": ("reasoner", "attribute", "bits", "chance", "p_value", "mentioned"),
        "lens": ("image", "reasoner", "layer", *words, *candidates),
        "attention": (
            *("image", "reasoner", "layer"),
            *(f"on_{kind}" for kind in KINDS),
            f"on_top_{TOP}_image_tokens",
        ),
    }
    rows = {
        "answers": _answers,
        "images": _images,
        "counterfactuals": _counterfactuals,
        "information": _information,
        "lens": _lens,
        "attention": _attention,
    }
    return {
        name: Table(headings[name], tuple(row for one in diagnosis.reasoners for row in make(diagnosis, one)))
        for name, make in rows.items()
    }


def _measures(diagnosis: Diagnosis) -> tuple[str, ...]:
    return tuple(diagnosis.reasoners[0].stability.by_image)


def _answers(diagnosis: Diagnosis, one: ReasonerDiagnosis) -> Iterator[Row]:
    words, quality = diagnosis.levels.words, diagnosis.levels.quality
    for image, name in enumerate(diagnosis.names):
        # The likeliest answer is number 0, samples count from 1.
        for number, answer in enumerate([one.greedy[image], *one.answers[image]]):
            chances = [float(chance) for chance in answer.probabilities]
            likeliest, score = words[answer.likeliest], float(quality(answer.probabilities))
            said = (answer.description, answer.verdict, likeliest, score)
            yield (name, float(diagnosis.mos[image]), one.name, number, *said, *chances)


def _images(diagnosis: Diagnosis, one: ReasonerDiagnosis) -> Iterator[Row]:
    for image, name in enumerate(diagnosis.names):
        score = float(diagnosis.levels.quality(one.greedy[image].probabilities))
        alone = float("nan") if one.image_only is None else float(one.image_only[image])
        figures = (float(one.stability.by_image[kind][image]) for kind in _measures(diagnosis))
        against = float(one.grounding.by_image[image])
        yield (name, float(diagnosis.mos[image]), one.name, score, alone, *figures, against)


def _counterfactuals(diagnosis: Diagnosis, one: ReasonerDiagnosis) -> Iterator[Row]:
    words = diagnosis.levels.words
    for change in one.changes:
        yield (
            *(diagnosis.names[change.image], one.name, change.attribute, change.wanted),
            *(change.before, change.after, words[change.level_before], words[change.level_after]),
        )


def _information(_: Diagnosis, one: ReasonerDiagnosis) -> Iterator[Row]:
    for info in one.grounding.information:
        yield (one.name, info.attribute, info.bits, info.chance, info.p_value, info.mentioned)


def _lens(diagnosis: Diagnosis, one: ReasonerDiagnosis) -> Iterator[Row]:
    for image, layer in np.ndindex(one.lens.closed.shape[:2]):
        pairs = zip(one.words[image, layer], one.lens.probabilities[image, layer], strict=True)
        candidates = [cell for word, chance in pairs for cell in (str(word), float(chance))]
        chances = [float(chance) for chance in one.lens.closed[image, layer]]
        yield (diagnosis.names[image], one.name, layer + 1, *chances, *candidates)


def _attention(diagnosis: Diagnosis, one: ReasonerDiagnosis) -> Iterator[Row]:
    for image, layer in np.ndindex(one.attention.shares.shape[:2]):
        shares = [float(share) for share in one.attention.shares[image, layer]]
        few = float(one.attention.top[image, layer])
        yield (diagnosis.names[image], one.name, layer + 1, *shares, few)
