"""Cached features as batches: those of the views that an assessor cuts, computed once and never again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from foveal.artifact.card import ViewSpec
from foveal.assessor import cut_views
from foveal.imaging.decode import decode
from foveal.lab.backbones import VisionBackbone, load_backbone
from foveal.lab.models.base import QualityModel
from foveal.lab.models.probe import ProbeConfig, ProbeModel
from foveal.lab.training.data import Augmentation
from foveal.lab.training.feature_rows import FeatureRows, read_features
from foveal.lab.training.features import backbone_fingerprint
from foveal.lab.training.recipe import Recipe, recipe_from
from foveal.lab.training_run import Telling, train
from foveal.ratings.table import DatasetCard, Ratings

EVERY = ("whole", "fragments", "crop")


class Grey(QualityModel):
    """Features of a view are its mean colour and the colours of three pixels."""

    def __init__(self, side: int, kinds: tuple[str, ...] = EVERY) -> None:
        super().__init__()
        self.views = {kind: ViewSpec(kind, side) for kind in kinds}
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.calls: list[tuple[str, int]] = []

    def encoder(self, name: str) -> Any:
        return self

    def extractor(self, name: str) -> str:
        return "grey"

    def encode(self, name: str, view: Tensor) -> Tensor:
        self.calls.append((name, len(view)))
        return torch.cat(
            [view.float().mean(dim=(1, 2)), *(view[:, i, -i].float() for i in (1, 20, 40))], dim=1
        )


@pytest.fixture
def few(rated_pictures: Ratings) -> Ratings:
    return rated_pictures.take(range(6))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "features.sqlite"


@pytest.mark.parametrize("side", [112, 224, 448])
def test_features_are_those_of_the_views_that_the_assessor_cuts(few: Ratings, cache: Path, side: int) -> None:
    """At every side: a backbone of 448 pixels sees 7 x 7 fragments of 64 in training as in use."""
    model = Grey(side)
    rows = read_features(model, few, cache, draws=3)
    for index, image in enumerate(few.images):
        pixels = decode(image).pixels
        for draw in range(3):
            views = cut_views(pixels, model.views, draw=draw)
            for kind in EVERY:
                expected = model.encode(kind, torch.from_numpy(views[kind].copy())[None])[0].half()
                draws = rows.features[kind]
                assert len(draws) == (3 if kind == "fragments" else 1)
                assert torch.equal(draws[min(draw, len(draws) - 1)][index], expected)


def test_features_are_computed_once(few: Ratings, cache: Path, tmp_path: Path) -> None:
    model, told = Grey(224), []
    first = read_features(model, few, cache, progress=lambda done, of: told.append((done, of)))
    assert model.calls == [(kind, 6) for kind in EVERY]
    assert told == [(6, 6)] * 3
    again = Grey(224)
    second = read_features(again, few, cache)
    assert again.calls == []
    assert all(torch.equal(first.features[kind][0], second.features[kind][0]) for kind in EVERY)
    # More draws compute the new ones alone; a renamed image is known, a changed one is not.
    read_features(again, few, cache, draws=3)
    assert again.calls == [("fragments", 12)]
    renamed = tmp_path / "renamed.png"
    shutil.copy(few.images[0], renamed)
    shutil.copy(few.images[1], tmp_path / "changed.png")
    with (tmp_path / "changed.png").open("ab") as file:
        file.write(b"more")
    moved = Ratings(few.card, (renamed, tmp_path / "changed.png"), {"quality": [1, 2]})  # type: ignore[dict-item]
    last = Grey(224)
    read_features(last, moved, cache)
    assert last.calls == [(kind, 1) for kind in EVERY]
    # Views of another side are other views.
    read_features(last, moved, cache)
    other = Grey(112)
    read_features(other, moved, cache)
    assert other.calls == [(kind, 2) for kind in EVERY]


def test_ratings_are_mirrored_where_lower_is_better(few: Ratings, cache: Path) -> None:
    scores = few.scores["quality"].copy()
    clarity = np.array([np.nan, 1, 2, 3, 4, 5.0])
    turned = replace(few, card=DatasetCard("dmos", 0, 10, higher_is_better=False), scores={"quality": scores})
    model = Grey(112)
    up, down = (read_features(model, ratings, cache).rated for ratings in (few, turned))
    torch.testing.assert_close(up, torch.tensor(1 + 0.4 * scores[:, None], dtype=torch.float32))
    torch.testing.assert_close(down, 6 - up)
    model.targets = ("quality", "clarity")
    both = read_features(model, replace(few, scores={"quality": scores, "clarity": clarity}), cache).rated
    assert both.shape == (6, 2)
    assert both[:, 1].isnan().tolist() == [True] + [False] * 5


def rows(seed: int = 0) -> FeatureRows:
    """Ten images; the value tells view, draw and image."""
    index = torch.arange(10.0)[:, None]
    views = {"whole": [index], "fragments": [100 * (draw + 1) + index for draw in range(3)]}
    return FeatureRows(views, index.clone(), seed)


def test_without_augmentation_a_draw_is_what_is_asked_for() -> None:
    positions = [np.array([3, 1]), np.array([9])]
    for draw, base in ((0, 100), (2, 300), (7, 300)):  # there is no eighth: the last one stands in
        batches = list(rows().batches(positions, draw=draw))
        assert [batch.views["whole"].flatten().tolist() for batch in batches] == [[3, 1], [9]]
        assert [batch.views["fragments"].flatten().tolist() for batch in batches] == [
            [base + 3, base + 1],
            [base + 9],
        ]
        assert [batch.rated.flatten().tolist() for batch in batches] == [[3, 1], [9]]


def test_augmentation_takes_draws_by_chance_that_seed_and_epoch_decide() -> None:
    def drawn(seed: int, epoch: int, order: list[int]) -> dict[int, int]:
        batches = rows(seed).batches([np.array(order)], augmentation=Augmentation(), epoch=epoch)
        (batch,) = batches
        assert batch.views["whole"].flatten().tolist() == order
        taken = [divmod(int(value), 100) for value in batch.views["fragments"].flatten()]
        assert [image for _, image in taken] == order
        return {image: draw - 1 for draw, image in taken}

    everything = list(range(10))
    first = drawn(1, 0, everything)
    assert drawn(1, 0, everything[::-1]) == first  # not the order of the batch
    others = [drawn(1, epoch, everything) for epoch in range(1, 30)]
    assert drawn(2, 0, everything) != first
    assert all(other != first for other in others)
    # All draws come up, about equally often: 290 times one of three.
    counts = np.bincount([draw for other in others for draw in other.values()], minlength=3)
    assert len(counts) == 3
    assert counts.min() > 60


def test_the_order_of_an_epoch_is_a_shuffle_that_seed_and_epoch_decide() -> None:
    orders = [tuple(rows(seed).order(epoch)) for seed in (1, 2) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len(set(orders)) == 4
    assert tuple(rows(1).order(0)) == orders[0]


# As a training run uses it.


def probe_recipe(backbone: Path, **model: Any) -> Recipe:
    return recipe_from(
        {
            "ratings": {"path": "", "low": 1, "high": 5},
            "backbone": {"name": str(backbone)},
            "model": {"kind": "probe", "hidden": 0, "dropout": 0.0, **model},
            "split": {"validation": 0.4},
            "training": {"epochs": 1, "batch": 8},
        }
    )


def test_a_second_run_computes_nothing_and_one_on_another_backbone_does(
    tiny_vit: Path,
    other_vit: Path,
    rated_pictures: Ratings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ratings = rated_pictures.take(range(24))
    computed: list[int] = []
    encode = ProbeModel.encode

    def counting(self: ProbeModel, name: str, view: Tensor) -> Tensor:
        computed.append(len(view))
        return encode(self, name, view)

    monkeypatch.setattr(ProbeModel, "encode", counting)

    def run(number: int, recipe: Recipe) -> Any:
        computed.clear()
        told: list[tuple[int, int]] = []
        folder = tmp_path / str(number)
        telling = Telling(features=lambda done, of: told.append((done, of)))
        done = train(recipe, ratings, folder=folder, cache=tmp_path / "c.sqlite", cpu=True, telling=telling)
        assert bool(told) == bool(computed)
        return done

    first = run(1, probe_recipe(tiny_vit))
    assert sum(computed) == 2 * len(ratings)
    second = run(2, probe_recipe(tiny_vit))
    assert computed == []
    assert second.result == first.result
    assert np.array_equal(second.validation_quality, first.validation_quality)
    run(3, probe_recipe(other_vit))
    assert sum(computed) == 2 * len(ratings)
    run(4, probe_recipe(tiny_vit, layers=[1]))  # other layers are other features
    assert sum(computed) == 2 * len(ratings)
    recipe = probe_recipe(tiny_vit)
    run(5, replace(recipe, training=replace(recipe.training, precision="bf16")))  # and so are rounded ones
    assert sum(computed) == 2 * len(ratings)


def test_fingerprints_tell_backbones_apart(
    tiny_vit: Path, other_vit: Path, make_probe: Callable[[VisionBackbone], ProbeModel]
) -> None:
    one, same, other = (load_backbone(folder) for folder in (tiny_vit, tiny_vit, other_vit))
    assert backbone_fingerprint(one) == backbone_fingerprint(same) != backbone_fingerprint(other)
    assert make_probe(one).extractor("whole") == "layers 1,3; CLS and mean patch token"


@pytest.fixture
def make_probe() -> Callable[[VisionBackbone], ProbeModel]:
    return lambda backbone: ProbeModel(backbone, ProbeConfig(layers=(1, 3)))
