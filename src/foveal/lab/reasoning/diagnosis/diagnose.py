"""Diagnose how models reason about quality: are verdicts steady, do they follow from what is said, and how?

Every diagnostic of the two-stage paper (arXiv 2512.09555), for any image-text-to-text model, one way to a
verdict beside another on the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import foveal
from foveal.errors import RatingsError
from foveal.lab.reasoning.diagnosis.collect import DiagnoseConfig, ReasonerDiagnosis, collect
from foveal.lab.reasoning.diagnosis.intervals import Paired, compare_means
from foveal.lab.reasoning.diagnosis.parser import Parser, own_parser
from foveal.lab.reasoning.diagnosis.pictures import Reading
from foveal.lab.reasoning.levels import Floats, LevelSet
from foveal.lab.reasoning.reasoner import Reasoner
from foveal.ratings.table import Ratings

__all__ = ["IMAGES", "DiagnoseConfig", "Diagnosis", "diagnose"]

IMAGES = 720
"""As many as the paper averages attention over."""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What was found about one reasoner or two.

    Attributes:
        model: what they are, for the title.
        ratings: name of the rated set.
        names: of the images.
        paths: where they lie.
        mos: float64 (images,), people's ratings on 1-5; NaN where there is none.
        levels: words of the verdict.
        merits: which way each attribute speaks, by its name.
        config: how was asked.
        reasoners: findings, in the order given.
        unreadable: images that were left out, with the reason.
        compared: second reasoner against the first in each figure of single images; None of one alone.
    """

    model: str
    ratings: str
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    mos: Floats
    levels: LevelSet
    merits: dict[str, int]
    config: DiagnoseConfig
    reasoners: tuple[ReasonerDiagnosis, ...]
    compared: dict[str, Paired] | None
    unreadable: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All figures, for JSON; what is undefined is None."""
        both = None
        if self.compared is not None:
            first, second = self.reasoners
            figures = {name: paired.to_dict() for name, paired in self.compared.items()}
            both = {"first": first.name, "second": second.name, **figures}
        return {
            "foveal": foveal.__version__,
            "model": self.model,
            "ratings": self.ratings,
            "images": len(self.names),
            "unreadable": self.unreadable,
            "levels": dict(zip(self.levels.words, self.levels.values, strict=True)),
            "config": asdict(self.config),
            "reasoners": {one.name: one.to_dict() for one in self.reasoners},
            "compared": both,
        }


def diagnose(
    reasoners: Sequence[Reasoner],
    ratings: Ratings,
    config: DiagnoseConfig | None = None,
    *,
    images: int = IMAGES,
    model: str = "model",
    parser: Parser | None = None,
    tell: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Diagnosis:
    """Run all diagnostics.

    Args:
        reasoners: one or two, such as :class:`OneStage` and :class:`TwoStage`; of the same levels.
        ratings: rated images.
        config: how they are asked.
        images: of the rated ones so many are drawn, in the table's order; all if there are fewer.
        model: what to call what is diagnosed.
        parser: parser of descriptions; by default that of this package.
        tell: called as it goes on, with what is done, and how many of how many pictures.

    Returns:
        Findings. The same models, images, settings and batch size give the same.

    Raises:
        ValueError: not one or two reasoners, or they differ in levels or not in name.
        RatingsError: fewer than two images are rated, or can be read.
        BackboneError: a model does not show what a diagnostic needs.
    """
    config = config or DiagnoseConfig()
    parser = parser or own_parser()
    if len(reasoners) not in (1, 2) or len({one.name for one in reasoners}) < len(reasoners):
        raise ValueError("one reasoner, or two of different names, can be diagnosed")
    if any(one.levels != reasoners[0].levels for one in reasoners):
        raise ValueError("reasoners are compared in the same levels")
    chosen = _choose(ratings, images, config.seed)
    batches = [
        list(
            zip(
                chosen.names[start : start + config.batch],
                chosen.images[start : start + config.batch],
                strict=True,
            )
        )
        for start in range(0, len(chosen), config.batch)
    ]
    reading = Reading()
    collectors = collect(reasoners, batches, reading.read, config=config, parser=parser, tell=tell)
    chosen = chosen.take(chosen.indices([name for name in chosen.names if name not in reading.failed]))
    if len(chosen) < 2:
        raise RatingsError(
            f"{ratings.card.name}: {len(reading.failed)} images cannot be read, {len(chosen)} can"
        )
    mos = chosen.quality()
    found = tuple(collector.measure(mos) for collector in collectors)
    return Diagnosis(
        model=model,
        ratings=ratings.card.name,
        names=chosen.names,
        paths=chosen.images,
        mos=mos,
        levels=reasoners[0].levels,
        merits=dict(parser.merits),
        config=config,
        reasoners=found,
        compared=_compare(*found, seed=config.seed) if len(found) == 2 else None,
        unreadable=reading.failed,
    )


def _choose(ratings: Ratings, images: int, seed: int) -> Ratings:
    rated = np.flatnonzero(np.isfinite(ratings.quality()))
    if len(rated) < 2 or images < 2:
        raise RatingsError(
            f"{ratings.card.name}: {min(len(rated), images)} rated images; at least 2 are needed"
        )
    if len(rated) > images:
        rated = np.sort(np.random.default_rng(seed).choice(rated, images, replace=False))
    return ratings.take(rated)


def _compare(first: ReasonerDiagnosis, second: ReasonerDiagnosis, *, seed: int) -> dict[str, Paired]:
    columns = {
        name: (column, second.stability.by_image[name]) for name, column in first.stability.by_image.items()
    }
    columns["contradiction"] = (first.grounding.by_image, second.grounding.by_image)
    return {name: compare_means(*pair, seed=seed) for name, pair in columns.items()}
