"""From a recipe to what a run needs: ratings in parts, backbone, model."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, replace
from pathlib import Path

from foveal.errors import RatingsError
from foveal.lab.backbones import TextBackbone, VisionBackbone, load_backbone, load_text_backbone
from foveal.lab.backbones.tuning import apply_tuning
from foveal.lab.models.base import Backbones, QualityModel
from foveal.lab.models.registry import MODELS
from foveal.lab.trained import BackboneReference, References, reference, start_from
from foveal.lab.training.recipe import BackboneConfig, RatingsConfig, Recipe, SplitConfig
from foveal.ratings.own_table import Columns
from foveal.ratings.sources import read_ratings
from foveal.ratings.splits import grouped_split, read_split
from foveal.ratings.table import DatasetCard, Ratings


@dataclass(frozen=True)
class Parts:
    """Ratings by what they are for.

    Attributes:
        train: what is learnt from.
        validation: what chooses, and calibrates the interval.
        test: what is reported, or None.
    """

    train: Ratings
    validation: Ratings
    test: Ratings | None


def load_ratings(config: RatingsConfig, folder: Path = Path()) -> Ratings:
    """Read the ratings of a recipe.

    Args:
        config: where they are and what their scores mean.
        folder: where relative paths begin.

    Raises:
        RatingsError: they cannot be read.
    """
    card = None
    if config.low is not None and config.high is not None:
        name = Path(config.path).stem or config.path
        card = DatasetCard(name, config.low, config.high, config.higher_is_better)
    names = config.columns
    columns = Columns(
        image=names.image,
        scores=dict(names.scores),
        group=names.group,
        subset=names.subset,
        split=names.split,
        prompt=names.prompt,
    )
    return read_ratings(
        folder / config.path,
        dataset=config.dataset,
        images=None if config.images is None else folder / config.images,
        card=card,
        columns=columns if config.dataset is None else None,
        missing=config.missing,
    )


def divide(ratings: Ratings, config: SplitConfig, folder: Path = Path()) -> Parts:
    """Divide ratings into parts; images that belong together stay together.

    Args:
        ratings: all of them.
        config: how.
        folder: where relative paths begin.

    Raises:
        RatingsError: there is no training part, or there are too few images or groups.
    """
    if config.kind == "seeded":
        ratings = _seeded(ratings, config)
    if config.file is not None:
        ratings = _overlay(ratings, folder / config.file)
    train = ratings.part("train")
    if "validation" in ratings.split:
        validation = ratings.part("validation")
    else:
        kept, held = grouped_split(
            train.names, train.groups, (1 - config.validation, config.validation), config.seed
        )
        train, validation = train.take(train.indices(kept)), train.take(train.indices(held))
    train, validation = (
        _limited(part, limit, config.seed)
        for part, limit in ((train, config.limit), (validation, config.validation_limit))
    )
    return Parts(train, validation, ratings.part("test") if "test" in ratings.split else None)


def load_vision(config: BackboneConfig, folder: Path = Path()) -> tuple[VisionBackbone, BackboneReference]:
    """Load the backbone of a recipe and set free what is to be trained.

    Args:
        config: which, and how much of it is trained.
        folder: where relative paths begin.

    Returns:
        The backbone, and what a model built on it must remember of it.

    Raises:
        BackboneError: it cannot be loaded.
    """
    place = locate_backbone(config.name, folder)
    backbone = load_backbone(place, revision=config.revision)
    described = reference(os.fspath(place), backbone, config.tuning, config.attention)
    backbone.core.set_attn_implementation(config.attention)
    apply_tuning(backbone, config.tuning)
    return backbone, described


def load_backbones(recipe: Recipe) -> tuple[Backbones, References]:
    """Load all encoders of a recipe.

    Returns:
        The encoders, and what a model built on them must remember of them.

    Raises:
        BackboneError: one cannot be loaded.
        ValueError: more blocks are to be trained than there are.
    """
    vision, described = load_vision(recipe.backbone, recipe.folder)
    fine, fine_described = (
        (None, None) if recipe.fine_backbone is None else load_vision(recipe.fine_backbone, recipe.folder)
    )
    text, text_described = (
        (None, None) if recipe.text_backbone is None else _load_text(recipe.text_backbone, recipe.folder)
    )
    return Backbones(vision, fine, text), References(described, fine_described, text_described)


def _load_text(config: BackboneConfig, folder: Path) -> tuple[TextBackbone, BackboneReference]:
    place = locate_backbone(config.name, folder)
    text = load_text_backbone(place, revision=config.revision)
    described = reference(os.fspath(place), text, attention=config.attention)
    text.core.set_attn_implementation(config.attention)
    return text, described


def locate_backbone(name: str, folder: Path = Path()) -> str | os.PathLike[str]:
    """A backbone's folder, beside the recipe or as it stands; otherwise the name itself."""
    beside = folder / name
    return beside if beside.is_dir() else name


def make_model(recipe: Recipe, backbones: Backbones, described: References | None = None) -> QualityModel:
    """Make the model of a recipe; its first weights come from torch's global generator, or where it starts.

    Args:
        recipe: what to make.
        backbones: loaded and tuned.
        described: the backbones; needed where the recipe starts from another model.

    Raises:
        ValueError: model and backbones do not fit.
        TrainedModelError: the weights to start from cannot be read or do not fit.
    """
    model = MODELS[recipe.model].make(backbones, recipe.options, recipe.targets)
    if recipe.start is not None and described is not None:
        start_from(model, locate_backbone(recipe.start, recipe.folder), described)
    return model


def _seeded(ratings: Ratings, config: SplitConfig) -> Ratings:
    if not config.test:
        # What the owners keep for the report is learnt from only if another test part is asked for.
        return replace(ratings, split=tuple("test" if p == "test" else "train" for p in ratings.split))
    _, test = grouped_split(ratings.names, ratings.groups, (1 - config.test, config.test), config.seed)
    in_test = frozenset(test)
    return replace(ratings, split=tuple("test" if n in in_test else "train" for n in ratings.names))


def _limited(part: Ratings, limit: int, seed: int) -> Ratings:
    """Some images of a part, drawn by their names: the same ones whatever the order of the table."""
    if not 0 < limit < len(part):
        return part
    # Python promises the same numbers of random() for a seed in all versions; it does not for shuffle().
    generator = random.Random(seed)
    drawn = sorted((generator.random(), name) for name in sorted(part.names))
    return part.take(part.indices(name for _, name in drawn[:limit]))


def _overlay(ratings: Ratings, path: Path) -> Ratings:
    """Give images that a split file names the part that it says."""
    labels = list(ratings.split)
    for part, names in read_split(path).parts.items():
        for index in ratings.indices(names):
            if labels[index] == "test" and part != "test":
                raise RatingsError(f"{path}: {ratings.names[index]} is in the test part; it must stay there")
            labels[index] = part
    return replace(ratings, split=tuple(labels))
