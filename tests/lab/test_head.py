"""The head on frozen features: quality, order of degraded series, and a spread that knows where it errs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from foveal.evaluation.correlation import srcc
from foveal.lab.training.head import Head, HeadConfig, HeadData, fit_head, judge_features

Features = NDArray[np.float32]
QUICK = HeadConfig(signature=16, hidden=16, dropout=0.1, epochs=30, batch=96, series=24)
WIDTH = 6
"""Features a view: 0 is what is judged, 1 is how doubtful a case is, 2 is damage, the rest is noise."""


def make_data(images: int, seed: int, damage: int = 300) -> HeadData:
    """Features with two whole and three fragment draws an image, and series of growing damage.

    Ratings go by column 0 of both views, with an error whose size goes by column 1 of the whole view.
    """
    generator = np.random.default_rng(seed)
    rows: list[Features] = []

    def add(row: Features) -> int:
        rows.append(row.astype(np.float32))
        return len(rows) - 1

    whole, fragments, quality = [], [], []
    for _ in range(images):
        one, other = generator.normal(size=(2, WIDTH))
        one[2] = other[2] = 0
        true = 3 + 0.6 * np.tanh(one[0]) + 0.6 * np.tanh(other[0])
        error = 0.05 if one[1] < 0 else 0.6
        quality.append(np.clip(true + generator.laplace(0, error), 1, 5))
        whole.append([add(one), add(one + generator.normal(0, 0.02, WIDTH))])
        fragments.append([add(other), add(other), add(other + generator.normal(0, 0.02, WIDTH))])
    series = []
    for _ in range(damage):
        clean = generator.normal(size=(2, WIDTH))
        steps = []
        for strength in (0.0, generator.uniform(0.7, 1.3), generator.uniform(1.7, 2.3)):
            copies = clean + generator.normal(0, 0.05, clean.shape)
            copies[:, 2] = strength
            steps.append([add(copies[0]), add(copies[1])])
        series.append(steps)
    return HeadData(
        features=np.stack(rows),
        pairs=(np.array(whole), np.array(fragments)),
        quality=np.array(quality, np.float32),
        series=np.array(series),
    )


def first_draws(data: HeadData) -> NDArray[np.int64]:
    return np.stack([data.pairs[0][:, 0], data.pairs[1][:, 0]], axis=1)


@pytest.fixture(scope="module")
def head() -> Head:
    return fit_head(make_data(1500, 0), QUICK)


@pytest.fixture(scope="module")
def new() -> HeadData:
    """Images that it was not fitted on."""
    return make_data(500, 1)


def test_beats_chance_on_new_images(head: Head, new: HeadData) -> None:
    quality, _ = judge_features(head, new.features, first_draws(new))
    assert srcc(quality, new.quality) > 0.7
    sure = new.features[first_draws(new)[:, 0], 1] < 0
    assert srcc(quality[sure], new.quality[sure]) > 0.9


def test_orders_degraded_series(head: Head, new: HeadData) -> None:
    clean, mild, strong = (judge_features(head, new.features, new.series[:, step])[0] for step in range(3))
    assert np.mean(clean > mild) > 0.95
    assert np.mean(mild > strong) > 0.95


@pytest.mark.slow
def test_order_is_learnt_from_the_series_alone(new: HeadData) -> None:
    deaf = fit_head(make_data(600, 0), replace(QUICK, rank_weight=0.0, epochs=15))
    clean, strong = (judge_features(deaf, new.features, new.series[:, step])[0] for step in (0, 2))
    assert np.mean(clean > strong) < 0.9


def test_spread_is_larger_where_ratings_are_noisier(head: Head, new: HeadData) -> None:
    quality, spread = judge_features(head, new.features, first_draws(new))
    doubtful = new.features[first_draws(new)[:, 0], 1] > 0
    assert spread.min() > 0
    assert np.median(spread[doubtful]) > 1.25 * np.median(spread[~doubtful])
    assert srcc(spread, np.abs(quality - new.quality)) > 0.3


@pytest.mark.slow
def test_the_spread_does_not_pull_the_quality(new: HeadData) -> None:
    # Its loss must not teach the head to be content with errors: quality stays on the ratings' scale.
    fitted = fit_head(make_data(600, 2), replace(QUICK, rank_weight=0.0, correlation_weight=0.0))
    quality, _ = judge_features(fitted, new.features, first_draws(new))
    assert abs(float(quality.mean() - new.quality.mean())) < 0.15


def test_judging_features_is_the_forward_pass(head: Head, new: HeadData) -> None:
    rows = [(3, 5), (0, 1), (7, 7)]
    quality, spread = judge_features(head, new.features, rows)
    with torch.inference_mode():
        expected = head(torch.from_numpy(new.features[[3, 0, 7]]), torch.from_numpy(new.features[[5, 1, 7]]))
    np.testing.assert_array_equal(quality, expected[0].numpy())
    np.testing.assert_array_equal(spread, expected[1].numpy())
    assert quality.shape == spread.shape == (3,)
    assert quality.dtype == spread.dtype == np.float32


def test_stays_on_the_scale_for_wild_features(head: Head) -> None:
    wild = torch.tensor([[1e6] * WIDTH, [-1e6] * WIDTH])
    with torch.inference_mode():
        quality, spread = head(wild, wild.flip(0))
    assert bool(((quality >= 1) & (quality <= 5)).all())
    assert bool((torch.isfinite(spread) & (spread >= 0.05)).all())


@pytest.mark.slow
def test_all_draws_of_an_image_are_seen() -> None:
    # The first draw of each view says nothing; a head that never saw the second could not judge it.
    data = make_data(800, 3)
    features = data.features.copy()
    features[data.pairs[0][:, 0]] = 0
    features[data.pairs[1][:, :2]] = 0
    fitted = fit_head(replace(data, features=features), QUICK)
    rows = np.stack([data.pairs[0][:, 1], data.pairs[1][:, 2]], axis=1)
    assert srcc(judge_features(fitted, features, rows)[0], data.quality) > 0.5


def test_a_seed_gives_the_same_head_and_another_seed_another() -> None:
    data, short = make_data(100, 4, damage=20), replace(QUICK, epochs=3)

    def judge(seed: int) -> Features:
        return judge_features(fit_head(data, replace(short, seed=seed)), data.features, first_draws(data))[0]

    torch.manual_seed(5)
    first = judge(0)
    torch.manual_seed(6)
    np.testing.assert_array_equal(first, judge(0))
    assert not np.array_equal(first, judge(1))
