"""Differences of assessors: paired on resamples as one by one, Holm's correction, t test over splits."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from foveal.evaluation.benchmark.differences import Difference, differences, holm
from foveal.evaluation.benchmark.lines import ALL, Line
from foveal.evaluation.benchmark.plan import LineKey
from foveal.evaluation.benchmark.resampling import ScoredPart, draw
from foveal.evaluation.benchmark.weighted import FIGURES
from foveal.evaluation.significance import compare

Floats = NDArray[np.float64]
RNG = np.random.default_rng(0)
RATED = RNG.uniform(1, 5, 60)
GOOD, FAIR, NOISE = (RATED + RNG.normal(0, spread, 60) for spread in (0.4, 1.0, 30))
ROWS = [np.arange(0, 40), np.arange(20, 60), np.r_[0:20, 40:60]]


def line(name: str, scores: Floats, rows: list[NDArray[np.int64]]) -> Line:
    parts = [ScoredPart(part, scores[part], RATED[part]) for part in rows]
    return Line(
        key=LineKey(name, "", "made"),
        part=ALL,
        cells=(),
        counts=tuple(len(part) for part in rows),
        rest=tuple(160 for _ in rows),
        draws=draw(parts, [str(row) for row in range(60)], resamples=300, seed=5),
        figures={},
    )


def find(found: tuple[Difference, ...], figure: str, *names: str) -> Difference:
    (one,) = [one for one in found if one.figure == figure and (one.first, one.second) == names]
    return one


@pytest.mark.parametrize("figure", ["srcc", "plcc"])
def test_one_part_is_compared_as_by_the_house(figure: Literal["srcc", "plcc"]) -> None:
    rows = [np.arange(60)]
    found = differences([line("good", GOOD, rows), line("fair", FAIR, rows)], 0.9)
    ours = find(found, figure, "good", "fair")
    theirs = compare(GOOD, FAIR, RATED, figure, resamples=300, level=0.9, seed=5)
    np.testing.assert_allclose(
        (ours.difference, ours.low, ours.high, ours.p_value),
        (theirs.difference, theirs.low, theirs.high, theirs.p_value),
        atol=1e-9,
    )
    assert ours.p_adjusted == ours.p_value  # the only pair
    assert np.isnan(ours.p_splits)


def test_every_pair_in_every_figure() -> None:
    lines = [line(name, scores, ROWS) for name, scores in (("a", GOOD), ("b", FAIR), ("c", NOISE))]
    found = differences(lines, 0.95)
    assert len(found) == 3 * len(FIGURES)
    for figure in FIGURES:
        pairs = [one for one in found if one.figure == figure]
        assert [(one.first, one.second) for one in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
        assert [one.p_adjusted for one in pairs] == holm([one.p_value for one in pairs])
    best = find(found, "srcc", "a", "c")
    assert best.difference > 0.4
    assert best.low > 0
    assert best.p_value == pytest.approx(2 / 301)
    assert find(found, "rmse_4", "a", "c").difference < 0  # fewer errors


def test_over_splits_it_is_the_corrected_resampled_t_test() -> None:
    first, second = line("a", GOOD, ROWS), line("b", FAIR, ROWS)
    one = find(differences([first, second], 0.95), "plcc", "a", "b")
    by_part = [
        stats.pearsonr(GOOD[rows], RATED[rows]).statistic - stats.pearsonr(FAIR[rows], RATED[rows]).statistic
        for rows in ROWS
    ]
    # Without the correction this would be the usual paired t test.
    plain = stats.ttest_1samp(by_part, 0).statistic
    corrected = plain * np.sqrt((1 / 3) / (1 / 3 + 40 / 160))
    assert one.p_splits == pytest.approx(2 * stats.t.sf(abs(corrected), 2))
    assert one.difference == pytest.approx(np.mean(by_part))


def test_an_assessor_is_no_better_than_itself() -> None:
    found = differences([line("a", GOOD, ROWS), line("b", 2 * GOOD + 1, ROWS)], 0.95)
    for figure in ("srcc", "krcc", "plcc"):
        one = find(found, figure, "a", "b")
        assert (one.p_value, one.p_splits) == (1.0, 1.0)
        assert one.difference == pytest.approx(0, abs=1e-12)


def test_what_one_of_them_has_not_is_not_compared() -> None:
    constant = np.full(60, 3.0)
    assert differences([line("a", GOOD, ROWS), line("b", constant, ROWS)], 0.95) == ()
    assert differences([line("a", GOOD, ROWS)], 0.95) == ()


def test_holm_by_hand() -> None:
    # Four times the smallest, three times the next ...; never smaller than the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(0 <= p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
