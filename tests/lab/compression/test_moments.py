"""Moments of what layers see, beside NumPy's of all data at once."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import images, make_graph, mlp, node, random, run_graph, together

from foveal.lab.compression.layers import find_layers, read_weights
from foveal.lab.compression.moments import MomentSums, collect_moments
from foveal.lab.compression.quantizers import output_error


def test_moments_are_those_of_all_vectors_at_once() -> None:
    model = mlp([8, 7, 6])
    layers = find_layers(model, 1)
    views = images(5, 6, 8)
    moments = collect_moments(model, layers, iter(views))
    batch = together(views)
    inner = run_graph(model, batch, ["relu0"])["relu0"]
    for name, seen in (("fc0", batch["x"].reshape(-1, 8)), ("fc1", inner.reshape(-1, 7))):
        vectors = seen.astype(np.float64)
        assert moments[name].count == len(vectors) == 30
        np.testing.assert_allclose(moments[name].mean, vectors.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(
            moments[name].second, np.einsum("ni,nj->ij", vectors, vectors) / 30, atol=1e-4
        )


def test_moments_predict_what_a_change_of_weights_does() -> None:
    model = mlp([8, 7])
    layers = find_layers(model, 1)
    views = images(5, 6, 8)
    moments = collect_moments(model, layers, views)
    change = random(7, 8, seed=3)
    expected = np.square(together(views)["x"].reshape(-1, 8) @ change.T).sum(axis=1).mean()
    assert output_error(change, moments["fc0"].second) == pytest.approx(expected, rel=1e-5)
    assert read_weights(model, layers)["fc0"].shape == change.shape


def test_layers_with_one_input_share_the_arrays() -> None:
    graph = [node("MatMul", ["x", "q"], "a"), node("MatMul", ["x", "k"], "b")]
    model = make_graph(graph, {"x": (3, 4)}, ["a", "b"], {"q": random(4, 4), "k": random(4, 5)})
    moments = collect_moments(model, find_layers(model, 1), [{"x": random(1, 3, 4)}])
    assert moments["q"] is moments["k"]


def test_layers_that_read_one_tensor_differently_do_not() -> None:
    graph = [node("Conv", ["x", "wide"], "a"), node("Conv", ["x", "narrow"], "b")]
    weights = {"wide": random(2, 3, 3, 3), "narrow": random(2, 3, 1, 1)}
    model = make_graph(graph, {"x": (3, 5, 5)}, ["a", "b"], weights)
    moments = collect_moments(model, find_layers(model, 1), [{"x": random(1, 3, 5, 5)}])
    assert (moments["wide"].second.shape, moments["wide"].count) == ((27, 27), 9)
    assert (moments["narrow"].second.shape, moments["narrow"].count) == ((3, 3), 25)


def test_few_vectors_of_each_image() -> None:
    model = mlp([8, 7])
    views = images(5, 6, 8)
    moments = collect_moments(model, find_layers(model, 1), views, vectors=2)
    ends = together(views)["x"][:, [0, -1]].reshape(-1, 8)
    assert moments["fc0"].count == 10
    np.testing.assert_allclose(moments["fc0"].mean, ends.mean(axis=0), atol=1e-6)


def test_sums_do_not_drift() -> None:
    """Sums of a hundred thousand vectors in fp32 would be off in the fifth digit."""
    sums = MomentSums()
    for _ in range(100):
        sums.add(np.full((1000, 2), 0.1, np.float32))
    moments = sums.moments()
    assert moments.count == 100_000
    np.testing.assert_allclose(moments.mean, np.float64(np.float32(0.1)), rtol=1e-12)
    np.testing.assert_allclose(moments.second, 0.01, rtol=1e-5)


def test_no_images() -> None:
    model = mlp([8, 7])
    with pytest.raises(ValueError, match="no calibration images: give some of the training part"):
        collect_moments(model, find_layers(model, 1), [])
    with pytest.raises(ValueError, match="no calibration images"):
        MomentSums().moments()
