"""From a trained model to an artifact that the ground floor runs, and the proof that both score alike."""

from __future__ import annotations

import copy
import datetime
import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foveal.artifact.card import PROMPT_IDS, PROMPT_MASK, AspectSpec, Card, PromptSpec, SideRange, ViewSpec
from foveal.artifact.file import read_artifact, write_artifact
from foveal.assessor import cut_views
from foveal.errors import FovealError
from foveal.imaging.decode import decode
from foveal.lab.backbones.base import Backbone
from foveal.lab.backbones.tuning import merge_tuning
from foveal.lab.export import GraphError, example_views, to_artifact, to_onnx
from foveal.lab.models.base import Judgement
from foveal.lab.trained import TrainedModel
from foveal.prompts import PromptReader
from foveal.runtime.convert import made_pictures
from foveal.runtime.engine import OUTPUTS, Batch
from foveal.runtime.select import make_engine

TOLERANCE = 1e-3
"""Largest difference of quality, on the 1-5 scale, between torch and the artifact."""
_PROMPTS = (
    "a red bicycle against a white wall",
    "",
    "portrait of an old man, oil on canvas, highly detailed",
)


class ExportError(FovealError):
    """There is no artifact, or it does not score as the model does."""


@dataclass(frozen=True)
class Agreement:
    """How an artifact's scores agree with those of the model that it came from.

    Attributes:
        images: number of pictures compared.
        quality: largest absolute difference of quality, on the 1-5 scale.
        spread: largest absolute difference of the interval's half width, likewise.
        aspects: largest absolute difference of any further aspect, likewise; 0 if there is none.
    """

    images: int
    quality: float
    spread: float
    aspects: float = 0.0


class ArtifactGraph(nn.Module):
    """A model as the ground floor calls it: views one by one, in the card's order, and prompts behind them.

    It gives quality and spread of the first target, further targets and, if the model can, a map of local
    quality.

    Args:
        model: the trained model.
        draws: sets of fragments whose judgements are averaged; each is an input of its own.
    """

    def __init__(self, model: TrainedModel, draws: int = 1) -> None:
        super().__init__()
        self.model = model
        self.draws = draws
        self.views = artifact_views(model.network.views, draws)
        self.prompts = (PROMPT_IDS, PROMPT_MASK) if model.network.text is not None else ()
        self.inputs = (*self.views, *self.prompts)
        further = model.network.targets[1:]
        self.outputs = (*OUTPUTS, *further, *(("quality_map",) if model.network.has_map else ()))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Judge a batch.

        Args:
            inputs: views, uint8 (batch, side, side, 3) each; if the model reads prompts, their ids and masks,
                int64 (batch, length).

        Returns:
            (batch,) of quality, spread and each further target; map (batch, rows, columns) if there is one.
        """
        given = dict(zip(self.inputs, inputs, strict=True))
        prompts = {name: given[name] for name in self.prompts}
        if prompts:
            prompts[PROMPT_MASK] = prompts[PROMPT_MASK] > 0
        specs = self.model.network.views
        drawn = [
            self._judge({name: given[_input(name, spec, draw)] for name, spec in specs.items()} | prompts)
            for draw in range(self.draws)
        ]
        return tuple(torch.stack(column).mean(dim=0) for column in zip(*drawn, strict=True))

    def _judge(self, views: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        network = self.model.network
        if network.has_map:
            judgement, cells = network.local_quality(views)
        else:
            judgement, cells = network(views), None
        columns = judgement_columns(judgement)
        return columns if cells is None else (*columns, cells)


def judgement_columns(judgement: Judgement) -> tuple[Tensor, ...]:
    """What an artifact gives, (batch,) each: quality and spread of the first target, and further targets."""
    quality, *further = judgement.quality.unbind(dim=1)
    return (quality, judgement.spread[:, 0], *further)


def artifact_views(views: Mapping[str, ViewSpec], draws: int = 1) -> dict[str, ViewSpec]:
    """Inputs of an artifact: those of the model, and of fragments one for each draw.

    Raises:
        ValueError: several draws are wanted of a model that sees no fragments, or fewer than one.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}, expected 1 or more")
    if draws > 1 and all(spec.kind != "fragments" for spec in views.values()):
        raise ValueError("this model sees no fragments: there is nothing to draw several times")
    made = {}
    for draw in range(draws):
        for name, spec in views.items():
            made[_input(name, spec, draw)] = ViewSpec(
                spec.kind, spec.side, spec.draw + draw if spec.kind == "fragments" else 0
            )
    return made


