"""What rounding one layer alone does to a model's outputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from small_graphs import arrays, images, make_graph, node, random, run_graph, together

from foveal.lab.compression.layers import find_layers, read_weights, with_weights
from foveal.lab.compression.moments import collect_moments
from foveal.lab.compression.quantizers import compensate, spread_scale
from foveal.lab.compression.sensitivity import measure_sensitivity

VIEWS = images(6, 1, 24)


def branches(second: float = 0.01, unit: float = 1.0, constant: float | None = None) -> onnx.ModelProto:
    """``y`` = ``unit`` * (A x + ``second`` * B x); ``z``, if any, is always the same."""
    graph = [
        node("MatMul", ["x", "a.weight"], "a"),
        node("MatMul", ["x", "b.weight"], "b"),
        node("Mul", ["b", "second"], "c"),
        node("Add", ["a", "c"], "sum"),
        node("Mul", ["sum", "unit"], "y"),
    ]
    weights = {"a.weight": random(24, 12), "b.weight": random(24, 12, seed=1)}
    weights |= {"second": np.array(second, np.float32), "unit": np.array(unit, np.float32)}
    outputs = ["y"]
    if constant is not None:
        # What is left of A x is a millionth: a column that next to nothing changes.
        graph += [node("Mul", ["a", "little"], "rest"), node("Add", ["rest", "constant"], "z")]
        weights |= {"constant": np.array(constant, np.float32), "little": np.array(1e-6, np.float32)}
        outputs.append("z")
    return make_graph(graph, {"x": (1, 24)}, outputs, weights)


def measure(model: onnx.ModelProto, **options: object) -> dict[str, float]:
    layers = find_layers(model)
    return measure_sensitivity(model, layers, collect_moments(model, layers, VIEWS), VIEWS, **options)  # type: ignore[arg-type]


def test_a_layer_whose_output_hardly_counts_is_less_sensitive() -> None:
    measured = measure(branches(0.01))
    assert measured.keys() == {"a", "b"}
    assert 1e-5 < measured["b"] / measured["a"] < 1e-3
    assert measure(branches(0.0))["b"] == 0


def test_it_is_the_mean_square_of_the_change_in_deviations() -> None:
    model = branches(1.0)
    layers = find_layers(model)
    moments = collect_moments(model, layers, VIEWS)
    measured = measure(model)
    batch = together(VIEWS)
    before = run_graph(model, batch)["y"].reshape(6, -1)
    for layer in layers:
        own = read_weights(model, layers)[layer.name]
        rounded = compensate(own, moments[layer.name].second, spread_scale(own, 1.0)).weights
        after = run_graph(with_weights(model, layers, {layer.name: rounded}), batch)["y"].reshape(6, -1)
        expected = np.mean(((after - before) / before.std(axis=0)) ** 2)
        assert measured[layer.name] == pytest.approx(expected, rel=1e-3)


def test_units_of_outputs_do_not_matter() -> None:
    assert measure(branches(0.5, unit=1e3)) == pytest.approx(measure(branches(0.5)), rel=1e-3)


def test_an_output_that_hardly_changes_does_not_drown_others() -> None:
    plain, beside = measure(branches(0.5)), measure(branches(0.5, constant=5.0))
    assert beside["a"] < 2 * plain["a"]
    assert beside["b"] == pytest.approx(plain["b"] / 2, rel=0.01)


def test_the_model_stays_as_it_is_and_progress_is_told() -> None:
    model = branches()
    before = {name: value.copy() for name, value in arrays(model).items()}
    told: list[tuple[int, int]] = []
    measure(model, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
    assert all(np.array_equal(value, before[name]) for name, value in arrays(model).items())


def test_images_that_do_not_tell_anything() -> None:
    model = branches()
    layers = find_layers(model)
    moments = collect_moments(model, layers, VIEWS)
    with pytest.raises(ValueError, match="1 images to measure sensitivity on, expected 2 or more"):
        measure_sensitivity(model, layers, moments, VIEWS[:1])
    with pytest.raises(ValueError, match="the model gives the same for all images"):
        measure_sensitivity(model, layers, moments, [VIEWS[0], VIEWS[0]])
