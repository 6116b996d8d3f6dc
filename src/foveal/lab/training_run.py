"""From a recipe to a trained model, in one call."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from foveal.artifact.card import Calibration
from foveal.errors import RatingsError
from foveal.evaluation.conformal import calibration_factor
from foveal.imaging.decode import DEFAULT_LIMITS
from foveal.imaging.formats import decoding, open_picture
from foveal.imaging.sources import byte_stream
from foveal.lab.models.base import QualityModel
from foveal.lab.trained import Record, References, TrainedModel
from foveal.lab.training.checkpoint import CheckpointError
from foveal.lab.training.data import BatchSource, RatedImages
from foveal.lab.training.feature_rows import read_features
from foveal.lab.training.features import cache_folder
from foveal.lab.training.fit import CHECKPOINT, FitResult, fit
from foveal.lab.training.judging import Floats, Progress, judge
from foveal.lab.training.logs import LogKind
from foveal.lab.training.prepare import Parts, divide, load_backbones, load_ratings, make_model
from foveal.lab.training.prompts import tokenised
from foveal.lab.training.recipe import Recipe
from foveal.ratings.table import Ratings

COVERAGE = 0.9
MODEL = "model"
"""Folder of the trained model within that of the run."""
RUN = "run.json"
"""File that says which model a folder's checkpoint is of."""
DATA = "data.json"
"""File that says which ratings a folder's model was trained on, how they were divided, and how it learnt."""

FeatureProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class TrainingRun:
    """What a run came to.

    Attributes:
        model: with the weights of the best epoch and a calibrated interval.
        result: the history.
        parts: images that were learnt from, chose, and are left for the report.
        validation_quality: what the model says of the validation part, float64 (n, targets).
        folder: of the saved model.
    """

    model: TrainedModel
    result: FitResult
    parts: Parts
    validation_quality: Floats
    folder: Path


@dataclass(frozen=True)
class Telling:
    """Whom to tell of the progress; nobody by default.

    Attributes:
        step: of each training step.
        features: of features computed, and to be computed.
        ready: once, of the model and the parts, before training.
    """

    step: Progress | None = None
    features: FeatureProgress | None = None
    ready: Callable[[QualityModel, Parts], None] | None = None


def train(
    recipe: Recipe,
    ratings: Ratings | None = None,
    *,
    folder: str | Path,
    cache: str | Path | None = None,
    log: LogKind = "csv",
    cpu: bool = False,
    telling: Telling | None = None,
) -> TrainingRun:
    """Train a model by a recipe, calibrate its interval on the validation part, and save it.

    Called again with the same folder it goes on where it was interrupted.

    Args:
        recipe: what to do.
        ratings: in place of those that the recipe names.
        folder: of checkpoint, log, and the model itself.
        cache: file of cached features; by default one below :func:`cache_folder`.
        log: kind of log.
        cpu: stay on the CPU where there is a GPU.
        telling: whom to tell of the progress.

    Raises:
        RatingsError: the ratings cannot be read or divided, or lack a target.
        BackboneError: the backbone cannot be loaded.
        ImageError: an image cannot be decoded.
        ValueError: model and backbone do not fit, or there are too few images.
        CheckpointError: the folder holds a damaged checkpoint, or that of another run.
    """
    folder, telling = Path(folder), telling or Telling()
    named = ratings is None
    ratings = load_ratings(recipe.ratings, recipe.folder) if ratings is None else ratings
    parts = divide(ratings, recipe.split, recipe.folder)
    with torch.random.fork_rng():
        # First weights of LoRA and model depend on the seed alone, and not on each other.
        torch.manual_seed(recipe.training.seed)
        backbones, described = load_backbones(recipe)
        torch.manual_seed(recipe.training.seed)
        model = make_model(recipe, backbones, described)
    accelerator = Accelerator(cpu=cpu)
    model.to(accelerator.device)
    _claim(folder, recipe, described, write=accelerator.is_main_process)
    if telling.ready is not None:
        telling.ready(model, parts)
    if model.frozen_head() is None:
        network: nn.Module = model
        learnt, chooses = _images(recipe, model, parts)
    else:
        path = Path(cache) if cache is not None else cache_folder() / "features.sqlite"
        network, learnt, chooses = _features(recipe, model, parts, path, telling)
    # What would fail after the training fails before it.
    sides = _sides(parts.train)
    rated = chooses.rated.double().numpy()
    _calibrate(recipe.targets, np.zeros_like(rated), np.ones_like(rated), rated)
    result = fit(
        network,
        model.parameter_groups(),
        learnt,
        chooses,
        recipe.training,
        folder=folder,
        log=log,
        cpu=cpu,
        progress=telling.step,
    )
    training = recipe.training
    quality, spread = judge(
        network,
        chooses,
        batch=training.validation_batch,
        workers=training.workers,
        precision=training.precision,
    )
    record = Record(
        kind=recipe.model,
        options=asdict(recipe.options),
        targets=recipe.targets,
        backbone=described.vision,
        fine_backbone=described.fine,
        text_backbone=described.text,
        calibration=_calibrate(recipe.targets, quality, spread, rated),
        card=recipe.card,
        sides=sides,
        validation=dict(result.validation),
    )
    trained = TrainedModel(model, record)
    if accelerator.is_main_process:
        # The Hub's mixin would keep an old card, whatever has changed.
        (folder / MODEL / "README.md").unlink(missing_ok=True)
        trained.save_pretrained(folder / MODEL)
        if named:
            _note_data(folder, recipe)
    accelerator.wait_for_everyone()
    return TrainingRun(trained, result, parts, quality, folder / MODEL)


