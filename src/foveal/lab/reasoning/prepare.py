"""From a recipe to described images: ratings in parts, degraded copies, meters, tower tokens, impressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.lab.reasoning.degraded import Sight, draw_copies
from foveal.lab.reasoning.impressions import (
    Impressions,
    degrees_of_impressions,
    fit_apart,
    fit_impressions,
    kept,
    pool_tokens,
)
from foveal.lab.reasoning.levels import Floats
from foveal.lab.reasoning.question import Picture, StoredFeatures
from foveal.lab.reasoning.recipe import DescriptionConfig, ReasoningRecipe
from foveal.lab.reasoning.sight import read_meters, read_tokens, tower_digest
from foveal.lab.reasoning.small.build import compact_tower, vit_tower
from foveal.lab.reasoning.small.tower import TwoViewTower
from foveal.lab.reasoning.stages import DescribedImages
from foveal.lab.training.prepare import Parts, divide, load_ratings, locate_backbone

Tell = Callable[[str, int, int, str], None]
"""What is done, how far, of how much, and a remark."""

_TRAIN, _COPIES, _VALIDATION = "train", "copies", "validation"


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that training needs.

    Attributes:
        train: described training images, the rated ones first, then degraded copies.
        rated: the rated training images alone.
        validation: described, rated images of the validation part.
        tower: the small model's eyes; None where a large model is tuned.
    """

    train: DescribedImages
    rated: DescribedImages
    validation: DescribedImages
    tower: TwoViewTower | None


def read_parts(recipe: ReasoningRecipe) -> Parts:
    """Ratings of a recipe in parts.

    Raises:
        RatingsError: they cannot be read or divided.
    """
    return divide(load_ratings(recipe.ratings, recipe.folder), recipe.split, recipe.folder)


def load_tower(recipe: ReasoningRecipe, trunk: str, layers: Sequence[int] = ()) -> TwoViewTower:
    """The two-view tower around a trunk: ``compact``, or the folder of a ViT.

    Raises:
        BackboneError: there is no such trunk.
    """
    more: dict[str, Any] = {"layers": tuple(layers)} if layers else {}
    if trunk == "compact":
        from foveal.lab.reasoning.small.shipped import shipped_trunk

        return compact_tower(*shipped_trunk(), **more)
    return vit_tower(str(locate_backbone(trunk, recipe.folder)), **more)


def prepare(recipe: ReasoningRecipe, cache: Path, tell: Tell = lambda *_: None) -> Prepared:
    """Look at all images once, and learn the impressions.

    Args:
        recipe: what is to be described, and by which eyes.
        cache: folder of readings and tokens.
        tell: told of the progress.

    Raises:
        FovealError: ratings, images or trunks cannot be read.
    """
    parts = read_parts(recipe)
    drawn = draw_copies(parts.train.images, recipe.descriptions.degraded, recipe.descriptions.seed)
    sights = {
        _TRAIN: [Sight(path) for path in parts.train.images],
        _COPIES: [sight for _, sight in drawn],
        _VALIDATION: [Sight(path) for path in parts.validation.images],
    }
    mos = {
        _TRAIN: parts.train.quality(),
        _COPIES: np.full(len(drawn), np.nan),
        _VALIDATION: parts.validation.quality(),
    }
    tower = None if recipe.small is None else load_tower(recipe, recipe.small.trunk, recipe.small.layers)
    look = _Looking(cache, sights, tell)
    readings = {name: look.readings(name) for name in sights}
    degrees = {name: [dict(row) for row in reading.degrees] for name, reading in readings.items()}
    if recipe.descriptions.tells_impressions:
        named = recipe.descriptions.impressions
        impressing = _Impressing(look, parts, [number for number, _ in drawn], recipe.descriptions)
        learnt = impressing.learn(tower, None if named is None else load_tower(recipe, named))
        values = {_TRAIN: learnt.fitted, _COPIES: learnt.copied, _VALIDATION: learnt.others}
        for name, rows in degrees.items():
            for row, more in zip(rows, degrees_of_impressions(values[name]), strict=True):
                row.update(more)
    described = {
        name: DescribedImages(
            [{told: row[told] for told in recipe.descriptions.attributes} for row in degrees[name]],
            [_told_places(row, recipe) for row in readings[name].places],
            mos[name],
            _pictures(sights[name], None if tower is None else look.tokens(name, tower)),
        )
        for name in sights
    }
    return Prepared(
        _together(described[_TRAIN], described[_COPIES]), described[_TRAIN], described[_VALIDATION], tower
    )


