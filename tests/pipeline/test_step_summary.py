"""A summary that does not grow tells what the one that does tells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.pipeline.rows import Row
from foveal.pipeline.step_summary import StepSummary, steps_of
from foveal.pipeline.summary import Summary

HALF_A_STEP = 5.1e-6


def row(quality: float | None) -> Row:
    return Row("x", quality, quality, quality, "m@1")


@settings(deadline=None, max_examples=15)
@given(
    parts=st.lists(st.lists(st.none() | st.floats(1, 5), max_size=12), max_size=5).filter(
        lambda parts: any(quality is not None for part in parts for quality in part)
    )
)
def test_it_agrees_with_the_summary_of_all_scores(parts: list[list[float | None]]) -> None:
    exact, stepped = Summary(), StepSummary()
    for part in parts:
        rows = [row(quality) for quality in part]
        stepped.add(steps_of(rows), sum(quality is None for quality in part))
        for one in rows:
            exact.add(one)
    assert (stepped.scored, stepped.failed) == (exact.scored, exact.failed)
    for figure in ("mean", "median", "spread"):
        assert getattr(stepped, figure)() == pytest.approx(getattr(exact, figure)(), abs=2 * HALF_A_STEP)
    ends = [(low, high) for low, high, _ in exact.histogram()]
    assert [(low, high) for low, high, _ in stepped.histogram()] == pytest.approx(np.array(ends))
    assert sum(count for *_, count in stepped.histogram()) == exact.scored


def test_bins_are_those_of_the_exact_summary() -> None:
    qualities = [1.0, 1.2, 1.5, 2.999, 3.0, 4.4, 4.5, 5.0]
    exact, stepped = Summary(), StepSummary()
    for quality in qualities:
        exact.add(row(quality))
    stepped.add(steps_of(map(row, qualities)))
    assert stepped.histogram() == exact.histogram()


def test_the_median_of_an_even_number_lies_between() -> None:
    summary = StepSummary()
    summary.add(steps_of(map(row, [1.0, 2.0, 4.0, 5.0])))
    assert summary.median() == 3.0
