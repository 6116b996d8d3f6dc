"""Graphs that are rewritten: the same outputs, and first convolutions that read pixels less 128."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from small_transformer import PATCH, SIDE, Drawing, draw_views, finished, make_transformer

from foveal.lab.compression.layers import find_layers
from foveal.lab.compression.tidy import tidy

STRIDES = [PATCH, PATCH]


def run(model: onnx.ModelProto, views: dict[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
    """By the reference implementation of ONNX, which fuses nothing."""
    from onnx.reference import ReferenceEvaluator

    (quality,) = ReferenceEvaluator(model).run(["quality"], views)
    return np.asarray(quality)


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def two_views(**convolution: object) -> Drawing:
    """Two views through one convolution, each normalised by itself."""
    drawing = Drawing()
    drawing.keep("mean", np.array([120, 110, 100], np.float32).reshape(1, 3, 1, 1))
    drawing.keep("deviation", np.array([60, 50, 40], np.float32).reshape(1, 3, 1, 1))
    weights = [drawing.draw("patch.weight", 8, 3, PATCH, PATCH), drawing.draw("patch.bias", 8)]
    for view in ("whole", "crop"):
        options = {"strides": STRIDES, **convolution}
        drawing.node("Conv", [drawing.pixels(view), *weights], f"{view}.conv", **options)
    drawing.node("Sub", ["whole.conv", "crop.conv"], "difference")
    drawing.node("ReduceMean", ["difference"], "quality", keepdims=0)
    return drawing


def both(seed: int = 3) -> dict[str, NDArray[np.uint8]]:
    first, second = draw_views(2, seed)
    return {"whole": first["whole"], "crop": second["whole"]}


def test_normalisation_goes_into_the_convolution() -> None:
    model = make_transformer()
    before = model.SerializeToString()
    tidied = tidy(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(tidied, full_check=True)
    for views in draw_views(4):
        np.testing.assert_allclose(run(tidied, views), run(model, views), rtol=2e-5, atol=2e-5)
    # One pass less over all pixels, and the convolution's input are whole numbers.
    assert kinds(tidied).count("Div") == kinds(model).count("Div") - 1
    patch = next(node for node in tidied.graph.node if node.op_type == "Conv")
    centre = next(node for node in tidied.graph.node if node.output[0] == patch.input[0])
    constants = {item.name: numpy_helper.to_array(item) for item in tidied.graph.initializer}
    assert (centre.op_type, constants[centre.input[1]]) == ("Sub", 128)
    assert "mean" not in constants
    assert [layer.name for layer in find_layers(tidied)] == [layer.name for layer in find_layers(model)]


def test_the_numbers_of_the_new_weights() -> None:
    """conv(W, (p - m) / d) + b = conv(W / d, p - 128) + b + sum W (128 - m) / d, worked out in float64."""
    model = finished(two_views(), ["whole", "crop"])
    old, new = (
        {item.name: numpy_helper.to_array(item).astype(np.float64) for item in graph.graph.initializer}
        for graph in (model, tidy(model))
    )
    kernel = old["patch.weight"] / np.array([60, 50, 40]).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(new["patch.weight"], kernel, rtol=1e-6)
    shift = np.einsum("oikl,i->o", kernel, 128 - np.array([120.0, 110, 100]))
    np.testing.assert_allclose(new["patch.bias"], old["patch.bias"] + shift, rtol=1e-5, atol=1e-6)


def test_views_that_share_a_convolution_are_folded_once() -> None:
    model = finished(two_views(), ["whole", "crop"])
    tidied = tidy(model)
    assert "Div" not in kinds(tidied)
    np.testing.assert_allclose(run(tidied, both()), run(model, both()), rtol=1e-4, atol=1e-5)


def test_a_tidy_graph_stays_as_it_is() -> None:
    tidied = tidy(make_transformer())
    assert tidy(tidied).SerializeToString() == tidied.SerializeToString()


@pytest.mark.parametrize(
    "convolution", [{"pads": [1, 1, 1, 1]}, {"auto_pad": "SAME_UPPER"}], ids=["pads", "auto_pad"]
)
def test_padded_convolutions_are_left_alone(convolution: dict[str, object]) -> None:
    """Zeros at the border of a normalised picture are not zeros at the border of its pixels."""
    model = finished(two_views(**convolution), ["whole", "crop"])
    assert kinds(tidy(model)) == kinds(model)


def test_weights_that_are_used_otherwise_are_left_alone() -> None:
    """A second reader of the weights, or another normalisation before the same convolution."""
    read = two_views()
    read.nodes.pop()
    read.node("ReduceSum", ["patch.weight"], "sum", keepdims=0)
    read.node("ReduceMean", ["difference"], "before", keepdims=0)
    read.node("Mul", ["before", "sum"], "quality")
    other = two_views()
    other.keep("mean2", np.zeros((1, 3, 1, 1), np.float32))
    next(node for node in other.nodes if node.output[0] == "crop.less").input[1] = "mean2"
    for drawing in (read, other):
        model = finished(drawing, ["whole", "crop"])
        assert tidy(model).SerializeToString() == model.SerializeToString()


def test_a_mean_that_differs_from_place_to_place_is_left_alone() -> None:
    drawing = two_views()
    drawing.tensors = [item for item in drawing.tensors if item.name != "mean"]
    drawing.draw("mean", 1, 3, SIDE, SIDE)
    model = finished(drawing, ["whole", "crop"])
    assert kinds(tidy(model)) == kinds(model)