@dataclass(frozen=True, eq=False)
class _Looking:
    """Reads what is kept, or looks and keeps it."""

    cache: Path
    sights: Mapping[str, Sequence[Sight]]
    tell: Tell

    def readings(self, name: str) -> Any:
        return read_meters(
            self.sights[name], self.cache / f"{name}-meters.json", tell=self._telling("meters", name)
        )

    def tokens(self, name: str, tower: TwoViewTower) -> NDArray[np.float16]:
        layers = "-".join(map(str, tower.config.layers))
        file = self.cache / f"{name}-{tower.config.trunk}-{layers}.npy"
        return read_tokens(tower, self.sights[name], file, tell=self._telling("tokens", name))

    def _telling(self, what: str, name: str) -> Callable[[int, int], None]:
        return lambda done, of: self.tell(f"{what}, {name}", done, of, "")


@dataclass(frozen=True, eq=False)
class _Impressing:
    """Learns impressions from ratings, or from what other eyes made of these."""

    look: _Looking
    parts: Parts
    sources: Sequence[int]
    told: DescriptionConfig

    def learn(self, own: TwoViewTower | None, named: TwoViewTower | None) -> Impressions:
        """From the trunk that the recipe names; if the model's own is another, these then from that."""
        first = own if named is None else named
        if first is None:
            raise ValueError("impressions need a trunk to be learnt from")
        if own is None or tower_digest(own) == tower_digest(first):
            return self._by(first, self.parts.train.quality())
        return self._by(own, self._apart(first))

    def _apart(self, tower: TwoViewTower) -> Floats:
        """What another trunk makes of ratings, for the model's own to learn: (folds, impressions, images)."""
        parts, told = self.parts, self.told
        tokens, target = self.look.tokens(_TRAIN, tower), parts.train.quality()

        def fit() -> dict[str, Floats]:
            self.look.tell("impressions", 0, 1, f"{tower.config.trunk}, two folds left out")
            groups = parts.train.groups
            return {
                "apart": fit_apart(_pooled(tokens), target, groups=groups, folds=told.folds, seed=told.seed)
            }

        made_of = ("apart", tower_digest(tower), target, parts.train.names, told.folds, told.seed)
        return kept(self.look.cache / "impressions", made_of, fit)["apart"]

    def _by(self, tower: TwoViewTower, target: Floats) -> Impressions:
        parts, told = self.parts, self.told
        tokens = {name: self.look.tokens(name, tower) for name in self.look.sights}
        images = parts.train.names, parts.validation.names, list(self.sources)
        made_of = (tower_digest(tower), target, *images, told.folds, told.seed)

        def fit() -> dict[str, Floats]:
            self.look.tell("impressions", 0, 1, tower.config.trunk)
            pooled = {name: _pooled(stored) for name, stored in tokens.items()}
            fitted = fit_impressions(
                pooled[_TRAIN],
                target,
                pooled[_VALIDATION],
                copies=pooled[_COPIES] if len(self.sources) else None,
                sources=self.sources,
                groups=parts.train.groups,
                folds=told.folds,
                seed=told.seed,
            )
            return dict(vars(fitted))

        return Impressions(**kept(self.look.cache / "impressions", made_of, fit))


def _pooled(tokens: NDArray[np.float16]) -> NDArray[np.float32]:
    if not len(tokens):
        return np.zeros((0, 0, 0), np.float32)
    return np.stack([pool_tokens(rows) for rows in tokens])


def _told_places(places: Mapping[str, str], recipe: ReasoningRecipe) -> dict[str, str]:
    return {name: place for name, place in places.items() if name in recipe.descriptions.placed}


def _pictures(sights: Sequence[Sight], tokens: NDArray[np.float16] | None) -> Callable[[int], Picture]:
    if tokens is not None:
        return lambda image: StoredFeatures(np.asarray(tokens[image]))
    return lambda image: sights[image].pixels()


def _together(first: DescribedImages, second: DescribedImages) -> DescribedImages:
    count = len(first)
    mos: Floats = np.concatenate([first.mos, second.mos])
    return DescribedImages(
        [*first.degrees, *second.degrees],
        [*first.places, *second.places],
        mos,
        lambda image: first.picture(image) if image < count else second.picture(image - count),
    )
