from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize

from foveal.evaluation.correlation import plcc
from foveal.evaluation.logistic import LogisticFitError, fit_logistic, logistic_4, logistic_5


def test_equations_at_known_points() -> None:
    # Half way at b3; 1 / (1 + exp(-1)) of the way one width above it.
    assert logistic_4([3.0], [5, 1, 3, 0.5])[0] == pytest.approx(3.0)
    assert logistic_4([3.5], [5, 1, 3, 0.5])[0] == pytest.approx(1 + 4 / (1 + np.exp(-1)))
    assert logistic_4([3.5], [5, 1, 3, -0.5])[0] == pytest.approx(1 + 4 / (1 + np.exp(-1)))
    assert logistic_5([3.0], [4, 2, 3, 0.25, 1])[0] == pytest.approx(0.75 + 1)
    assert logistic_5([4.0], [4, 2, 3, 0.25, 1])[0] == pytest.approx(4 * (0.5 - 1 / (1 + np.exp(2))) + 2)
    assert np.isfinite(logistic_4([-1e9, 1e9], [5, 1, 3, 1e-6])).all()


def curved(seed: int, n: int = 300, noise: float = 0.2) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, n)
    return x, logistic_4(x, [4.5, 1.2, 0.4, 0.6]) + rng.normal(0, noise, n)


def test_parameters_of_a_noiseless_curve_are_recovered() -> None:
    x, y = curved(0, noise=0.0)
    fit = fit_logistic(x, y)
    np.testing.assert_allclose(fit.parameters, [4.5, 1.2, 0.4, 0.6], rtol=1e-4)
    assert fit.plcc == pytest.approx(1.0)
    assert fit.rmse == pytest.approx(0.0, abs=1e-4)

    y = logistic_5(x, [3.0, 2.0, 0.5, 0.3, 3.0])
    np.testing.assert_allclose(fit_logistic(x, y, parameters=5).parameters, [3, 2, 0.5, 0.3, 3], rtol=1e-3)


@pytest.mark.parametrize("parameters", [4, 5])
def test_stated_parameters_give_the_mapped_scores_in_the_units_of_the_ratings(parameters: int) -> None:
    x, y = curved(1)
    function = {4: logistic_4, 5: logistic_5}[parameters]
    fit = fit_logistic(1000 + 20 * x, 10 * y, parameters=parameters)
    np.testing.assert_allclose(function(1000 + 20 * x, fit.parameters), fit.mapped, rtol=1e-9)
    assert fit.rmse == pytest.approx(np.sqrt(np.mean((fit.mapped - 10 * y) ** 2)))
    assert fit.plcc == pytest.approx(plcc(fit.mapped, 10 * y))
    assert fit.rmse == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("seed", range(5))
def test_the_fit_is_as_good_as_unbounded_least_squares_from_the_truth(seed: int) -> None:
    x, y = curved(seed)

    def free(x: NDArray[np.float64], *parameters: float) -> NDArray[np.float64]:
        return logistic_4(x, parameters)

    best, _ = optimize.curve_fit(free, x, y, p0=[4.5, 1.2, 0.4, 0.6])
    assert fit_logistic(x, y).rmse == pytest.approx(np.sqrt(np.mean((free(x, *best) - y) ** 2)), rel=1e-5)


def test_five_parameters_too_are_fitted_as_well_as_by_scipy() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(-3, 3, 300)
    truth = [2.0, 1.5, 0.4, 0.3, 3.0]
    y = logistic_5(x, truth) + rng.normal(0, 0.2, 300)

    def free(x: NDArray[np.float64], *parameters: float) -> NDArray[np.float64]:
        return logistic_5(x, parameters)

    best, _ = optimize.curve_fit(free, x, y, p0=truth)
    fit = fit_logistic(x, y, parameters=5)
    assert fit.rmse == pytest.approx(np.sqrt(np.mean((free(x, *best) - y) ** 2)), rel=1e-5)
    assert fit.plcc == pytest.approx(plcc(free(x, *best), y), rel=1e-5)


