"""Which weights of a graph are layers, and how they are read and changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from small_graphs import arrays, make_graph, mlp, node, random, run_graph

from foveal.lab.compression.layers import (
    Layer,
    Window,
    dequantised,
    drop_unused,
    find_layers,
    read_weights,
    weight_count,
    with_float_weights,
    with_initializers,
    with_weights,
)

SHAPES = st.sampled_from([((6, 4), 0), ((6, 4), 1), ((5, 3, 2, 2), 0), ((1, 7), 0), ((7, 1), 1)])


def only(model: onnx.ModelProto, least: int = 1) -> Layer:
    (layer,) = find_layers(model, least)
    return layer


@given(SHAPES, st.integers(0, 9))
def test_a_matrix_made_a_tensor_again_is_the_same(form: tuple[tuple[int, ...], int], seed: int) -> None:
    shape, axis = form
    layer = Layer("a", "a", shape, ("x",), ("y",), axis)
    tensor = random(*shape, seed=seed)
    matrix = layer.matrix(tensor)
    assert matrix.shape == (shape[axis], layer.size // shape[axis])
    assert np.array_equal(layer.tensor(matrix), tensor)
    for row in range(shape[axis]):
        assert np.array_equal(matrix[row], np.take(tensor, row, axis).ravel())


@pytest.mark.parametrize("turned", [False, True])
def test_products_are_layers_whatever_the_order_of_the_sum(turned: bool) -> None:
    weights = {"val_1": random(5, 3), "blocks.0.fc.bias": random(3)}
    operands = ["product", "blocks.0.fc.bias"][:: -1 if turned else 1]
    graph = [node("MatMul", ["x", "val_1"], "product"), node("Add", operands, "y")]
    layer = only(make_graph(graph, {"x": (4, 5)}, ["y"], weights))
    assert layer == Layer(
        "blocks.0.fc", "val_1", (5, 3), ("x",), ("product",), output_axis=1, bias="blocks.0.fc.bias"
    )
    assert np.array_equal(layer.matrix(weights["val_1"]), weights["val_1"].T)


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int) -> None:
    weight = random(3, 5) if transposed else random(5, 3)
    graph = [node("Gemm", ["x", "fc.weight", "b"], "y", transB=transposed)]
    model = make_graph(graph, {"x": (5,)}, ["y"], {"fc.weight": weight, "b": random(3)})
    layer = only(model)
    assert (layer.name, layer.output_axis, layer.bias) == ("fc", 1 - transposed, "b")
    x = random(2, 5)
    expected = x @ layer.matrix(weight).T + arrays(model)["b"]
    np.testing.assert_allclose(run_graph(model, {"x": x})["y"], expected, atol=1e-6)


@pytest.mark.parametrize("attributes", [{"alpha": 0.5}, {"beta": 2.0}, {"transA": 1}])
def test_products_that_are_scaled_or_turned_are_left_out(attributes: dict[str, Any]) -> None:
    graph = [node("Gemm", ["x", "fc.weight", "b"], "y", **attributes)]
    weights = {"fc.weight": random(5, 3), "b": random(3)}
    assert find_layers(make_graph(graph, {"x": (5,)}, ["y"], weights), 1) == []


def convolution(**attributes: Any) -> onnx.ModelProto:
    shape = (4, 6 // attributes.get("group", 1), 3, 2)
    graph = [node("Conv", ["x", "conv.weight", "conv.bias"], "y", **attributes)]
    return make_graph(graph, {"x": (6, 9, 8)}, ["y"], {"conv.weight": random(*shape), "conv.bias": random(4)})


def test_convolutions() -> None:
    plain = only(convolution())
    assert plain.window == Window((3, 2))
    assert (plain.name, plain.output_axis, plain.bias) == ("conv", 0, "conv.bias")
    assert only(convolution(strides=[2, 3], pads=[1, 0, 2, 1])).window == Window((3, 2), (2, 3), (1, 0, 2, 1))
    assert only(convolution(auto_pad="VALID")).window == Window((3, 2))


@pytest.mark.parametrize("attributes", [{"group": 2}, {"dilations": [2, 1]}, {"auto_pad": "SAME_UPPER"}])
def test_convolutions_of_other_kinds_are_left_out(attributes: dict[str, Any]) -> None:
    assert find_layers(convolution(**attributes), 1) == []


def test_products_without_weights_and_small_layers_are_left_out() -> None:
    graph = [
        node("MatMul", ["x", "w"], "a"),
        node("MatMul", ["a", "small"], "b"),
        node("Mul", ["b", "c"], "d"),
    ]
    graph += [node("Transpose", ["d"], "e", perm=[0, 2, 1]), node("MatMul", ["d", "e"], "y")]
    weights = {"w": random(16, 16), "small": random(16, 15), "c": random(15)}
    model = make_graph(graph, {"x": (4, 16)}, ["y"], weights)
    assert [layer.weight for layer in find_layers(model)] == ["w"]
    assert [layer.weight for layer in find_layers(model, 16 * 15)] == ["w", "small"]
    assert weight_count(find_layers(model, 1)) == 16 * 16 + 16 * 15


def twice(first: onnx.NodeProto, second: onnx.NodeProto, **weights: Any) -> onnx.ModelProto:
    """Two layers side by side that give ``a`` and ``b``."""
    return make_graph([first, second], {"x": (4, 4)}, ["a", "b"], weights)


def test_a_weight_that_is_used_twice_is_one_layer() -> None:
    graph = [
        node("MatMul", ["x", "w"], "one"),
        node("Add", ["one", "b"], "sum"),
        node("MatMul", ["sum", "w"], "two"),
        node("Add", ["b", "two"], "y"),
    ]
    layer = only(make_graph(graph, {"x": (4, 4)}, ["y"], {"w": random(4, 4), "b": random(4)}))
    assert (layer.inputs, layer.outputs, layer.bias) == (("x", "sum"), ("one", "two"), "b")


def test_a_weight_that_is_used_in_different_ways_is_left_out() -> None:
    model = twice(
        node("MatMul", ["x", "w"], "a"),
        node("Gemm", ["f", "w"], "b", transB=1),
        w=random(4, 4),
        f=random(2, 4),
    )
    assert find_layers(model, 1) == []


def test_a_bias_that_others_use_too_is_nobodys() -> None:
    """Exporters store equal tensors once: changing it for one layer would change another."""
    graph = [
        node("MatMul", ["x", "val_1"], "p"),
        node("Add", ["p", "first.bias"], "q"),
        node("MatMul", ["q", "val_2"], "r"),
        node("Add", ["r", "first.bias"], "s"),
        node("MatMul", ["s", "val_3"], "t"),
        node("Add", ["t", "third.bias"], "y"),
    ]
    weights = {f"val_{number}": random(4, 4, seed=number) for number in (1, 2, 3)}
    weights |= {"first.bias": np.zeros(4, np.float32), "third.bias": random(4)}
    layers = find_layers(make_graph(graph, {"x": (4, 4)}, ["y"], weights), 1)
    assert [(layer.name, layer.bias) for layer in layers] == [
        ("val_1", None),
        ("val_2", None),
        ("third", "third.bias"),
    ]


@pytest.mark.parametrize("shape", [(1,), (3, 4), ()])
def test_a_sum_with_something_of_another_shape_is_no_bias(shape: tuple[int, ...]) -> None:
    graph = [node("MatMul", ["x", "w"], "p"), node("Add", ["p", "b"], "y")]
    weights = {"w": random(4, 4), "b": np.ones(shape, np.float32)}
    assert only(make_graph(graph, {"x": (3, 4)}, ["y"], weights)).bias is None


def test_names_are_known_from_the_exporters_notes() -> None:
    """A layer without a bias: torch writes into each node which modules it comes from."""
    product = node("MatMul", ["x", "val_1"], "y")
    for key, value in {
        "pkg.torch.onnx.name_scopes": "['', 'body.0', 'body.0.key', 'linear']",
        "pkg.torch.onnx.class_hierarchy": "['Net', 'Block', 'torch.nn.modules.linear.Linear', 'aten.linear']",
    }.items():
        product.metadata_props.add(key=key, value=value)
    model = make_graph([product], {"x": (4,)}, ["y"], {"val_1": random(4, 4)})
    assert only(model).name == "body.0.key"
    product.metadata_props[1].value = "['Net', 'Block', 'Attention', 'aten.linear']"
    assert only(make_graph([product], {"x": (4,)}, ["y"], {"val_1": random(4, 4)})).name == "val_1"


def test_no_two_layers_have_one_name() -> None:
    model = twice(
        node("MatMul", ["x", "fc.weight"], "a"),
        node("Gemm", ["f", "val_2", "fc.bias"], "b"),
        **{"fc.weight": random(4, 4), "val_2": random(4, 5), "fc.bias": random(5), "f": random(2, 4)},
    )
    assert [layer.name for layer in find_layers(model, 1)] == ["fc", "val_2"]


def test_weights_are_read_and_replaced() -> None:
    model = mlp([8, 6, 5])
    layers = find_layers(model, 1)
    assert [layer.name for layer in layers] == ["fc0", "fc1"]
    weights = read_weights(model, layers)
    assert [weights[name].shape for name in ("fc0", "fc1")] == [(6, 8), (5, 6)]
    before = model.SerializeToString()
    changed = with_weights(model, layers, {"fc1": 2 * weights["fc1"]})
    assert model.SerializeToString() == before
    assert np.array_equal(arrays(changed)["val_0"], arrays(model)["val_0"])
    assert np.array_equal(arrays(changed)["val_1"], 2 * arrays(model)["val_1"])
    x = random(2, 6, 8)
    bias = arrays(model)["fc1.bias"]
    once, double = run_graph(model, {"x": x})["y"], run_graph(changed, {"x": x})["y"]
    np.testing.assert_allclose(double - bias, 2 * (once - bias), atol=1e-5)
    other = with_initializers(model, {"fc1.bias": bias + 1})
    np.testing.assert_allclose(run_graph(other, {"x": x})["y"], once + 1, atol=1e-5)


@settings(max_examples=20)
@given(st.sampled_from([0, 1, -1]), st.booleans(), st.booleans(), st.integers(0, 99))
def test_dequantised_is_what_onnx_says(axis: int, one_scale: bool, with_zero: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.integers(-128, 128, (3, 4), dtype=np.int8)
    shape = () if one_scale else (levels.shape[axis],)
    scale = rng.uniform(0.01, 1, shape).astype(np.float32)
    extra = {"z": rng.integers(-9, 9, shape, dtype=np.int8)} if with_zero else {}
    product = [
        node("DequantizeLinear", ["l", "s", *extra], "values", axis=axis),
        node("Add", ["values", "x"], "y"),
    ]
    model = make_graph(product, {"x": (4,)}, ["y"], {"l": levels, "s": scale, **extra})
    expected = run_graph(model, {"x": np.zeros((3, 4), np.float32)})["y"]
    np.testing.assert_array_equal(dequantised(levels, scale, extra.get("z"), axis=axis), expected)


def quantised_graph() -> onnx.ModelProto:
    """A convolution and a product whose weights are int8, the first with int8 activations too."""
    rng = np.random.default_rng(5)
    graph = [
        node("QuantizeLinear", ["x", "x.scale", "x.zero"], "x.levels"),
        node("DequantizeLinear", ["x.levels", "x.scale", "x.zero"], "x.rounded"),
        node("DequantizeLinear", ["c.levels", "c.scale", "c.zero"], "c", axis=0),
        node("Conv", ["x.rounded", "c"], "conv"),
        node("GlobalAveragePool", ["conv"], "pool"),
        node("Flatten", ["pool"], "flat"),
        node("DequantizeLinear", ["w.levels", "w.scale"], "w"),
        node("MatMul", ["flat", "w"], "y"),
    ]
    weights = {
        "x.scale": np.array(0.02, np.float32),
        "x.zero": np.array(128, np.uint8),
        "c.levels": rng.integers(-127, 128, (4, 3, 2, 2), dtype=np.int8),
        "c.scale": rng.uniform(0.01, 0.02, 4).astype(np.float32),
        "c.zero": np.zeros(4, np.int8),
        "w.levels": rng.integers(-127, 128, (4, 5), dtype=np.int8),
        "w.scale": np.array(0.01, np.float32),
    }
    return make_graph(graph, {"x": (3, 6, 6)}, ["y"], weights)


def test_int8_weights_become_floats_and_the_graph_gives_the_same() -> None:
    model = quantised_graph()
    assert find_layers(model, 1) == []
    before = model.SerializeToString()
    opened = with_float_weights(model)
    onnx.checker.check_model(opened)
    assert model.SerializeToString() == before
    x = random(3, 3, 6, 6)
    expected = run_graph(model, {"x": x})["y"]
    np.testing.assert_allclose(run_graph(opened, {"x": x})["y"], expected, atol=1e-4 * np.abs(expected).max())
    layers = find_layers(opened, 1)
    assert [(layer.weight, layer.inputs) for layer in layers] == [("c", ("x.rounded",)), ("w", ("flat",))]
    kinds = [item.op_type for item in opened.graph.node]
    assert kinds.count("QuantizeLinear") == kinds.count("DequantizeLinear") == 1
    assert arrays(opened).keys() == {"x.scale", "x.zero", "c", "w"}
    np.testing.assert_array_equal(
        read_weights(opened, layers)["w"], arrays(model)["w.levels"].T * np.float32(0.01)
    )


def test_what_nothing_uses_is_dropped() -> None:
    model = mlp([4, 4])
    model.graph.initializer.append(numpy_helper.from_array(random(3), "unused"))
    drop_unused(model)
    assert arrays(model).keys() == {"val_0", "fc0.bias"}