def _note_data(folder: Path, recipe: Recipe) -> None:
    """Note what a model was trained on, for what comes after training, such as compression."""
    data = {
        "folder": str(recipe.folder.resolve()),
        "ratings": asdict(recipe.ratings),
        "split": asdict(recipe.split),
        "training": asdict(recipe.training),
    }
    (folder / DATA).write_text(json.dumps(data, indent=2, default=dict) + "\n", encoding="utf-8")


def _claim(folder: Path, recipe: Recipe, backbones: References, *, write: bool) -> None:
    """Note which model is trained in a folder; a checkpoint alone tells only the shapes of its weights.

    Raises:
        CheckpointError: another one has been, and has left a checkpoint.
    """
    claim = {
        "backbones": [one and [one.fingerprint, asdict(one.tuning)] for one in backbones.all()],
        "model": recipe.model,
        "options": asdict(recipe.options),
        "targets": recipe.targets,
        "start": recipe.start,
    }
    text = json.dumps(claim, indent=2, sort_keys=True) + "\n"
    path = folder / RUN
    if (folder / CHECKPOINT).exists() and path.exists():
        if path.read_text(encoding="utf-8") != text:
            raise CheckpointError(
                f"{path}: another model or backbone was trained here; name another folder, or delete this one"
            )
    elif write:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _images(recipe: Recipe, model: QualityModel, parts: Parts) -> tuple[BatchSource, BatchSource]:
    """Images cut into views when they are wanted."""
    seed = recipe.training.seed
    learnt, chooses = (
        RatedImages(part, model.views, model.targets, seed, tokenised(model, part))
        for part in (parts.train, parts.validation)
    )
    return learnt, chooses


def _features(
    recipe: Recipe, model: QualityModel, parts: Parts, cache: Path, telling: Telling
) -> tuple[nn.Module, BatchSource, BatchSource]:
    """The head of a model that changes nothing before it, and cached features."""
    head = model.frozen_head()
    if head is None:
        raise TypeError(f"{type(model).__name__} has no head of its own")
    learnt, chooses = (
        read_features(
            model,
            part,
            cache,
            draws=draws,
            seed=recipe.training.seed,
            precision=recipe.training.precision,
            progress=telling.features,
        )
        for part, draws in ((parts.train, recipe.training.draws), (parts.validation, 1))
    )
    model.standardise(learnt.features)
    return head, learnt, chooses


def _calibrate(
    targets: tuple[str, ...], quality: Floats, spread: Floats, scores: Floats
) -> dict[str, Calibration]:
    """Split-conformal factor of each target from the validation part."""
    calibration = {}
    for column, target in enumerate(targets):
        known = np.flatnonzero(~np.isnan(scores[:, column]))
        try:
            factor = calibration_factor(
                quality[known, column], spread[known, column], scores[known, column], coverage=COVERAGE
            )
        except ValueError as error:
            raise RatingsError(f"the validation part cannot calibrate {target}: {error}") from error
        calibration[target] = Calibration(coverage=COVERAGE, factor=factor, count=len(known))
    return calibration


def _sides(ratings: Ratings) -> tuple[int, ...]:
    """Shortest and longest of the longer sides of the training images, from the headers of the files."""
    longer = []
    for path in ratings.images:
        name = str(path)
        with byte_stream(path, name, DEFAULT_LIMITS) as stream, decoding(name, None):
            longer.append(max(open_picture(stream, name, DEFAULT_LIMITS).size))
    return min(longer), max(longer)
