"""Which rows a page keeps, and in which order images tell most."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.report.gather import Gathered, telling
from foveal.report.histogram import difference_histogram, grades
from foveal.report.page import affordable, common_folder
from report_pages import row

qualities = st.lists(st.none() | st.sampled_from([1.0, 2.5, 3.0, 3.25, 5.0]), max_size=40)


def gathered(values: list[float | None], **limits: int) -> Gathered:
    found = Gathered(**limits)
    for place, value in enumerate(values):
        found.add(row(f"{place}.jpg", value, *(["odd"] if place % 3 == 0 and value else [])))
    return found


@given(values=qualities)
def test_few_rows_are_all_kept_in_order(values: list[float | None]) -> None:
    found = gathered(values)
    assert [one.quality for one in found.rows()] == values
    assert [one.source for one in found.rows()] == [f"{place}.jpg" for place in range(len(values))]
    assert found.total == len(values)
    assert found.summary.failed == len(found.errors) == values.count(None)
    assert found.warned == sum(bool(one.warnings) for one in found.rows())


@given(values=qualities, most=st.integers(1, 20), errors=st.integers(0, 5))
def test_of_many_rows_the_ends_are_kept_and_the_figures_are_of_all(
    values: list[float | None], most: int, errors: int
) -> None:
    found = gathered(values, most_rows=most, most_errors=errors)
    kept = [one.quality for one in found.rows() if one.quality is not None]
    scored = sorted(value for value in values if value is not None)
    if len(scored) > most:
        best = most // 2
        assert sorted(kept) == scored[: most - best] + scored[len(scored) - best :]
    else:
        assert sorted(kept) == scored
    assert sum(one.quality is None for one in found.rows()) == min(errors, values.count(None))
    assert found.summary.scored == len(scored)


@given(values=qualities)
def test_the_telling_order_takes_from_both_ends_and_leaves_nobody_out(values: list[float | None]) -> None:
    order = telling(values)
    known = [place for place, value in enumerate(values) if value is not None]
    assert sorted(order) == known
    for half in range(1, len(order) // 2 + 1):
        ends = {values[place] for place in order[: 2 * half]}
        inner = [values[place] for place in order[2 * half :]]
        assert all(min(ends) <= value <= max(ends) for value in inner)  # type: ignore[type-var, operator]
    if known:
        assert values[order[0]] == min(values[place] for place in known)  # type: ignore[type-var]


def test_the_telling_order_by_hand() -> None:
    assert telling([3.0, None, 1.0, 5.0, 2.0, 1.0]) == [2, 3, 5, 0, 4]
    assert telling([None]) == []


@given(values=st.lists(st.floats(1, 5), min_size=1))
def test_every_image_has_the_category_that_is_nearest(values: list[float]) -> None:
    counts = dict(grades(gathered(list(values)).summary))
    assert list(counts) == ["bad", "poor", "fair", "good", "excellent"]
    nearest = np.minimum(5, np.floor(np.array(values) + 0.5)).astype(int)
    assert list(counts.values()) == [int((nearest == grade).sum()) for grade in range(1, 6)]


def test_quantiles_are_those_of_numpy() -> None:
    values = list(np.random.default_rng(0).uniform(1, 5, 101))
    expected = np.quantile(values, [0.05, 0.5, 0.95])
    assert gathered(values).summary.quantiles([0.05, 0.5, 0.95]) == pytest.approx(expected)


def test_differences_are_drawn_around_zero() -> None:
    drawn, reach = difference_histogram([-0.5, 0.0, 0.0, 1.5])
    assert reach == 1.5
    assert ">-0.06 to +0.06: 2<" in drawn  # the bar in the middle of 25 over three steps
    assert "4 pairs, from -0.50 to +1.50: 1 above zero, 1 below" in drawn
    assert difference_histogram([0.0])[1] == 0.1


@given(costs=st.lists(st.integers(1, 10), max_size=20), budget=st.integers(0, 60))
def test_a_budget_is_kept_and_spent_in_order(costs: list[int], budget: int) -> None:
    order = list(reversed(range(len(costs))))
    taken = affordable(order, lambda place: costs[place], budget)
    assert sum(costs[place] for place in taken) <= budget
    assert taken == sorted(order[: len(taken)])
    if len(taken) < len(costs):
        assert sum(costs[place] for place in order[: len(taken) + 1]) > budget


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (["a/b/c.jpg", "a/b/d.jpg"], "a/b/"),
        (["a/b/c.jpg", "a/bc/d.jpg"], "a/"),
        (["a/b.jpg"], "a/"),
        (["x.jpg", "y.jpg"], ""),
        (["C:\\a\\x.jpg", "C:\\a\\y.jpg"], "C:\\a\\"),
        (["/x", "/y"], "/"),
        ([], ""),
    ],
)
def test_the_folder_that_paths_share(paths: list[str], folder: str) -> None:
    assert common_folder(paths) == folder


@given(paths=st.lists(st.text("ab/", max_size=6), min_size=1, max_size=5))
def test_the_shared_folder_starts_every_path(paths: list[str]) -> None:
    folder = common_folder(paths)
    assert all(path.startswith(folder) for path in paths)
    assert not folder or folder.endswith("/")
