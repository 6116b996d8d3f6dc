"""What a graph holds inside, and what its layers are fed with."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import images, make_graph, mlp, node, random, run_graph

from foveal.lab.compression.inner_run import InnerRun, input_vectors, layer_inputs, source
from foveal.lab.compression.layers import Layer, Window, find_layers

PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=40)
@given(PAIR, PAIR, st.tuples(*[st.integers(0, 2)] * 4), st.integers(0, 99))
def test_vectors_of_a_convolution_times_its_matrix_are_what_torch_gives(
    kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, int, int, int], seed: int
) -> None:
    values, weight = random(2, 3, 5, 6, seed=seed), random(4, 3, *kernel, seed=seed)
    layer = Layer("c", "c", weight.shape, ("x",), ("y",), 0, Window(kernel, strides, pads))
    vectors = input_vectors(values, layer.window)
    top, left, bottom, right = pads
    padded = torch.nn.functional.pad(torch.from_numpy(values), (left, right, top, bottom))
    expected = torch.nn.functional.conv2d(padded, torch.from_numpy(weight), stride=strides).numpy()
    given = (vectors @ layer.matrix(weight).T).reshape(2, *expected.shape[2:], 4).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_vectors_of_a_convolution_are_those_of_onnx() -> None:
    weight = random(4, 3, 3, 2)
    graph = [node("Conv", ["x", "w"], "y", strides=[2, 1], pads=[1, 0, 2, 1])]
    model = make_graph(graph, {"x": (3, 7, 8)}, ["y"], {"w": weight})
    (layer,) = find_layers(model, 1)
    x = random(1, 3, 7, 8)
    (seen,) = layer_inputs(model, [layer], [{"x": x}])
    expected = run_graph(model, {"x": x})["y"]
    given = seen[source(layer)] @ layer.matrix(weight).T
    np.testing.assert_allclose(given.T.reshape(expected.shape), expected, atol=1e-5)


def test_tensors_are_those_that_the_graph_computes() -> None:
    model = mlp([8, 7, 6, 5])
    names = ["product1", "relu0", "x", "y", "sum1"]
    run = InnerRun(model, names)
    for views in images(3, 6, 8):
        expected = run_graph(model, views, names)
        seen = run(views)
        assert seen.keys() == set(names)
        for name in names:
            given = views["x"] if name == "x" else expected[name]
            np.testing.assert_allclose(seen[name], given, atol=1e-5)


def test_inputs_alone_need_no_run() -> None:
    views = {"x": np.arange(48, dtype=np.uint8).reshape(1, 6, 8)}
    seen = InnerRun(mlp([8, 7]), ["x"])(views)
    assert seen["x"].dtype == np.float32
    assert np.array_equal(seen["x"], views["x"])


def test_a_tensor_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="the graph has no tensor 'relu7'"):
        InnerRun(mlp([8, 7, 6]), ["relu0", "relu7"])


def test_each_layer_gets_all_vectors_of_its_tensor() -> None:
    model = mlp([8, 7, 6])
    layers = find_layers(model, 1)
    views = images(4, 6, 8)
    seen = list(layer_inputs(model, layers, views))
    assert len(seen) == len(views)
    for number, view in enumerate(views):
        expected = run_graph(model, view, ["relu0"])
        np.testing.assert_array_equal(seen[number][source(layers[0])], view["x"][0])
        np.testing.assert_allclose(seen[number][source(layers[1])], expected["relu0"][0], atol=1e-5)


def test_results_stay_when_the_next_image_is_run() -> None:
    model = mlp([8, 7, 6])
    layers = find_layers(model, 1)
    for vectors in (None, 6, 2):
        stream = layer_inputs(model, layers, images(2, 6, 8), vectors)
        first = next(stream)[source(layers[1])]
        before = first.copy()
        next(stream)
        assert np.array_equal(first, before)


@pytest.mark.parametrize("most", [1, 2, 5, 6, 50])
def test_few_vectors_are_some_of_all_from_first_to_last(most: int) -> None:
    model = mlp([8, 7])
    (layer,) = find_layers(model, 1)
    (view,) = images(1, 6, 8)
    (seen,) = layer_inputs(model, [layer], [view], most)
    rows = seen[source(layer)]
    assert len(rows) == min(most, 6)
    places = [int(np.flatnonzero((view["x"][0] == row).all(axis=1))[0]) for row in rows]
    assert places == sorted(set(places))
    assert places[0] == 0
    assert most == 1 or places[-1] == 5


def test_layers_of_one_tensor_with_windows_of_their_own() -> None:
    """As a residual block with a shortcut reads its input: 3 x 3 and 1 x 1."""
    graph = [
        node("Conv", ["x", "wide"], "a", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", ["x", "narrow"], "b", strides=[2, 2]),
    ]
    weights = {"wide": random(4, 3, 3, 3), "narrow": random(4, 3, 1, 1)}
    model = make_graph(graph, {"x": (3, 6, 6)}, ["a", "b"], weights)
    x = random(1, 3, 6, 6)
    layers = find_layers(model, 1)
    (seen,) = layer_inputs(model, layers, [{"x": x}])
    expected = run_graph(model, {"x": x})
    for layer, output in zip(layers, ("a", "b"), strict=True):
        given = seen[source(layer)] @ layer.matrix(weights[layer.weight]).T
        np.testing.assert_allclose(given.T.reshape(1, 4, 3, 3), expected[output], atol=1e-5)


def test_a_layer_in_two_places_gets_the_vectors_of_both() -> None:
    graph: list[onnx.NodeProto] = [
        node("MatMul", ["x", "w"], "p"),
        node("Relu", ["p"], "q"),
        node("MatMul", ["q", "w"], "y"),
    ]
    model = make_graph(graph, {"x": (3, 4)}, ["y"], {"w": random(4, 4)})
    (layer,) = find_layers(model, 1)
    x = random(1, 3, 4)
    (seen,) = layer_inputs(model, [layer], [{"x": x}])
    inner = run_graph(model, {"x": x}, ["q"])["q"]
    np.testing.assert_allclose(seen[source(layer)], np.concatenate([x[0], inner[0]]), atol=1e-6)
