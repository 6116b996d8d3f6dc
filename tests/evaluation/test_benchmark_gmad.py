"""gMAD: attacks against a search of all pairs, and what must not matter to them."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foveal.evaluation.benchmark.gmad import compete, level_rows

Floats = NDArray[np.float64]
SCORES = st.integers(2, 40).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 30), min_size=n, max_size=n)] * 3)
)


@settings(max_examples=40, deadline=None)
@given(SCORES, st.integers(1, 5), st.sampled_from([0.05, 0.2, 0.5, 1.0]))
def test_attacks_are_the_largest_disagreements_of_all_pairs(
    columns: tuple[list[int], ...], levels: int, share: float
) -> None:
    scores = {name: np.array(column, float) for name, column in zip("abc", columns, strict=True)}
    found = {(d.defender, d.attacker, d.level): d for d in compete(scores, levels=levels, share=share)}
    for defender, attacker in permutations("abc", 2):
        for level, rows in enumerate(level_rows(scores[defender], levels, share), 1):
            largest = max(abs(scores[attacker][i] - scores[attacker][j]) for i, j in combinations(rows, 2))
            duel = found.pop((defender, attacker, level), None)
            if largest == 0:
                assert duel is None
                continue
            assert duel is not None
            assert {duel.better, duel.worse} <= set(rows.tolist())
            assert scores[attacker][duel.better] - scores[attacker][duel.worse] == largest
            assert duel.gap == pytest.approx(largest / np.std(scores[attacker]))
    assert found == {}


@settings(max_examples=40, deadline=None)
@given(SCORES, st.integers(1, 5), st.sampled_from([0.05, 0.2, 0.5, 1.0]))
def test_levels_are_neighbours_in_the_ranking(
    columns: tuple[list[int], ...], levels: int, share: float
) -> None:
    scores = np.array(columns[0], float)
    found = level_rows(scores, levels, share)
    assert len(found) == levels
    size = min(len(scores), max(2, round(share * len(scores))))
    middles = []
    for rows in found:
        assert len(set(rows.tolist())) == len(rows) == size
        # Nobody outside lies strictly between two inside.
        outside = np.delete(scores, rows)
        assert not ((outside > scores[rows].min()) & (outside < scores[rows].max())).any()
        middles.append(np.median(scores[rows]))
    assert middles == sorted(middles)


def test_levels_by_hand() -> None:
    scores = np.array([9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    assert [rows.tolist() for rows in level_rows(scores, 2, 0.2)] == [[6, 7], [2, 3]]
    assert [rows.tolist() for rows in level_rows(scores, 1, 1.0)] == [list(range(10))]


def test_units_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, 50), rng.normal(0, 1, 50)
    plain = compete({"a": first, "b": second}, levels=3, share=0.2)
    mapped = compete({"a": np.exp(first), "b": 7 + 3 * second}, levels=3, share=0.2)
    pairs = [(d.defender, d.attacker, d.level, d.better, d.worse) for d in plain]
    assert pairs == [(d.defender, d.attacker, d.level, d.better, d.worse) for d in mapped]
    assert [d.level for d in plain] == [1, 2, 3, 1, 2, 3]  # both roles


def test_too_little_to_compete() -> None:
    assert compete({"a": np.arange(9.0)}, levels=3, share=0.5) == ()
    assert compete({"a": np.array([1.0]), "b": np.array([2.0])}, levels=3, share=0.5) == ()
    assert compete({"a": np.arange(9.0), "b": np.full(9, 1.0)}, levels=1, share=0.5)[0].attacker == "a"
