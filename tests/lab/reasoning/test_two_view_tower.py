"""The tower's tokens: what is told of a place, and of the whole image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from foveal.lab.reasoning.question import Question, StoredFeatures
from foveal.lab.reasoning.sight import tower_digest
from foveal.lab.reasoning.small.build import build_small
from foveal.lab.reasoning.small.shape import DecoderShape
from foveal.lab.reasoning.small.tower import TwoViewConfig, TwoViewTower
from foveal.lab.reasoning.vision_language import VisionLanguageModel

TRUNK = {"widths": [4, 4, 8, 8], "depths": [1, 1, 1, 1]}
FEATURES = 2 * (8 + 8)


def make_tower(*, overall: bool) -> TwoViewTower:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = TwoViewConfig(trunk="compact", trunk_config=TRUNK, layers=[3, 4], overall=overall)
        return TwoViewTower(config).eval().requires_grad_(False)


def views(count: int) -> torch.Tensor:
    values = np.random.default_rng(0).integers(0, 256, (count, 3, 448, 224))
    return torch.from_numpy(values.astype(np.float32))


def test_tokens_hold_their_place_first_and_then_what_all_places_tell() -> None:
    plain, tower = make_tower(overall=False), make_tower(overall=True)
    assert (tower.config.place_size, tower.config.hidden_size) == (FEATURES, 3 * FEATURES)
    assert plain.config.place_size == plain.config.hidden_size == FEATURES
    places, tokens = plain(views(3)).last_hidden_state, tower(views(3)).last_hidden_state
    assert tokens.shape == (3, 49, 3 * FEATURES)
    assert torch.equal(tokens[..., :FEATURES], places)
    expected = torch.from_numpy(np.concatenate([places.numpy().mean(1), places.numpy().std(1)], axis=1))
    for place in range(49):
        torch.testing.assert_close(tokens[:, place, FEATURES:], expected)


def test_what_is_told_of_the_whole_is_standardised_by_the_images_that_were_shown() -> None:
    tower = make_tower(overall=True)
    places = torch.randn(200, 49, FEATURES) * torch.linspace(0.5, 3, FEATURES) + 2
    tower.learn_overall(torch.split(places, 64))
    overall = tower.complete(places)[:, 0, FEATURES:]
    torch.testing.assert_close(overall.mean(dim=0), torch.zeros(2 * FEATURES), atol=1e-4, rtol=0)
    # A little less than 1, so that features that hardly vary are not blown up.
    assert 0.8 < float(overall.std(dim=0).min()) <= float(overall.std(dim=0).max()) <= 1


def test_statistics_are_kept_with_the_model_and_used_for_stored_features(tmp_path: Path) -> None:
    tower = make_tower(overall=True)
    tower.learn_overall([torch.randn(50, 49, FEATURES)])
    shape = DecoderShape(width=16, depth=2, heads=2, inner=32, vocabulary=400)
    model = build_small(tower, ["very sharp, no visible noise"] * 9, shape)
    model.save(tmp_path / "model")
    again = VisionLanguageModel.load(tmp_path / "model")
    kept = again.model.model.vision_tower
    assert torch.equal(kept.overall_mean, tower.overall_mean)
    assert torch.equal(kept.overall_deviation, tower.overall_deviation)
    pixels = np.random.default_rng(1).integers(0, 256, (300, 260, 3), np.uint8)
    values = again.processor.image_processor([pixels])["pixel_values"]
    with torch.inference_mode():
        stored = StoredFeatures(kept(values).last_hidden_state[0].numpy())
    seen, told = again.next_token([Question("What?", pixels)]), again.next_token([Question("What?", stored)])
    torch.testing.assert_close(seen, told, atol=1e-4, rtol=1e-4)


def test_a_trunk_is_known_by_its_weights_whatever_was_learnt_about_images() -> None:
    tower = make_tower(overall=True)
    before = tower_digest(tower)
    tower.learn_overall([torch.randn(50, 49, FEATURES)])
    assert tower_digest(tower) == before == tower_digest(make_tower(overall=False))
    with torch.no_grad():
        next(tower.trunk.parameters()).add_(1)
    assert tower_digest(tower) != before


@pytest.mark.parametrize("overall", [False, True])
def test_images_do_not_see_each_other(overall: bool) -> None:
    tower, both = make_tower(overall=overall), views(2)
    torch.testing.assert_close(tower(both).last_hidden_state[:1], tower(both[:1]).last_hidden_state)
