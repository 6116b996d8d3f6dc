from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from foveal.evaluation.conformal import calibration_factor, coverage, intervals

Floats = NDArray[np.float64]


def simulate(rng: np.random.Generator, n: int) -> tuple[Floats, Floats, Floats]:
    """A model whose errors grow with its spread, but have heavier tails than it thinks."""
    predicted, spread = rng.uniform(1.5, 4.5, n), rng.uniform(0.05, 0.4, n)
    rated = np.clip(predicted + spread * rng.standard_t(4, n), 1, 5)
    return predicted, spread, rated


def test_hand_computed() -> None:
    # Normalised errors .1 to .9; k = ceil(10 * .9) = 9 is the largest, k = ceil(10 * .5) = 5 the middle one.
    errors = np.arange(1, 10) / 10
    predicted, spread = np.full(9, 3.0), np.full(9, 2.0)
    rated = 3.0 + 2.0 * errors * [1, -1, 1, -1, 1, -1, 1, -1, 1]
    assert calibration_factor(predicted, spread, rated) == pytest.approx(0.9)
    assert calibration_factor(predicted, spread, rated, coverage=0.5) == pytest.approx(0.5)


@given(n=st.integers(9, 200), level=st.floats(0.05, 0.9), seed=st.integers(0, 1000))
def test_the_factor_covers_the_calibration_part_and_no_smaller_one_does(
    n: int, level: float, seed: int
) -> None:
    predicted, spread, rated = simulate(np.random.default_rng(seed), n)
    factor = calibration_factor(predicted, spread, rated, coverage=level)
    errors = np.abs(rated - predicted) / spread
    assert np.mean(errors <= factor) >= level
    assert np.sum(errors < factor) < (n + 1) * level


@pytest.mark.parametrize("level", [0.5, 0.9])
@pytest.mark.parametrize("n", [20, 199])
def test_simulated_coverage_of_new_images_is_at_least_as_stated_and_not_much_more(
    n: int, level: float
) -> None:
    rng = np.random.default_rng(n)
    shares = []
    for _ in range(600):
        factor = calibration_factor(*simulate(rng, n), coverage=level)
        shares.append(coverage(*simulate(rng, 200), factor))
    # Expected: between the level and level + 1 / (n + 1); the standard error is below .005.
    assert level - 0.012 <= np.mean(shares) <= level + 1 / (n + 1) + 0.012


@given(
    columns=st.lists(st.tuples(st.floats(-10, 10), st.floats(1e-3, 10)), min_size=1, max_size=20),
    factor=st.floats(0, 10),
)
def test_intervals_are_ordered_and_stay_on_the_scale(
    columns: list[tuple[float, float]], factor: float
) -> None:
    predicted, spread = map(np.array, zip(*columns, strict=True))
    low, high = intervals(predicted, spread, factor)
    assert (low >= 1).all()
    assert (low <= high).all()
    assert (high <= 5).all()
    inside = (predicted >= 1) & (predicted <= 5)
    assert ((low <= predicted) & (predicted <= high))[inside].all()


def test_clipping_loses_no_coverage() -> None:
    assert coverage([4.9, 1.2], [0.5, 0.5], [5.0, 1.0], 1.0) == 1.0
    low, high = intervals([4.9, 1.2], [0.5, 0.5], 1.0)
    np.testing.assert_allclose(low, [4.4, 1.0])
    np.testing.assert_allclose(high, [5.0, 1.7])


def test_coverage_counts_both_ends_as_inside() -> None:
    assert coverage([3.0] * 4, [0.5] * 4, [2.5, 3.5, 3.6, 2.4], 1.0) == 0.5


def test_the_factor_undoes_the_unit_of_the_spread() -> None:
    predicted, spread, rated = simulate(np.random.default_rng(0), 100)
    factor = calibration_factor(predicted, spread, rated)
    assert calibration_factor(predicted, 10 * spread, rated) == pytest.approx(factor / 10)


def test_too_few_images_for_a_guarantee_are_refused() -> None:
    with pytest.raises(ValueError, match=r"8 images cannot guarantee a coverage of 0.9; at least 9 can"):
        calibration_factor([3.0] * 8, [1.0] * 8, [3.0] * 8)
    assert calibration_factor([3.0] * 9, [1.0] * 9, [3.0] * 9) == 0.0
    with pytest.raises(ValueError, match="at least 19 can"):
        calibration_factor([3.0] * 18, [1.0] * 18, [3.0] * 18, coverage=0.95)


@pytest.mark.parametrize(
    ("predicted", "spread", "rated", "message"),
    [
        ([3.0, np.nan], [1.0, 1.0], [3.0, 3.0], "predicted holds 1 NaN"),
        ([3.0, 3.0], [1.0, 0.0], [3.0, 3.0], "spread 0 at 1 is not positive"),
        ([3.0, 3.0], [1.0], [3.0, 3.0], "2 predicted scores but 1 spreads"),
        ([3.0, 3.0], [1.0, 1.0], [3.0], "2 predicted scores but 1 rated"),
        ([3.0, 3.0], [1.0, 1.0], [3.0, 71.0], "expected the 1-5 scale"),
        ([], [], [], "no scores"),
    ],
)
def test_unfit_columns_are_refused(
    predicted: list[float], spread: list[float], rated: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        coverage(predicted, spread, rated, 1.0)


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="coverage is 90"):
        calibration_factor([3.0], [1.0], [3.0], coverage=90)
    with pytest.raises(ValueError, match="factor is -1"):
        intervals([3.0], [1.0], -1.0)