def test_rmse_by_hand() -> None:
    # Ten images at each end: the best curve goes through both means, 2 and 4; all errors are 1.
    x, y = np.repeat([0.0, 1.0], 10), np.tile([1.0, 3.0], 10) + np.repeat([0.0, 2.0], 10)
    fit = fit_logistic(x, y)
    assert fit.rmse == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(fit.mapped, np.repeat([2.0, 4.0], 10), atol=1e-5)
    # Deviations -1 and 1 of the curve, -2 0 0 2 of the ratings: covariance 1, variances 1 and 2.
    assert fit.plcc == pytest.approx(np.sqrt(0.5), abs=1e-6)


@pytest.mark.parametrize("parameters", [4, 5])
@pytest.mark.parametrize(
    ("predicted", "rated", "message"),
    [
        (
            [1, 2, 3, np.nan, 5, 6, 7],
            [1, 2, 3, 4, 5, 6, 7],
            "predicted holds 1 NaN or infinite values, first at 3",
        ),
        (
            [1, 2, 3, 4, 5, 6, 7],
            [1, 2, 3, 4, 5, 6, -np.inf],
            "rated holds 1 NaN or infinite values, first at 6",
        ),
        ([2] * 7, [1, 2, 3, 4, 5, 6, 7], "predicted scores are all 2"),
        ([1, 2, 3, 4, 5, 6, 7], [0.5] * 7, "rated scores are all 0.5"),
    ],
)
def test_nan_and_constants_are_refused(
    predicted: list[float], rated: list[float], message: str, parameters: int
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_logistic(predicted, rated, parameters=parameters)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(8, 60),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
    direction=st.sampled_from([-1, 1]),
    kind=st.sampled_from(["line", "step", "curve", "noise", "ties"]),
)
def test_any_shape_is_fitted_at_least_as_well_as_by_a_constant(
    seed: int, n: int, scale: float, direction: int, kind: str
) -> None:
    rng = np.random.default_rng(seed)
    x = np.sort(rng.normal(0, 1, n))
    y = {
        "line": x,
        "step": np.where(np.arange(n) < n // 2, 0.0, 1.0),
        "curve": np.exp(x),
        "noise": rng.normal(0, 1, n),
        "ties": np.round(x) + 0.01 * rng.normal(0, 1, n),
    }[kind]
    for parameters in (4, 5):
        fit = fit_logistic(direction * scale * x, y, parameters=parameters)
        assert fit.rmse <= y.std() * (1 + 1e-6)
        assert abs(fit.plcc) <= 1 + 1e-9
        if kind != "noise":
            assert direction * fit.plcc > 0.8


@pytest.mark.parametrize("parameters", [4, 5])
def test_an_exactly_linear_relation_is_no_trouble(parameters: int) -> None:
    x = np.linspace(1, 5, 50)
    fit = fit_logistic(x, 0.25 * x - 0.25, parameters=parameters)
    assert fit.plcc > 0.9999
    assert fit.rmse < 0.005


def test_too_few_points_and_other_numbers_of_parameters_are_refused() -> None:
    with pytest.raises(LogisticFitError, match="4 points cannot determine 4 parameters"):
        fit_logistic([1, 2, 3, 4], [1, 2, 3, 5])
    with pytest.raises(ValueError, match="expected 4 or 5"):
        fit_logistic([1, 2, 3, 4], [1, 2, 3, 5], parameters=3)


def test_failure_to_converge_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    minimize = optimize.minimize

    def hasty(*arguments: object, **options: object) -> object:
        return minimize(*arguments, **{**options, "options": {"maxfev": 5}})

    monkeypatch.setattr(optimize, "minimize", hasty)
    with pytest.raises(LogisticFitError, match=r"fit to 300 points does not converge \(Maximum number"):
        fit_logistic(*curved(0))
