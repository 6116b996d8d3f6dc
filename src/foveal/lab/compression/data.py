"""The images that a model is compressed on: the ratings that it was trained on, or pictures alone."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foveal.artifact.card import ViewSpec
from foveal.lab.compression.rated_views import RatedViews
from foveal.lab.training.prepare import divide, load_ratings
from foveal.lab.training.recipe import RatingsConfig, SplitConfig
from foveal.lab.training_run import DATA
from foveal.ratings.table import Ratings
from foveal.strict import RecipeError, build


@dataclass(frozen=True)
class RatedParts:
    """Ratings that a model may be fitted to and chosen by; never those kept for the report.

    Attributes:
        train: what layers and head are fitted on.
        validation: what choices are made on.
    """

    train: Ratings
    validation: Ratings


def find_data(model: str | Path) -> Path | None:
    """The file in which ``foveal train`` noted what a model was trained on; None if there is none."""
    path = Path(model).resolve().parent / DATA
    return path if path.is_file() else None


def read_parts(path: str | Path) -> RatedParts:
    """Ratings of a recipe (TOML), or of what a training run has noted (JSON).

    Only the tables ``ratings`` and ``split`` are read.

    Raises:
        RecipeError: the file cannot be read, or a field is unknown, missing or wrong.
        RatingsError: the ratings cannot be read or divided.
    """
    path = Path(path)
    values = _read(path)
    folder = Path(values.get("folder", path.parent))
    try:
        ratings = build(RatingsConfig, values.get("ratings", {}), "ratings")
        split = build(SplitConfig, values.get("split", {}), "split")
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error
    parts = divide(load_ratings(ratings, folder), split, folder)
    return RatedParts(parts.train, parts.validation)


def rated_views(ratings: Ratings, views: Mapping[str, ViewSpec], targets: Sequence[str]) -> RatedViews:
    """Rated images as a graph takes them.

    Raises:
        RatingsError: a target has no score.
    """
    rated = np.stack([ratings.quality(target) for target in targets], axis=1)
    return RatedViews(ratings.images, views, rated)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: expected tables, found {type(values).__name__}")
    return values
