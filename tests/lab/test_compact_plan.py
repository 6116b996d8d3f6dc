"""Before a compact network is trained: which views are planned, and who is held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.imaging.degradations import DEGRADATIONS
from foveal.lab.training.bank import gather_sources
from foveal.lab.training.compact_run import Places, find_photographs, make_split, plan_views
from foveal.ratings.biq2021 import CARD
from foveal.ratings.table import Ratings


@given(rated=st.integers(4, 30), free=st.integers(0, 6), series=st.integers(0, 4), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_every_image_is_planned_with_its_views(rated: int, free: int, series: int, seed: int) -> None:
    names = [f"ss01 ({number}).jpg" for number in range(rated)]
    photographs = [f"a+b/{number}.png" for number in range(free)]
    recipe = {"seed": seed, "rated_series": series, "most_views": 10**6}
    plans = plan_views(names, photographs, recipe)
    assert len(set(plans)) == len(plans) == 5 * rated + 10 * free + 8 * series
    sources = gather_sources(plans)
    assert sorted(sources.names) == sorted([f"biq/{n}" for n in names] + [f"extra/{n}" for n in photographs])
    for name, whole, fragments in zip(sources.names, sources.whole, sources.fragments, strict=True):
        draws = ([0, 1], [0, 1, 2]) if name.startswith("biq/") else ([0], [0])
        assert ([plans[row].draw for row in whole], [plans[row].draw for row in fragments]) == draws
    of_series = Counter(sources.names[source] for source, _, _ in sources.series)
    assert set(of_series.values()) <= {2}
    assert len(of_series) == free + series
    assert {f"extra/{n}" for n in photographs} <= set(of_series)
    for _, mild, strong in sources.series:
        weak, bad = plans[mild[0]], plans[strong[0]]
        assert weak.degradation in DEGRADATIONS
        assert 0.15 <= weak.severity <= 0.5
        assert weak.severity + 0.249 <= bad.severity <= 1
    # The same recipe plans the same views, in any environment; fewer views are the first of them.
    assert plan_views(names, photographs, recipe) == plans
    assert plan_views(names, photographs, recipe | {"most_views": 17}) == plans[:17]


def test_the_seed_decides_on_order_and_series() -> None:
    names = [f"ss01 ({number}).jpg" for number in range(30)]
    plans = [plan_views(names, [], {"seed": seed, "rated_series": 5, "most_views": 10**6}) for seed in (1, 2)]
    assert plans[0] != plans[1]
    assert {plan for plan in plans[0] if not plan.degradation} == {p for p in plans[1] if not p.degradation}
    assert {plan for plan in plans[0] if plan.degradation} != {p for p in plans[1] if p.degradation}


def test_photographs_are_found_pattern_by_pattern(tmp_path: Path) -> None:
    for name in ("b+c/2.png", "b+c/1.png", "a+b/deep/x.jpg", "a+b/deep/y.png", "a+b/z.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_photographs(tmp_path, ["b+c/*.png", "a+b/*/*.jpg"])
    assert found == ["b+c/1.png", "b+c/2.png", "a+b/deep/x.jpg"]


@pytest.fixture
def split_case(
    write_store: Callable[..., None], plan_source: Callable[..., Any], tmp_path: Path
) -> tuple[Places, Ratings, dict[str, set[str]]]:
    """Sixty images in a store; 0-19 come in fours that look alike, and look a little like the next."""
    names = [f"ss01 ({number}).jpg" for number in range(60)]
    plans = [plan for name in names for plan in plan_source(f"biq/{name}", rated=True, series=False)]
    generator = np.random.default_rng(0)
    looks = generator.normal(size=(60, 48))
    for number in range(20):
        looks[number] = looks[number // 4 * 4] + 0.05 * generator.normal(size=48)
    rows = np.array([names.index(plan.source.removeprefix("biq/")) for plan in plans])
    pooled = looks[rows] + [[10.0 * (plan.draw > 0)] for plan in plans]  # only draw 0 may count
    places = Places(*[tmp_path] * 6)
    write_store(places.store, plans, pooled.reshape(-1, 3, 2, 8))
    train = Ratings(CARD, tuple(tmp_path / name for name in names), {"quality": np.linspace(0, 1, 60)})
    alike = {str(four): set(names[4 * four : 4 * four + 4]) for four in range(5)}
    return places, train, alike


def test_near_copies_share_a_part_and_a_fold(
    split_case: tuple[Places, Ratings, dict[str, set[str]]],
) -> None:
    places, train, alike = split_case
    recipe = {"near_copy": 0.9, "validation": 0.2, "seed": 1}
    split = make_split(places, train, recipe)
    parts = [set(split["validation"]), *(set(fold) for fold in split["folds"])]
    assert len(parts) == 6
    assert sum(len(part) for part in parts) == 60
    assert set.union(*parts) == {path.name for path in train.images}
    assert 9 <= len(parts[0]) <= 15
    assert max(map(len, parts[1:])) - min(map(len, parts[1:])) <= 4
    for group in alike.values():
        assert sum(not group.isdisjoint(part) for part in parts) == 1
    assert make_split(places, train, recipe) == split
    # Without the groups they are torn apart, so the lines above say something.
    torn = make_split(places, train, recipe | {"near_copy": 1.0})
    folds = [set(torn["validation"]), *(set(fold) for fold in torn["folds"])]
    assert any(sum(not group.isdisjoint(part) for part in folds) > 1 for group in alike.values())
