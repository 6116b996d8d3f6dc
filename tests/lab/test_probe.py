"""Probes on frozen features: that they learn what can be learnt, from both views and all draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from foveal.evaluation.correlation import srcc
from foveal.lab.training.probe import ProbeConfig, fit_probe, predict

Features = NDArray[np.float32]
QUICK = ProbeConfig(hidden=24, dropout=0.1, epochs=40, batch=64)


def make_relation(count: int, seed: int) -> tuple[list[tuple[Features, Features]], Features]:
    """Two draws of features whose first columns, one a view, make the quality; six columns say nothing."""
    generator = np.random.default_rng(seed)
    whole, fragments = (generator.normal(size=(count, 4)).astype(np.float32) for _ in range(2))
    quality = 3 + 0.7 * np.tanh(whole[:, 0]) + 0.7 * np.tanh(fragments[:, 0])
    rated = quality + generator.normal(0, 0.1, count)
    again = [x + generator.normal(0, 0.1, x.shape).astype(np.float32) for x in (whole, fragments)]
    return [(whole, fragments), (again[0], again[1])], rated.astype(np.float32)


@pytest.fixture(scope="module")
def probe() -> torch.nn.Module:
    pairs, quality = make_relation(800, 0)
    return fit_probe(pairs, quality, QUICK, seed=0)


def test_learns_from_both_views_and_holds_on_new_images(probe: torch.nn.Module) -> None:
    pairs, quality = make_relation(300, 1)
    whole, fragments = pairs[0]
    assert srcc(predict(probe, whole, fragments), quality) > 0.9
    # Either view alone explains half: a probe that read one of them could not pass the line above.
    shuffled = np.random.default_rng(0).permutation(300)
    assert srcc(predict(probe, whole[shuffled], fragments), quality) < 0.85
    assert srcc(predict(probe, whole, fragments[shuffled]), quality) < 0.85


def test_predictions_are_on_the_scale_of_the_ratings(probe: torch.nn.Module) -> None:
    pairs, quality = make_relation(300, 2)
    predicted = predict(probe, *pairs[0])
    assert predicted.shape == (300,)
    assert predicted.dtype == np.float32
    assert abs(predicted.mean() - quality.mean()) < 0.1
    assert np.sqrt(np.mean((predicted - quality) ** 2)) < 0.5 * quality.std()


def test_learns_nothing_from_nothing() -> None:
    generator = np.random.default_rng(3)
    pairs, _ = make_relation(400, 3)
    fitted = fit_probe(pairs, generator.uniform(1, 5, 400).astype(np.float32), QUICK, seed=0)
    new, _ = make_relation(400, 4)
    assert abs(srcc(predict(fitted, *new[0]), generator.uniform(1, 5, 400))) < 0.2


def test_all_draws_are_seen() -> None:
    # Draw 0 says nothing; whoever learns from draw 1 alone can judge.
    pairs, quality = make_relation(600, 5)
    silent = (np.zeros_like(pairs[0][0]), np.zeros_like(pairs[0][1]))
    fitted = fit_probe([silent, pairs[1]], quality, QUICK, seed=0)
    new, rated = make_relation(300, 6)
    assert srcc(predict(fitted, *new[1]), rated) > 0.8


def test_starts_at_the_mean_rating() -> None:
    pairs, quality = make_relation(100, 7)
    still = ProbeConfig(hidden=24, epochs=1, batch=100, lr=1e-9)
    predicted = predict(fit_probe(pairs, quality + 1, still, seed=0), *pairs[0])
    assert abs(predicted.mean() - (quality.mean() + 1)) < 0.3


def test_a_seed_gives_the_same_probe_and_another_seed_another() -> None:
    pairs, quality = make_relation(200, 8)
    short = ProbeConfig(hidden=8, epochs=3, batch=32)

    def judge(seed: int) -> Features:
        return predict(fit_probe(pairs, quality, short, seed), *pairs[0])

    torch.manual_seed(99)  # what was drawn before must not matter
    first = judge(1)
    torch.manual_seed(7)
    np.testing.assert_array_equal(first, judge(1))
    assert not np.array_equal(first, judge(2))
