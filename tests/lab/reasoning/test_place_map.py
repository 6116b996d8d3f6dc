"""Local quality, learnt from ratings of whole images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from foveal.errors import RatingsError
from foveal.lab.reasoning.place_map import PlaceMap, PlaceMapConfig, fit_place_map

QUICK = PlaceMapConfig(hidden=16, epochs=30, batch=32, rate=1e-2, dropout=0.0)


def planted(images: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Tokens whose first feature is local quality, hidden among others; ratings are means over places."""
    rng = np.random.default_rng(seed)
    local = np.clip(rng.normal(3.2, 0.6, (images, 1)) + rng.normal(0, 0.5, (images, 49)), 1, 5)
    tokens = rng.normal(0, 1, (images, 49, 6)).astype(np.float32)
    tokens[:, :, 0] = local - 3
    return tokens, local


def judged(network: PlaceMap, tokens: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(tokens)).numpy()


def test_local_quality_is_found_in_ratings_of_wholes() -> None:
    tokens, local = planted()
    network = fit_place_map(tokens, local.mean(axis=1), QUICK)
    assert not network.training
    fresh, truth = planted(seed=1)
    found = judged(network, fresh)
    # No place was ever rated, yet places of unseen images are ranked.
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.95
    assert np.abs(found.mean(axis=1) - truth.mean(axis=1)).mean() < 0.1


def test_each_place_is_judged_alone_and_on_the_scale() -> None:
    torch.manual_seed(0)
    network = PlaceMap(6, 16)
    tokens = 100 * planted(3)[0]
    found = judged(network, tokens)
    assert found.shape == (3, 49)
    assert found.min() >= 1
    assert found.max() <= 5
    np.testing.assert_allclose(judged(network, tokens[:, ::-1].copy()), found[:, ::-1], rtol=1e-5)


def test_it_begins_at_the_mean_rating() -> None:
    tokens, local = planted()
    for mean in (1.5, 4.2):
        config = PlaceMapConfig(epochs=1, batch=200, rate=1e-6)
        network = fit_place_map(0 * tokens, np.full(len(local), mean), config)
        assert judged(network, 0 * tokens).mean() == pytest.approx(mean, abs=0.4)


def test_the_same_twice_whatever_the_generator_does() -> None:
    tokens, local = planted(40)
    config = PlaceMapConfig(hidden=8, epochs=2, dropout=0.3)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = judged(fit_place_map(tokens, local.mean(axis=1), config), tokens)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    np.testing.assert_array_equal(judged(fit_place_map(tokens, local.mean(axis=1), config), tokens), first)


def test_tokens_may_lie_on_disk_as_half_floats(tmp_path: Path) -> None:
    tokens, local = planted(40)
    np.save(tmp_path / "tokens.npy", tokens.astype(np.float16))
    config = PlaceMapConfig(hidden=8, epochs=2)
    there = fit_place_map(np.load(tmp_path / "tokens.npy", mmap_mode="r"), local.mean(axis=1), config)
    here = fit_place_map(tokens, local.mean(axis=1), config)
    np.testing.assert_allclose(judged(there, tokens), judged(here, tokens), atol=0.02)


def test_ratings_that_cannot_be_fitted_are_refused() -> None:
    tokens, local = planted(4)
    with pytest.raises(RatingsError, match=r"ratings leave the scale from 1 to 5"):
        fit_place_map(tokens, local.mean(axis=1) * 20)
    with pytest.raises(RatingsError, match="leave the scale"):
        fit_place_map(tokens, np.full(4, np.nan))
    mos = local.mean(axis=1)
    for wrong, ratings in ((tokens[:1], mos[:1]), (tokens[:, 0], mos), (tokens[:3], mos), (tokens, local)):
        with pytest.raises(RatingsError, match=r"expected \(images, places, features\)"):
            fit_place_map(wrong, ratings)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="must be 1 or more"):
        PlaceMapConfig(epochs=0)
    with pytest.raises(ValueError, match="dropout is 1"):
        PlaceMapConfig(dropout=1)
