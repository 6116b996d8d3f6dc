"""Impressions: learnt where there is something to learn, and never from an image's own rating."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.evaluation.correlation import srcc
from foveal.explanation.wordings import IMPRESSIONS, WORDINGS
from foveal.lab.reasoning.impressions import (
    degrees_of_impressions,
    fit_apart,
    fit_impressions,
    kept,
    pool_tokens,
)
from foveal.lab.reasoning.levels import Q_ALIGN


def data(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Fragments tell one half of the rating, the whole the other."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, 4, 6)).astype(np.float32)
    return features, np.clip(3 + 0.7 * features[:, 0, 0] + 0.5 * features[:, 1, 3], 1, 5)


@pytest.mark.slow
def test_each_impression_learns_its_own_view() -> None:
    train, mos = data(900, 0)
    others, _ = data(300, 1)
    learnt = fit_impressions(train, mos, others)
    assert srcc(learnt.others[0], others[:, 0, 0]) > 0.9
    assert srcc(learnt.others[1], others[:, 1, 3]) > 0.9
    assert abs(srcc(learnt.others[0], others[:, 1, 3])) < 0.3


@pytest.mark.slow
def test_cross_fitting_gives_no_rating_away() -> None:
    random = np.random.default_rng(2)
    train = random.normal(size=(400, 4, 150)).astype(np.float32)
    noise = random.uniform(1, 5, 400)
    learnt = fit_impressions(train, noise, train)
    # Networks that have seen the ratings know them by heart; those that describe an image have not.
    assert srcc(learnt.others[0], noise) > 0.5
    assert abs(srcc(learnt.fitted[0], noise)) < 0.2


@pytest.mark.slow
def test_a_second_pass_gives_no_rating_away_either() -> None:
    random = np.random.default_rng(6)
    train = random.normal(size=(400, 4, 150)).astype(np.float32)
    noise = random.uniform(1, 5, 400)
    apart = fit_apart(train, noise, networks=1)
    assert apart.shape == (5, 4, 400)
    # Each fold's targets know nothing of it, and there is one for every other image.
    assert np.array_equal(np.isnan(apart).sum(axis=(0, 1)), np.full(400, 4))
    second = fit_impressions(train, apart, train, networks=1).fitted
    naive = fit_impressions(
        train, np.tile(fit_impressions(train, noise, train, networks=1).fitted, (5, 1, 1)), train, networks=1
    ).fitted
    assert max(abs(srcc(row, noise)) for row in second) < 0.2
    assert max(srcc(row, noise) for row in naive) > 0.3  # what cross-fitting alone would let through


@pytest.mark.slow
def test_a_second_pass_still_learns() -> None:
    train, mos = data(900, 7)
    second = fit_impressions(train, fit_apart(train, mos, networks=1), train, networks=1)
    assert srcc(second.fitted[0], train[:, 0, 0]) > 0.9


def test_two_folds_cannot_be_left_out_of_two() -> None:
    train, mos = data(20, 5)
    with pytest.raises(ValueError, match="three or more"):
        fit_apart(train, mos, folds=2)


@pytest.mark.slow
def test_images_that_belong_together_share_a_fold() -> None:
    random = np.random.default_rng(3)
    once = random.normal(size=(300, 4, 200)).astype(np.float32)
    ratings = random.uniform(1, 5, 300)
    train, mos, groups = np.concatenate([once, once]), np.tile(ratings, 2), np.tile(np.arange(300), 2)
    alone = fit_impressions(train, mos, once).fitted[0]
    together = fit_impressions(train, mos, once, groups=groups).fitted[0]
    assert srcc(alone, mos) > 0.3
    assert abs(srcc(together, mos)) < 0.15


@pytest.mark.slow
def test_runs_repeat() -> None:
    train, mos = data(500, 4)
    learnt, again = (fit_impressions(train, mos, train[:5], seed=7) for _ in range(2))
    assert np.array_equal(learnt.fitted, again.fitted)


def test_degrees_lie_on_the_scale_of_ratings_and_take_the_side_of_the_verdict_s_level() -> None:
    values = np.tile(np.linspace(1, 5, 401), (4, 1))
    degrees = degrees_of_impressions(values)
    scene = np.array([row["scene"] for row in degrees])
    assert set(degrees[0]) == set(IMPRESSIONS)
    assert np.all(np.diff(scene) >= 0)
    assert set(scene) == set(range(WORDINGS["scene"].degrees))
    worth = np.asarray(Q_ALIGN.values)[Q_ALIGN.level_of(values[0])]
    polarity = np.array([WORDINGS["scene"].polarity(int(degree)) for degree in scene])
    inside = np.abs((values[0] - 1) / 0.8 % 1 - 0.5) < 0.49  # not on the border of two levels
    assert np.array_equal(polarity[inside], np.sign(worth - 3)[inside])


def test_too_few_groups_are_refused() -> None:
    train, mos = data(20, 5)
    with pytest.raises(ValueError, match="2 groups of images cannot be put into 5 folds"):
        fit_impressions(train, mos, train, groups=[0, 1] * 10)


def test_each_impression_looks_at_its_own_part() -> None:
    places = np.arange(49, dtype=np.float32)[:, None]
    tokens = np.concatenate([np.full((49, 3), 2.0), places * np.ones((49, 3))], axis=1).astype(np.float16)
    rendering, scene, centre, surroundings = pool_tokens(tokens)
    assert rendering == pytest.approx([24] * 3 + [np.arange(49).std()] * 3)
    assert scene == pytest.approx([2] * 3 + [0] * 3)
    # The nine central places of 7 x 7 lie evenly around place 24.
    assert centre == pytest.approx([2] * 3 + [24] * 3)
    assert surroundings == pytest.approx([2] * 3 + [24] * 3)
    tokens[24] = 100
    changed = pool_tokens(tokens)
    assert np.array_equal(changed[3], surroundings)
    assert not np.array_equal(changed[2], centre)


@pytest.mark.slow
def test_degraded_copies_are_judged_by_others_and_never_above_their_original() -> None:
    train, mos = data(400, 6)
    better, worse = train[:50].copy(), train[:50].copy()
    better[:, 0, 0] += 1
    worse[:, 0, 0] -= 1
    for copies, expected in ((better, 0.0), (worse, -0.5)):
        learnt = fit_impressions(train, mos, train[:3], copies=copies, sources=np.arange(50))
        change = learnt.copied[0] - learnt.fitted[0, :50]
        assert change.max() <= 0
        assert change.mean() == pytest.approx(expected, abs=0.2)


def test_another_number_of_impressions_is_refused() -> None:
    train, mos = data(20, 7)
    with pytest.raises(ValueError, match="expected \\(images, 4, features\\)"):
        fit_impressions(train[:, :2], mos, train)


@pytest.mark.slow
def test_what_other_eyes_saw_is_learnt_as_far_as_these_can_see_it() -> None:
    train, _ = data(900, 8)
    others, _ = data(300, 9)
    # Other eyes see a thing of each impression's own, and one that is hidden from these.
    hidden = np.random.default_rng(10).normal(size=900)
    seen = np.stack([3 + train[:, number, 2] for number in range(4)]) + 0.5 * hidden
    learnt = fit_impressions(train, np.tile(seen, (5, 1, 1)), others)
    for number in range(4):
        assert srcc(learnt.others[number], others[:, number, 2]) > 0.9
    assert abs(srcc(learnt.fitted[0], hidden)) < 0.15


def test_impressions_are_kept_for_the_same_and_fitted_anew_for_another(tmp_path: Path) -> None:
    asked = []

    def fit(value: float) -> dict[str, np.ndarray]:
        asked.append(value)
        return {"fitted": np.full((4, 2), value)}

    made_of = ("tower", np.arange(3.0), [1, 2])
    first = kept(tmp_path / "kept", made_of, lambda: fit(1.0))
    again = kept(tmp_path / "kept", made_of, lambda: fit(2.0))
    assert np.array_equal(first["fitted"], again["fitted"])
    assert again["fitted"].dtype == np.float64
    other = kept(tmp_path / "kept", ("tower", np.arange(4.0), [1, 2]), lambda: fit(3.0))
    assert asked == [1.0, 3.0]
    assert other["fitted"][0, 0] == 3
    assert not list((tmp_path / "kept").glob("*.part"))
