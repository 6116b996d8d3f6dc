"""The bank of a distillation: who is in it, who judged whom, and how its targets are scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from foveal.lab.training.bank import build_bank, gather_sources
from foveal.lab.training.distill import Bank
from foveal.lab.training.probe import ProbeConfig
from foveal.lab.training.view_store import ViewPlan

LAYERS, WIDTH = 3, 8
# Long enough to learn its images by heart: whoever has seen an image gives its rating away.
BY_HEART = ProbeConfig(hidden=64, dropout=0.0, epochs=150, batch=16, lr=5e-3, weight_decay=0.0)
QUICK = ProbeConfig(hidden=8, epochs=2, batch=16)

RATED = [f"biq/{number:02d}.jpg" for number in range(30)]
HELD_OUT = {"biq/27.jpg", "biq/28.jpg", "biq/29.jpg"}
FREE = [f"extra/{number}.png" for number in range(5)]
WITH_SERIES = {*RATED[:8], "biq/28.jpg", *FREE}
FOLDS = {name: number % 5 for number, name in enumerate(RATED) if name not in HELD_OUT}


@dataclass
class Case:
    """A store with features and ratings that have nothing to do with each other."""

    plans: list[ViewPlan]
    features: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    quality: dict[str, float] = field(default_factory=dict)


@pytest.fixture
def case(plan_source: Callable[..., list[ViewPlan]]) -> Case:
    plans = [p for name in RATED for p in plan_source(name, rated=True, series=False)]
    plans += [p for name in FREE for p in plan_source(name, rated=False, series=True)]
    undamaged = {name: plan_source(name, rated=True, series=False) for name in RATED}
    plans += [
        p
        for name in RATED
        if name in WITH_SERIES
        for p in plan_source(name, rated=True, series=True)
        if p not in undamaged[name]
    ]
    generator = np.random.default_rng(0)
    features = {name: generator.normal(size=LAYERS * 2 * WIDTH) for name in RATED + FREE}
    quality = {name: float(score) for name, score in zip(RATED, generator.uniform(1, 5, 30), strict=True)}
    return Case(plans, features, quality)


@pytest.fixture
def build(write_store: Callable[..., None], tmp_path: Path) -> Callable[..., tuple[Bank, dict[str, float]]]:
    """Builds the bank of a case; all views of a source look alike to the teacher, but for a little noise."""

    def build(
        case: Case,
        config: ProbeConfig = QUICK,
        folds: dict[str, int] = FOLDS,
        noise: Callable[[ViewPlan], float] = lambda plan: 0.05,
    ) -> tuple[Bank, dict[str, float]]:
        generator = np.random.default_rng(1)
        pooled = np.stack([
            case.features[plan.source] + noise(plan) * generator.normal(size=LAYERS * 2 * WIDTH)
            for plan in case.plans
        ])  # fmt: skip
        write_store(tmp_path, case.plans, pooled.reshape(-1, LAYERS, 2, WIDTH))
        return build_bank(tmp_path, case.quality, folds, HELD_OUT, config)

    return build


Build = Callable[..., tuple[Bank, dict[str, float]]]


def test_rows_are_grouped_by_source(case: Case) -> None:
    sources = gather_sources(case.plans)
    assert sources.names == list(dict.fromkeys(plan.source for plan in case.plans))
    for number, name in enumerate(sources.names):
        for kind, rows in (("whole", sources.whole[number]), ("fragments", sources.fragments[number])):
            clean = [
                row
                for row, plan in enumerate(case.plans)
                if (plan.source, plan.kind, plan.degradation) == (name, kind, "")
            ]
            assert rows == clean
            assert case.plans[rows[0]].draw == 0  # the view that the assessor sees comes first
    assert len(sources.series) == 2 * len(WITH_SERIES)
    for source, mild, strong in sources.series:
        four = [case.plans[row] for row in (*mild, *strong)]
        assert {plan.source for plan in four} == {sources.names[source]}
        assert len({plan.degradation for plan in four}) == 1
        assert [plan.kind for plan in four] == ["whole", "fragments"] * 2
        assert four[0].severity == four[1].severity < four[2].severity == four[3].severity


@pytest.mark.parametrize("lost", range(1, 8))
def test_a_series_that_was_cut_off_is_left_out(case: Case, lost: int) -> None:
    # A store cut at a number of views can end within a series.
    whole = gather_sources(case.plans).series
    cut = gather_sources(case.plans[:-lost]).series
    assert cut == whole[: -1 if lost <= 4 else -2]


def test_held_out_sources_are_nowhere(case: Case, build: Build) -> None:
    bank, judged = build(case)
    sources = gather_sources(case.plans)
    held = {number for number, name in enumerate(sources.names) if name in HELD_OUT}
    assert {sources.names[i] for i in bank.rated} == set(RATED) - HELD_OUT
    assert {sources.names[i] for i in bank.unrated} == set(FREE)
    assert held.isdisjoint(source for source, _, _ in bank.series)
    shown = [row for _, mild, strong in bank.series for row in (*mild[:2], *strong[:2])]
    assert HELD_OUT.isdisjoint(case.plans[row].source for row in shown)
    assert len(bank.series) == 2 * (len(WITH_SERIES) - 1)
    assert judged.keys() == HELD_OUT


def test_ratings_of_held_out_sources_change_nothing(case: Case, build: Build) -> None:
    bank, judged = build(case)
    for name in HELD_OUT:
        case.quality[name] = 6 - case.quality[name]
    again, judged_again = build(case)
    np.testing.assert_array_equal(bank.target, again.target)
    assert judged == judged_again


def test_every_rated_image_is_judged_by_a_probe_that_never_saw_it(case: Case, build: Build) -> None:
    bank, _ = build(case, BY_HEART)
    scores = np.array([case.quality[gather_sources(case.plans).names[i]] for i in bank.rated])
    blind = 2 * bank.target[bank.rated] - scores
    # Ratings are random: from features alone nobody can know them ...
    missed = np.abs(blind - scores).mean()
    assert missed > 0.6
    # ... but four of the five probes have seen each image, and do: its degraded copies, which look the same
    # to this teacher, are given its rating. So the line above fails for any other choice of probes.
    clean = np.array([case.quality[gather_sources(case.plans).names[s]] for s, _, _ in bank.series[10:]])
    mild = np.array([mild[2] for _, mild, _ in bank.series[10:]])
    assert len(clean) == 16
    assert np.abs(mild - clean).mean() < 0.4 * missed


@pytest.mark.slow
def test_near_copies_in_other_folds_would_give_ratings_away(case: Case, build: Build) -> None:
    # 0 and 15, 1 and 16 ...: the same picture and rating twice. In one fold they are judged blindly.
    kept = [name for name in RATED if name not in HELD_OUT]
    for number in range(15, 27):
        case.features[RATED[number]] = case.features[RATED[number - 15]]
        case.quality[RATED[number]] = case.quality[RATED[number - 15]]
    names = gather_sources(case.plans).names

    def missed_by(folds: dict[str, int]) -> float:
        bank, _ = build(case, BY_HEART, folds)
        pairs = [i for i in bank.rated if names[i] in RATED[:12] or names[i] in RATED[15:27]]
        scores = np.array([case.quality[names[i]] for i in pairs])
        return float(np.abs(2 * bank.target[pairs] - scores - scores).mean())

    together = {name: RATED.index(name) % 15 % 5 for name in kept}
    apart = {name: (RATED.index(name) + RATED.index(name) // 15) % 5 for name in kept}
    assert missed_by(together) > 0.6
    assert missed_by(apart) < 0.2


def test_targets_blend_the_rating_and_the_blind_prediction(case: Case, build: Build) -> None:
    # Ratings that all agree leave the probes one answer, so the blend is the rating.
    case.quality = dict.fromkeys(case.quality, 4.0)
    bank, judged = build(case, ProbeConfig(hidden=8, dropout=0.0, epochs=30, batch=16))
    assert bank.target.shape == (len(RATED) + len(FREE),)
    np.testing.assert_allclose(bank.target[bank.rated], 4, atol=0.3)
    np.testing.assert_allclose(bank.target[bank.unrated], 4, atol=0.5)
    np.testing.assert_allclose(list(judged.values()), 4, atol=0.5)
    assert [score for _, mild, strong in bank.series for score in (mild[2], strong[2])] == pytest.approx(
        [4] * (4 * (len(WITH_SERIES) - 1)), abs=0.6
    )


def test_scaled_targets_have_unit_mean_square(case: Case, build: Build) -> None:
    case.features = {name: value * np.geomspace(5, 0.05, len(value)) for name, value in case.features.items()}
    bank, _ = build(case)
    assert bank.tokens.dtype == np.float16
    assert bank.pooled.dtype == np.float32
    assert len(bank.tokens) == len(bank.pooled) == len(bank.pixels) == len(case.plans)
    tokens = bank.tokens.astype(np.float64) ** 2
    assert tokens.mean() == pytest.approx(1, abs=0.05)
    fitted = [row for i in (*bank.rated, *bank.unrated) for row in (*bank.whole[i], *bank.fragments[i])]
    pooled = bank.pooled[fitted].astype(np.float64) ** 2
    assert pooled.mean() == pytest.approx(1, abs=0.25)  # the mean of so few sources is not quite zero
    # Tokens were written with deviations from 3 to 0.1: none may drown.
    assert tokens.mean(axis=(0, 1, 2)).min() > 0.1
    assert pooled.mean(axis=0).min() > 0.01


def test_features_without_variance_do_not_become_nan(case: Case, build: Build) -> None:
    # Half of the features repeat the other half: as many principal components have no variance at all.
    half = LAYERS * WIDTH
    for value in case.features.values():
        value[half:] = value[:half]
    bank, _ = build(case, noise=lambda plan: 0.0)
    assert np.isfinite(bank.pooled).all()
    assert 0 < bank.pooled.shape[1] <= half
    assert np.abs(bank.pooled).max() < 100


def test_a_store_without_free_photographs_will_do(case: Case, build: Build) -> None:
    case.plans = [plan for plan in case.plans if plan.source not in FREE]
    bank, _ = build(case)
    assert len(bank.unrated) == 0
    assert bank.unrated.dtype == np.int64
    assert len(bank.rated) == 27


def test_tokens_stay_with_their_view(case: Case, build: Build, tmp_path: Path) -> None:
    bank, _ = build(case)
    stored = np.load(tmp_path / "tokens.npy").astype(np.float64)
    ratio = bank.tokens.astype(np.float64) / np.where(np.abs(stored) < 0.05, np.nan, stored)
    for component in range(stored.shape[-1]):  # one factor a component, the same for all views and places
        assert np.nanstd(ratio[..., component]) < 0.01 * np.nanmean(ratio[..., component])
    assert [int(bank.pixels[row, 0, 0, 0]) for row in range(200)] == list(range(200))
