"""Levels in graphs: weights come back exactly, both engines agree, and integers are multiplied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from small_transformer import WIDTH, draw_views, make_transformer

from foveal.lab.compression.inner_run import Views
from foveal.lab.compression.integer import with_integer_activations, with_levels
from foveal.lab.compression.layers import (
    Layer,
    find_layers,
    read_weights,
    with_float_weights,
    with_weights,
)
from foveal.lab.compression.quantizers import Quantized, round_to
from foveal.lab.compression.tidy import tidy
from foveal.runtime.openvino_engine import import_openvino

HEAD = "head"
INNER = ["patch", "q", "k", "v", "o", "fc1", "fc2"]


class Case:
    """A graph, its layers, and their weights on few levels."""

    def __init__(self, model: onnx.ModelProto, most: int) -> None:
        self.model = model
        self.layers: Sequence[Layer] = find_layers(model)
        self.quantized: dict[str, Quantized] = {}
        for name, weights in read_weights(model, self.layers).items():
            scale = np.abs(weights).max(axis=1) / most
            self.quantized[name] = round_to(weights, scale.astype(np.float32), most)
        weights = {name: one.weights for name, one in self.quantized.items()}
        self.rounded = with_weights(model, self.layers, weights)


@pytest.fixture(scope="module")
def case() -> Case:
    return Case(tidy(make_transformer()), most=7)


def on_openvino(model: onnx.ModelProto, images: Sequence[Views]) -> NDArray[np.float32]:
    """Quality; what is float is computed in float, so that weights alone can be compared."""
    core = import_openvino().Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", options)
    return np.concatenate([compiled(dict(views))["quality"].copy() for views in images])


def on_onnxruntime(model: onnx.ModelProto, images: Sequence[Views]) -> NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["quality"], dict(views))[0] for views in images])


def by_definition(model: onnx.ModelProto, images: Sequence[Views]) -> NDArray[np.float32]:
    """The reference implementation of ONNX, node by node in floating point."""
    from onnx.reference import ReferenceEvaluator

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # It knows DequantizeLinear from version 19 on, which means the same for these types.
    copy.opset_import[0].version = 19
    evaluator = ReferenceEvaluator(copy)
    return np.concatenate([np.asarray(evaluator.run(["quality"], dict(views))[0]) for views in images])


def kinds_around(model: onnx.ModelProto, kind: str) -> list[set[str]]:
    """For each node of a kind, which kinds of nodes make its inputs."""
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    return [
        {makers[name] for name in node.input[:2] if name in makers}
        for node in model.graph.node
        if node.op_type == kind
    ]


def test_weights_come_back_exactly(case: Case) -> None:
    before = case.rounded.SerializeToString()
    levelled = with_levels(case.rounded, case.layers, case.quantized)
    assert case.rounded.SerializeToString() == before
    onnx.checker.check_model(levelled, full_check=True)
    tensors = {item.name: numpy_helper.to_array(item) for item in levelled.graph.initializer}
    for layer in case.layers:
        assert layer.weight not in tensors
        assert tensors[f"{layer.weight}.levels"].dtype == np.int8
        assert tensors[f"{layer.weight}.levels"].shape == layer.shape
        assert np.abs(tensors[f"{layer.weight}.levels"]).max() <= 7
    restored = with_float_weights(levelled)
    assert find_layers(restored) == case.layers
    for name, weights in read_weights(restored, case.layers).items():
        np.testing.assert_array_equal(weights, case.quantized[name].weights)


def test_levels_score_as_the_float_weights_that_they_stand_for(case: Case) -> None:
    images = draw_views(3)
    levelled = with_levels(case.rounded, case.layers, case.quantized)
    np.testing.assert_array_equal(by_definition(levelled, images), by_definition(case.rounded, images))
    np.testing.assert_allclose(
        on_openvino(levelled, images), on_openvino(case.rounded, images), rtol=1e-5, atol=1e-6
    )


def test_layers_that_are_not_named_stay_float(case: Case) -> None:
    some = {name: case.quantized[name] for name in ("q", HEAD)}
    levelled = with_levels(case.rounded, case.layers, some)
    kept = {item.name for item in levelled.graph.initializer if item.data_type == onnx.TensorProto.FLOAT}
    assert {layer.name for layer in case.layers if layer.weight not in kept} == set(some)
    assert with_levels(case.rounded, case.layers, {}).SerializeToString() == case.rounded.SerializeToString()


def test_levels_of_another_shape_are_refused(case: Case) -> None:
    wrong = Quantized(np.zeros((3, 5), np.int8), np.ones(3, np.float32))
    with pytest.raises(ValueError, match=r"layer q: levels are \(3, 5\), its weight is \(32, 32\)"):
        with_levels(case.rounded, case.layers, {"q": wrong})


@pytest.fixture(scope="module")
def integer(case: Case) -> onnx.ModelProto:
    """The graph with int8 activations, the head's left out."""
    return with_integer_activations(
        case.rounded, case.layers, case.quantized, draw_views(40, seed=1), exclude=[HEAD]
    )


