"""Steps of grids: shared out by rule, and scaled to a budget of bits."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
from small_graphs import random

from foveal.lab.compression.allocation import (
    COARSEST,
    FINEST,
    bits_of,
    even_steps,
    steps_by_chance,
    steps_by_rank,
    steps_by_sensitivity,
    steps_for_bits,
)
from foveal.lab.compression.quantizers import round_to, spread_scale

NAMES = tuple("abcde")
SENSITIVITY = {"a": 3.0, "b": 0.02, "c": 1e-4, "d": 0.5, "e": 0.5}
SIZES = {"a": 100, "b": 4000, "c": 900, "d": 50, "e": 5000}


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    """Rows of any spread, Gaussian and with heavier tails."""
    spread = np.exp(random(64, 1))
    rng = np.random.default_rng(0)
    heavy = rng.laplace(size=(64, 300)).astype(np.float32)
    return {"a": random(64, 200) * spread, "b": heavy * spread, "c": 0.01 * random(64, 100) * spread}


@pytest.mark.parametrize("bits", [0.2, 0.7, 1.3, 2.0, 3.3, 4.7])
@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_steps_take_the_wanted_bits(weights: dict[str, np.ndarray], bits: float, ratio: float) -> None:
    relative = {"a": 1.0, "b": ratio, "c": 1 / ratio}
    steps = steps_for_bits(weights, relative, bits)
    assert bits_of(weights, steps) == pytest.approx(bits, rel=0.02)
    assert all(FINEST <= step <= COARSEST for step in steps.values())
    inside = [name for name, step in steps.items() if FINEST < step < COARSEST]
    assert len({round(steps[name] / relative[name], 6) for name in inside}) == 1
    assert len(inside) == 3 or bits < 1


def test_more_bits_are_finer_steps(weights: dict[str, np.ndarray]) -> None:
    found = [steps_for_bits(weights, even_steps("abc"), bits)["a"] for bits in (0.3, 1, 2, 3, 4)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 5


@pytest.mark.parametrize("bits", [0.05, 7.5, float("nan")])
def test_bits_out_of_range(weights: dict[str, np.ndarray], bits: float) -> None:
    with pytest.raises(ValueError, match=r"bits a weight, expected 0\.1 to 7"):
        steps_for_bits(weights, even_steps("abc"), bits)


def test_mean_bits_count_each_layer_by_its_weights(weights: dict[str, np.ndarray]) -> None:
    steps = {"a": 1.0, "b": 0.5, "c": 2.0}
    entropies = [
        round_to(weights[name], spread_scale(weights[name], step)).entropy for name, step in steps.items()
    ]
    expected = np.average(entropies, weights=[weights[name].size for name in steps])
    assert bits_of(weights, steps) == pytest.approx(expected)


def test_steps_by_sensitivity_are_the_cheapest() -> None:
    """The minimum of the sum of s k^2 under a sum of bits, as SciPy finds it."""
    found = steps_by_sensitivity(SENSITIVITY, SIZES)
    sensitivity = np.array([SENSITIVITY[name] for name in NAMES])
    sizes = np.array([SIZES[name] for name in NAMES])
    own = np.log2([found[name] for name in NAMES])
    best = scipy.optimize.minimize(
        lambda octaves: np.log(np.sum(sensitivity * 4.0**octaves)),
        np.zeros(5),
        constraints={"type": "eq", "fun": lambda octaves: sizes @ (octaves - own) / sizes.sum()},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-14},
    )
    assert best.success
    np.testing.assert_allclose(own, best.x, atol=0.01)
    error = np.array([SENSITIVITY[name] * found[name] ** 2 / SIZES[name] for name in NAMES])
    np.testing.assert_allclose(error, error[0], rtol=1e-9)


def test_strength_is_how_far_the_measurement_is_believed() -> None:
    assert steps_by_sensitivity(SENSITIVITY, SIZES, 0) == pytest.approx(even_steps(NAMES))
    half, whole = (steps_by_sensitivity(SENSITIVITY, SIZES, strength) for strength in (0.5, 1))
    for name in NAMES:
        assert half[name] == pytest.approx(whole[name] ** 0.5)


@pytest.mark.parametrize("values", [(0.0, 1.0), (0.0, 0.0)])
def test_layers_that_nothing_depends_on_get_finite_steps(values: tuple[float, float]) -> None:
    steps = steps_by_sensitivity(dict(zip("ab", values, strict=True)), {"a": 10, "b": 10})
    assert np.isfinite(list(steps.values())).all()
    assert steps["a"] >= steps["b"] > 0


def test_the_most_important_layer_has_the_finest_step() -> None:
    steps = steps_by_rank({"low": -1.0, "high": 7.0, "middle": 0.0}, ratio=4)
    assert steps == pytest.approx({"high": 0.5, "middle": 1.0, "low": 2.0})
    ties = steps_by_rank({"b": 1.0, "a": 1.0}, ratio=4)
    assert ties["a"] < ties["b"]
    assert steps_by_rank({"only": 1.0})["only"] > 0


@pytest.mark.parametrize("ratio", [1, 0.5, float("nan")])
def test_ratios_that_are_none(ratio: float) -> None:
    with pytest.raises(ValueError, match="expected above 1"):
        steps_by_rank({"a": 1.0}, ratio)


def test_lots_are_drawn_alike_for_each_seed() -> None:
    drawn = [steps_by_chance(NAMES, seed) for seed in range(6)]
    assert drawn[3] == steps_by_chance(NAMES, 3)
    assert len({tuple(steps.items()) for steps in drawn}) > 3
    by_rank = sorted(steps_by_rank({name: float(i) for i, name in enumerate(NAMES)}).values())
    for steps in drawn:
        assert sorted(steps.values()) == pytest.approx(by_rank)
