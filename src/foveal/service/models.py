"""The models of a service: loaded once at its start, warmed up, chosen by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foveal.assessor import Assessor
from foveal.errors import FovealError
from foveal.explanation.explainer import Explainer
from foveal.service.batcher import Combiner
from foveal.service.errors import ServiceError
from foveal.service.metrics import Metrics
from foveal.service.schemas import AspectInfo, ModelInfo
from foveal.service.settings import Settings


class DuplicateModelError(FovealError):
    """Two models of a service have the same name and version."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An assessor, and what works with it.

    Attributes:
        assessor: prepares images.
        judge: judges them, in batches where its engine wants them.
        explainer: explains images with its score; None where nothing does.
    """

    assessor: Assessor
    judge: Combiner
    explainer: Explainer | None

    def warm_up(self, side: int) -> None:
        """Judge and explain a picture, so that no client waits for what is done once only.

        Args:
            side: of the picture, in pixels.
        """
        picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        prompt = None if self.assessor.card.prompt is None else "a picture"
        self.judge(self.assessor.prepare(picture, prompt=prompt))
        if self.explainer is not None:
            self.explainer(picture)

    def info(self, *, default: bool) -> ModelInfo:
        """What a client may know of it."""
        card = self.assessor.card
        return ModelInfo(
            model=card.model,
            name=card.name,
            version=card.version,
            default=default,
            summary=card.summary,
            licence=card.licence,
            training_data=card.training_data,
            aspects=[
                AspectInfo(name=name, needs_prompt=spec.needs_prompt)
                for name, spec in sorted(card.aspects.items())
            ],
            reads_prompts=card.prompt is not None,
            explains=self.explainer is not None,
            coverage=card.calibration.coverage,
            measured_coverage=card.calibration.measured_coverage,
            measured=dict(card.measured),
        )


class Models:
    """All models of a service.

    Args:
        models: the first is the default one; at least one.

    Raises:
        DuplicateModelError: two have the same name and version.
    """

    def __init__(self, models: Sequence[LoadedModel]) -> None:
        self._models: dict[str, LoadedModel] = {}
        for model in models:
            name = model.assessor.card.model
            if name in self._models:
                raise DuplicateModelError(f"{name}: this model is given twice; leave one out")
            self._models[name] = model
        self.default = models[0]

    def all(self) -> Sequence[LoadedModel]:
        """Every model, the default one first."""
        return list(self._models.values())

    def pick(self, name: str | None) -> LoadedModel:
        """The model of a name, with or without its version; without it, the first one.

        Raises:
            ServiceError: ``unknown_model``.
        """
        if name is None:
            return self.default
        if name in self._models:
            return self._models[name]
        for model in self._models.values():
            if model.assessor.card.name == name:
                return model
        raise ServiceError("unknown_model", f"loaded are {', '.join(self._models)}", field="model")


@dataclass(frozen=True, slots=True)
class Engines:
    """What runs the models; see :func:`foveal.load`."""

    engine: str = "auto"
    device: str = "auto"
    threads: int | None = None


def load_models(
    names: Sequence[str | os.PathLike[str]],
    settings: Settings,
    metrics: Metrics,
    *,
    engines: Engines,
    explainer: str | os.PathLike[str] | None = None,
) -> Models:
    """Load assessors, and an explainer for each that reads no prompts, unless there are no explanations.

    Args:
        names: shipped assessors or files; the first is the default one.
        settings: of the service.
        metrics: told the size of every batch.
        engines: what runs them.
        explainer: file of the explainer; None for the shipped one.

    Raises:
        FovealError: one cannot be used here.
    """
    import foveal
    from foveal.explanation.explainer import load_explainer

    limits, found = settings.limits, []
    for name in names:
        assessor = foveal.load(
            name, engine=engines.engine, device=engines.device, threads=engines.threads, limits=limits
        )
        reads_prompts = assessor.card.prompt is not None
        if reads_prompts:
            assessor.check_prompts(())  # better now than with every request
        explaining = None
        if settings.explain_workers and not reads_prompts:
            explaining = load_explainer(explainer, assessor=assessor, limits=limits)
        found.append(
            LoadedModel(assessor, Combiner(assessor, settings.batch_wait, metrics.batch), explaining)
        )
    return Models(found)