def export_model(
    model: TrainedModel,
    path: str | os.PathLike[str],
    *,
    draws: int = 1,
    store_float16: bool = False,
    measured: Mapping[str, float] | None = None,
    images: Iterable[Any] | None = None,
    tolerance: float = TOLERANCE,
) -> Agreement:
    """Write an artifact and prove that it scores as the model does.

    Low-rank updates of the backbone are folded into its weights; the model itself stays as it is. Targets
    behind the first, quality, become aspects.

    Args:
        model: trained, on the CPU.
        path: the artifact.
        draws: sets of fragments whose judgements are averaged: each costs another run of the network.
        store_float16: store weights in half precision: half the size, scores differ a little.
        measured: figures for the card, by label.
        images: what to compare scores on; by default pictures made for the purpose.
        tolerance: largest difference of quality that is accepted.

    Returns:
        The differences that were found.

    Raises:
        ExportError: scores differ by more than the tolerance, or are no numbers, or torch cannot write the
            model as a graph; nothing is written.
        ArtifactError: the file cannot be written.
        ImageError: one of ``images`` cannot be decoded.
        MissingPartError: the tokenizer of a model that reads prompts cannot be stored.
        ValueError: several draws of a model without fragments, or a target has a name that no aspect may
            have.
    """
    path = Path(path)
    card = make_card(model, draws, measured or {})
    try:
        onnx, tokenizer = model_graph(model, draws)
    except GraphError as error:
        raise ExportError(f"{path}: {error}; it was not written; take another backbone") from error
    artifact = to_artifact(onnx, card, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial"
        write_artifact(trial, artifact, store_float16=store_float16)
        agreement = compare_scores(
            ArtifactGraph(model, draws).eval(), trial, made_pictures() if images is None else images
        )
    largest = float(np.max([agreement.quality, agreement.aspects]))  # NaN if one of them is
    if not (largest <= tolerance and math.isfinite(agreement.spread)):
        raise ExportError(
            f"{path}: the artifact's scores differ from the model's by up to {largest:.5f}, more "
            f"than {tolerance:g}; it was not written"
        )
    write_artifact(path, artifact, store_float16=store_float16)
    return agreement


def model_graph(model: TrainedModel, draws: int = 1) -> tuple[bytes, bytes | None]:
    """A model as a serialized ONNX graph, and the tokenizer of one that reads prompts.

    Args:
        model: trained, on the CPU.
        draws: sets of fragments whose judgements are averaged.

    Raises:
        GraphError: torch cannot write the model as a graph.
        MissingPartError: the tokenizer cannot be stored.
        ValueError: several draws of a model without fragments.
    """
    graph = ArtifactGraph(runnable_copy(model), draws).eval()
    example = tuple(view for spec in graph.views.values() for view in example_views(1, spec.side))
    text = model.network.text
    tokenizer = None if text is None else text.tokenizer_json()
    if text is not None:
        ids = torch.ones(2, text.max_length, dtype=torch.int64)
        example = (*example, ids, ids.clone())
    return to_onnx(graph, example, list(graph.inputs), graph.outputs), tokenizer


def runnable_copy(model: TrainedModel) -> TrainedModel:
    """A copy that every runtime can execute: updates folded in, attention written out."""
    plain = copy.deepcopy(model)
    for part in plain.modules():
        if isinstance(part, Backbone):
            merge_tuning(part)
            part.core.set_attn_implementation("eager")
    return plain


def make_card(model: TrainedModel, draws: int, measured: Mapping[str, float]) -> Card:
    """The artifact's card from the record of a model."""
    record = model.record
    card = record.card
    validation = {f"validation {name.upper()}": value for name, value in record.validation.items()}
    return Card(
        name=card.name,
        version=card.version,
        licence=card.licence,
        summary=card.summary or f"{record.kind} on {record.backbone.name}",
        training_data=card.training_data or "not stated",
        views=artifact_views(model.network.views, draws),
        aspects={
            target: AspectSpec(needs_prompt=target in model.network.needs_prompt)
            for target in model.network.targets[1:]
        },
        prompt=None if model.network.text is None else PromptSpec(model.network.text.max_length),
        calibration=record.calibration["quality"],
        trained_on=SideRange(*record.sides) if record.sides else None,
        measured={**validation, **measured},
        recipe="",
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )


@torch.inference_mode()
def compare_scores(graph: ArtifactGraph, path: Path, images: Iterable[Any]) -> Agreement:
    """Judge images with torch and with the artifact on the default engine.

    Args:
        graph: the model as it was exported.
        path: the artifact.
        images: whatever an assessor takes.

    Raises:
        ExportError: there are no images.
        ImageError: one cannot be decoded.
    """
    artifact = read_artifact(path)
    engine = make_engine(artifact)
    compared = [name for name in graph.outputs if name != "quality_map"]
    reader = PromptReader(artifact) if artifact.card.prompt is not None else None
    differences = []
    for number, image in enumerate(images):
        inputs: dict[str, Batch] = {
            name: view[None] for name, view in cut_views(decode(image).pixels, graph.views).items()
        }
        if reader is not None:
            prompt = reader.read(_PROMPTS[number % len(_PROMPTS)], "picture")
            inputs.update({name: numbers[None] for name, numbers in prompt.inputs.items()})
        own = graph(*(torch.from_numpy(inputs[name].copy()) for name in graph.inputs))
        there = engine.run(inputs)
        differences.append([float(a[0]) - float(there[b][0]) for a, b in zip(own, compared, strict=False)])
    if not differences:
        raise ExportError("there is no image to compare scores on; give one, or leave images out")
    quality, spread, *further = np.abs(differences).max(axis=0)  # NaN if any of them is
    width = artifact.card.calibration.factor * float(spread)
    return Agreement(len(differences), float(quality), width, float(np.max(further)) if further else 0.0)


def _input(name: str, spec: ViewSpec, draw: int) -> str:
    """Name of an input: further draws of fragments have a number, all else is the same for every draw."""
    return f"{name}_{draw}" if draw and spec.kind == "fragments" else name
