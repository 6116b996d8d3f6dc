"""Statistics over many scores, against the standard library."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.pipeline.rows import Row
from foveal.pipeline.summary import Extremes, Summary

qualities = st.floats(1, 5)


def summed(values: list[float | None]) -> Summary:
    summary = Summary()
    for value in values:
        summary.add(Row("x", value, value, value, "m@1", error=None if value is not None else "broken"))
    return summary


@given(
    values=st.lists(st.none() | qualities).filter(lambda values: any(value is not None for value in values))
)
def test_figures(values: list[float | None]) -> None:
    summary, scores = summed(values), [value for value in values if value is not None]
    assert summary.failed == values.count(None)
    assert summary.scored == len(scores)
    assert summary.mean() == pytest.approx(statistics.fmean(scores))
    assert summary.median() == pytest.approx(statistics.median(scores))
    assert summary.spread() == pytest.approx(statistics.pstdev(scores), abs=1e-7)


@given(values=st.lists(qualities))
def test_the_histogram_counts_every_score_where_it_belongs(values: list[float]) -> None:
    bins = summed(list(values)).histogram()
    assert [low for low, _, _ in bins] == [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]
    assert sum(count for _, _, count in bins) == len(values)
    for low, high, count in bins:
        assert count == sum(low <= value < high or value == high == 5.0 for value in values)


@given(keys=st.lists(st.integers(0, 9).map(float)), size=st.integers(0, 5), lowest=st.booleans())
def test_extremes_are_the_first_of_a_stable_sort(keys: list[float], size: int, lowest: bool) -> None:
    extremes = Extremes[tuple[float, int]](size, lowest=lowest)
    items = [(key, place) for place, key in enumerate(keys)]
    for item in items:
        extremes.offer(item[0], item)
    assert extremes.items() == sorted(items, key=lambda item: item[0] if lowest else -item[0])[:size]
