"""Weights out of an ONNX model and back in, judged by the onnx package."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from foveal.artifact.onnx_wire import SUPPORTED_DTYPES, attach_initializers, detach_initializers

ARRAYS = st.sampled_from(SUPPORTED_DTYPES).flatmap(
    lambda name: npst.arrays(
        np.dtype(name), npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
    )
)


def model_with(*tensors: onnx.TensorProto) -> onnx.ModelProto:
    """A model that only holds these initializers."""
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])
    graph = helper.make_graph([], "empty", [], [output], initializer=list(tensors))
    return helper.make_model(graph)


@given(st.dictionaries(st.text(max_size=20), ARRAYS, max_size=4))
@settings(max_examples=60, deadline=None)
def test_attached_weights_are_what_onnx_reads(weights: dict[str, NDArray[np.generic]]) -> None:
    bare = model_with().SerializeToString()
    model = onnx.ModelProto.FromString(attach_initializers(bare, weights))
    read = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert list(read) == list(weights)
    for name, value in weights.items():
        assert read[name].dtype == value.dtype
        np.testing.assert_array_equal(read[name], value)


@given(st.dictionaries(st.text(min_size=1, max_size=20), ARRAYS, max_size=4))
@settings(max_examples=60, deadline=None)
def test_detach_undoes_attach(weights: dict[str, NDArray[np.generic]]) -> None:
    bare, none = detach_initializers(model_with().SerializeToString())
    assert none == {}
    graph, read = detach_initializers(attach_initializers(bare, weights))
    assert onnx.ModelProto.FromString(graph) == onnx.ModelProto.FromString(bare)
    assert list(read) == list(weights)
    for name, value in weights.items():
        assert read[name].dtype == value.dtype
        np.testing.assert_array_equal(read[name], value)


def test_a_real_model_survives(tiny_onnx: onnx.ModelProto) -> None:
    content = tiny_onnx.SerializeToString()
    graph, weights = detach_initializers(content)
    stripped = onnx.ModelProto.FromString(graph)
    assert not stripped.graph.initializer
    assert stripped.graph.node == tiny_onnx.graph.node
    whole = onnx.ModelProto.FromString(attach_initializers(graph, weights))
    onnx.checker.check_model(whole, full_check=True)
    # Byte for byte the same model once protobuf itself has merged and written both.
    assert whole.SerializeToString(deterministic=True) == tiny_onnx.SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", SUPPORTED_DTYPES)
def test_typed_fields_are_read_like_raw_ones(name: str) -> None:
    # onnx.helper.make_tensor writes float_data, int32_data (also for halves), int64_data and double_data.
    value = np.array([[0, 1, -2], [3, 100, -128]]).astype(name)
    data_type = helper.np_dtype_to_tensor_dtype(np.dtype(name))
    tensor = helper.make_tensor("w", data_type, value.shape, value.ravel().tolist())
    assert not tensor.raw_data
    _, weights = detach_initializers(model_with(tensor).SerializeToString())
    assert weights["w"].dtype == value.dtype
    np.testing.assert_array_equal(weights["w"], value)


def test_fields_that_it_does_not_know_stay(tiny_onnx: onnx.ModelProto) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(tiny_onnx)
    helper.set_model_props(model, {"origin": "test"})
    model.doc_string = "a note"
    fixed = b"\xfd\x3e\x01\x02\x03\x04" + b"\xf9\x3e" + bytes(8)  # field 1007: four bytes, then eight
    graph, _ = detach_initializers(model.SerializeToString() + fixed)
    read = onnx.ModelProto.FromString(graph)
    assert {prop.key: prop.value for prop in read.metadata_props} == {"origin": "test"}
    assert read.doc_string == "a note"
    assert fixed in graph


def test_a_graph_in_two_parts_is_one() -> None:
    first = model_with(numpy_helper.from_array(np.arange(3.0), "a")).SerializeToString()
    model = attach_initializers(first, {"b": np.zeros(2, np.int8)})
    _, weights = detach_initializers(model)
    assert list(weights) == ["a", "b"]


def _external() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    tensor.ClearField("raw_data")
    return tensor


def _lying(dims: list[int]) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    tensor.dims[:] = dims
    return tensor


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ([_external()], "another file"),
        ([helper.make_tensor("w", TensorProto.STRING, [1], [b"x"])], "data type 8"),
        ([helper.make_tensor("w", TensorProto.BFLOAT16, [1], [1.0])], "data type 16"),
        ([_lying([5])], "has 4 values"),
        ([_lying([-4])], "has 4 values"),
        ([_lying([2**62, 2**62, 4])], "has 4 values"),
        ([_lying([2**63 - 1, 0])], "has 4 values"),
        ([_lying([1] * 100 + [4])], "has 4 values"),
        ([_lying([4]), _lying([4])], "two initializers are named 'w'"),
    ],
)
def test_weights_that_are_refused(tensors: list[onnx.TensorProto], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        detach_initializers(model_with(*tensors).SerializeToString())


def test_weights_of_other_dtypes_cannot_be_attached() -> None:
    with pytest.raises(ValueError, match="complex64"):
        attach_initializers(b"", {"w": np.zeros(2, np.complex64)})


def test_big_endian_weights_are_turned() -> None:
    model = attach_initializers(b"", {"w": np.arange(3, dtype=">f4")})
    np.testing.assert_array_equal(detach_initializers(model)[1]["w"], [0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a model",
        b"\x3a",  # a graph without its length
        b"\x3a\xff\xff\xff\xff\x0f",  # a graph of 4 GiB that is not there
        b"\x3a" + b"\xff" * 11,  # a number that does not end
        b"\x3b\x3c",  # a group, which onnx never writes
        b"\x38\x01",  # the graph as a number
        b"\x3a\x02\x28\x01",  # an initializer as a number
        b"\x02\x00",  # field 0
    ],
)
def test_malformed_bytes(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        detach_initializers(content)


def test_every_cut_is_an_error_or_a_whole_prefix(tiny_onnx: onnx.ModelProto) -> None:
    content = tiny_onnx.SerializeToString()
    for length in range(0, len(content), 7):
        try:
            graph, _ = detach_initializers(content[:length])
        except ValueError:
            continue
        onnx.ModelProto.FromString(graph)  # a cut between two fields leaves valid protobuf


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_altered_bytes_never_do_worse_than_value_error(data: st.DataObject) -> None:
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = bytearray(model_with(numpy_helper.from_array(value, "w")).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        _, weights = detach_initializers(bytes(content))
        assert sum(weight.nbytes for weight in weights.values()) <= 8 * len(content)