def test_layers_multiply_levels_with_levels(case: Case, integer: onnx.ModelProto) -> None:
    """Both inputs of each product are dequantised, but for the head's; softmax and norms read floats."""
    onnx.checker.check_model(integer, full_check=True)
    assert kinds_around(integer, "Conv") == [{"DequantizeLinear"}]
    products = kinds_around(integer, "MatMul")
    assert products.count({"DequantizeLinear"}) == len(INNER) - 1
    # Queries and keys are rounded before heads are split; shares and values stay float.
    assert products.count({"Transpose"}) == 1
    assert products.count({"Softmax", "Transpose"}) == 1
    split = [found for found in kinds_around(integer, "Reshape") if "DequantizeLinear" in found]
    assert len(split) == 2
    assert kinds_around(integer, "Gemm") == [{"ReduceMean", "DequantizeLinear"}]
    for kind in ("LayerNormalization", "Softmax", "Erf"):
        assert all("DequantizeLinear" not in found for found in kinds_around(integer, kind))
    # The levels are still the chosen ones.
    for name, weights in read_weights(with_float_weights(integer), case.layers).items():
        np.testing.assert_array_equal(weights, case.quantized[name].weights)


def test_pixels_are_levels_without_error(case: Case, integer: onnx.ModelProto) -> None:
    tensors = {item.name: numpy_helper.to_array(item) for item in integer.graph.initializer}
    patch = next(layer for layer in case.layers if layer.name == "patch")
    assert tensors[f"{patch.inputs[0]}.scale"] == 1
    assert tensors[f"{patch.inputs[0]}.zero"] == 128


def test_both_engines_agree_with_the_definition(case: Case, integer: onnx.ModelProto) -> None:
    """Against float products of the same levels; 16 outputs, averaged, of size about 1."""
    images = draw_views(8, seed=2)
    expected = by_definition(integer, images)
    spread = float(np.std(expected))
    for quality in (on_openvino(integer, images), on_onnxruntime(integer, images)):
        np.testing.assert_allclose(quality, expected, atol=0.1 * spread)
    # Rounding activations costs little next to how pictures differ.
    exact = by_definition(case.rounded, images)
    assert np.abs(expected - exact).max() < 0.25 * np.std(exact)


@pytest.mark.parametrize("massive", [0.0, 100.0])
def test_a_massive_channel_does_not_spoil_the_rest(massive: float) -> None:
    """With one hidden channel a hundred times as large, errors must stay in proportion to the scores."""
    case = Case(tidy(make_transformer(massive=massive)), most=127)
    images = draw_views(12, seed=3)
    integer = with_integer_activations(
        case.rounded, case.layers, case.quantized, draw_views(40, seed=1), exclude=[HEAD]
    )
    passed_by = {node.input[0] for node in integer.graph.node if node.op_type == "Gather"}
    assert passed_by == ({"gelu"} if massive else set())
    exact = by_definition(case.rounded, images)
    error = by_definition(integer, images) - exact
    assert np.sqrt(np.mean(error**2)) < 0.05 * np.std(exact)
    np.testing.assert_allclose(
        on_openvino(integer, images), by_definition(integer, images), atol=0.05 * float(np.std(exact))
    )


def test_biases_take_up_the_mean_error(case: Case) -> None:
    """Means of a layer's outputs over the calibration images are nearer to those of the float graph."""
    images = draw_views(40, seed=1)
    exact = by_definition(case.rounded, images)
    shift = []
    for correct in (True, False):
        integer = with_integer_activations(
            case.rounded, case.layers, case.quantized, images, exclude=[HEAD], correct_biases=correct
        )
        biases = {item.name: numpy_helper.to_array(item) for item in integer.graph.initializer}
        before = {item.name: numpy_helper.to_array(item) for item in case.rounded.graph.initializer}
        moved = [name for name in biases if name in before and not np.array_equal(biases[name], before[name])]
        assert (set(moved) >= {"fc1.bias", "fc2.bias", "o.bias"}) is correct
        assert all(biases[name].shape in ((WIDTH,), (2 * WIDTH,)) for name in moved)
        shift.append(abs(float((by_definition(integer, images) - exact).mean())))
    assert shift[0] < shift[1] + 0.01 * float(np.std(exact))


def test_no_images(case: Case) -> None:
    with pytest.raises(ValueError, match="no calibration images"):
        with_integer_activations(case.rounded, case.layers, case.quantized, [])
