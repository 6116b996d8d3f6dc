"""A whole graph on grids: what layers make up for, and what is left of its outputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from small_graphs import arrays, images, make_graph, mlp, node, random, run_graph, scales_of, together

from foveal.lab.compression.layers import find_layers, read_weights, with_weights
from foveal.lab.compression.quantizers import round_to
from foveal.lab.compression.sequential import SequentialConfig, quantize_graph

ALL = SequentialConfig(vectors=1000)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return mlp([32, 40, 36, 24])


@pytest.fixture(scope="module")
def views() -> list[dict[str, NDArray[np.float32]]]:
    return images(40, 6, 32)


def error(model: onnx.ModelProto, other: onnx.ModelProto, batch: dict[str, NDArray[np.float32]]) -> float:
    """Mean squared change of ``y``, as a share of its variance."""
    y, changed = run_graph(model, batch)["y"], run_graph(other, batch)["y"]
    return float(np.square(changed - y).mean() / y.var())


def test_weights_lie_on_the_grids_that_were_given(model: onnx.ModelProto, views: list) -> None:
    scales = scales_of(model, 1.0)
    layers = find_layers(model)
    before = model.SerializeToString()
    told: list[tuple[int, int]] = []
    done = quantize_graph(
        model, layers, scales, views[:4], progress=lambda count, total: told.append((count, total))
    )
    assert model.SerializeToString() == before
    assert told == [(1, 3), (2, 3), (3, 3)]
    held = read_weights(done.model, layers)
    for layer in layers:
        quantized = done.layers[layer.name]
        assert np.array_equal(quantized.scale, scales[layer.name])
        assert np.array_equal(held[layer.name], quantized.levels * scales[layer.name][:, None])
    onnx.checker.check_model(done.model)


def test_it_is_better_than_rounding_all_at_once(model: onnx.ModelProto, views: list) -> None:
    layers, scales = find_layers(model), scales_of(model, 1.0)
    weights = read_weights(model, layers)
    rounded = with_weights(
        model, layers, {name: round_to(weights[name], scales[name]).weights for name in weights}
    )
    new = together(images(20, 6, 32, seed=500))
    plain = error(model, rounded, new)
    uncorrected = quantize_graph(model, layers, scales, views, SequentialConfig(vectors=1000, biases=False))
    corrected = quantize_graph(model, layers, scales, views, ALL)
    assert error(model, uncorrected.model, new) < 0.5 * plain
    assert error(model, corrected.model, new) < error(model, uncorrected.model, new)


def test_means_of_outputs_stay_what_they_were(model: onnx.ModelProto, views: list) -> None:
    layers, scales = find_layers(model), scales_of(model, 2.0)
    names = ["sum0", "sum1", "y"]
    batch = together(views)
    before = run_graph(model, batch, names)
    off = []
    for biases in (True, False):
        config = SequentialConfig(vectors=1000, biases=biases)
        done = quantize_graph(model, layers, scales, views, config)
        after = run_graph(done.model, batch, names)
        moved = [np.abs((after[n] - before[n]).mean(axis=(0, 1))).max() / before[n].std() for n in names]
        off.append(max(moved))
        same = all(
            np.array_equal(arrays(done.model)[layer.bias], arrays(model)[layer.bias])
            for layer in layers
            if layer.bias
        )
        assert same is not biases
    assert off[0] < 1e-4
    assert off[1] > 0.01


def convolutions() -> onnx.ModelProto:
    """A residual block: 3 x 3 and 1 x 1 read one tensor, and have biases inside the node and outside."""
    graph = [
        node("Conv", ["x", "wide.weight", "wide.bias"], "wide", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", ["x", "narrow.weight", "narrow.bias"], "narrow", strides=[2, 2]),
        node("Add", ["wide", "narrow"], "sum"),
        node("Relu", ["sum"], "relu"),
        node("Conv", ["relu", "last.weight", "last.bias"], "y"),
    ]
    weights = {}
    for name, shape in {"wide": (12, 6, 3, 3), "narrow": (12, 6, 1, 1), "last": (8, 12, 2, 2)}.items():
        weights[f"{name}.weight"] = random(*shape, size=0.2)
        weights[f"{name}.bias"] = random(shape[0], size=0.2)
    return make_graph(graph, {"x": (6, 8, 8)}, ["y"], weights)


def test_convolutions_that_read_one_tensor() -> None:
    model = convolutions()
    layers = find_layers(model, 1)
    views = [{"x": random(1, 6, 8, 8, seed=number) + 0.5} for number in range(30)]
    tensors = arrays(model)
    scales = {
        layer.name: np.abs(layer.matrix(tensors[layer.weight])).max(axis=1) / np.float32(3)
        for layer in layers
    }
    done = quantize_graph(model, layers, scales, views, ALL)
    assert done.layers.keys() == {"wide", "narrow", "last"}
    batch = together(views)
    names = ["wide", "narrow", "y"]
    before, after = run_graph(model, batch, names), run_graph(done.model, batch, names)
    for name in names:
        moved = (after[name] - before[name]).mean(axis=(0, 2, 3))
        assert np.abs(moved).max() < 1e-4 * before[name].std()
    rounded = {name: round_to(own, scales[name]).weights for name, own in read_weights(model, layers).items()}
    assert error(model, done.model, batch) < 0.8 * error(model, with_weights(model, layers, rounded), batch)


def test_a_bias_that_two_layers_share_is_left_alone(views: list) -> None:
    graph = [
        node("MatMul", ["x", "a.weight"], "p"),
        node("Add", ["p", "shared"], "q"),
        node("Relu", ["q"], "r"),
        node("MatMul", ["r", "b.weight"], "s"),
        node("Add", ["s", "shared"], "y"),
    ]
    weights = {"a.weight": random(32, 16), "b.weight": random(16, 16), "shared": np.zeros(16, np.float32)}
    model = make_graph(graph, {"x": (6, 32)}, ["y"], weights)
    done = quantize_graph(model, find_layers(model), scales_of(model, 1.0), views[:4], ALL)
    assert not arrays(done.model)["shared"].any()


def test_a_layer_that_is_used_twice_is_fitted_once(views: list) -> None:
    graph = [
        node("MatMul", ["x", "w.weight"], "p"),
        node("Add", ["p", "w.bias"], "q"),
        node("Relu", ["q"], "r"),
        node("MatMul", ["r", "w.weight"], "s"),
        node("Add", ["s", "w.bias"], "y"),
    ]
    weights = {"w.weight": random(32, 32, size=0.2), "w.bias": random(32, size=0.1)}
    model = make_graph(graph, {"x": (6, 32)}, ["y"], weights)
    layers, scales = find_layers(model), scales_of(model, 1.0)
    done = quantize_graph(model, layers, scales, views, ALL)
    assert done.layers.keys() == {"w"}
    rounded = with_weights(model, layers, {"w": round_to(random(32, 32, size=0.2).T, scales["w"]).weights})
    batch = together(views)
    assert error(model, done.model, batch) < 0.7 * error(model, rounded, batch)


def test_adaptation_makes_up_for_inputs_that_changed(views: list) -> None:
    """A coarse layer before a fine one: that one can be nearly what least squares would make of it."""
    model = mlp([32, 40, 24])
    layers = find_layers(model)
    scales = {**scales_of(model, 2.5), "fc1": scales_of(model, 0.02)["fc1"]}
    batch = together(views)
    before = run_graph(model, batch, ["product1", "relu0"])
    wanted = before["product1"].reshape(-1, 24)
    errors = {}
    for adapt in (0.0, 0.5, 1.0):
        config = SequentialConfig(vectors=1000, adapt=adapt, ridge=1e-4, biases=False)
        after = run_graph(
            quantize_graph(model, layers, scales, views, config).model, batch, ["product1", "relu0"]
        )
        errors[adapt] = float(np.square(after["product1"].reshape(-1, 24) - wanted).mean())
        now = after["relu0"].reshape(-1, 40)
    best, *_ = np.linalg.lstsq(now, wanted, rcond=None)
    least = float(np.square(now @ best - wanted).mean())
    assert least <= errors[1.0] < 1.05 * least
    assert errors[1.0] < errors[0.5] < errors[0.0]
    assert errors[1.0] < 0.8 * errors[0.0]


def test_adaptation_changes_nothing_where_inputs_have_not(views: list) -> None:
    model = mlp([32, 24])
    layers, scales = find_layers(model), scales_of(model, 1.0)
    levels = [
        quantize_graph(model, layers, scales, views, SequentialConfig(adapt=adapt)).layers["fc0"].levels
        for adapt in (0.0, 1.0)
    ]
    assert (levels[0] != levels[1]).mean() < 0.005


def test_no_images(model: onnx.ModelProto) -> None:
    with pytest.raises(ValueError, match="no calibration images: give some of the training part"):
        quantize_graph(model, find_layers(model), scales_of(model, 1.0), [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vectors": 0}, "vectors is 0, expected 1 or more"),
        ({"damping": 0.0}, "damping and ridge must be above 0"),
        ({"ridge": -1.0}, "damping and ridge must be above 0"),
        ({"adapt": 1.5}, "adapt from 0 to 1"),
        ({"adapt": float("nan")}, "adapt from 0 to 1"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequentialConfig(**options)  # type: ignore[arg-type]
