"""Take the weights out of an ONNX model and put them back, on the bytes, without the onnx package.

An ONNX file is one protobuf message, ``ModelProto{graph: GraphProto{initializer: [TensorProto, ...]}}``.
Two rules of the wire format (protobuf.dev/programming-guides/encoding) make this short: a message is a
row of (field, value) records that can be skipped unread, and concatenated messages of one type merge. So
weights go back in by appending a second ModelProto that holds nothing else. Field numbers: onnx.proto3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

_DATA_TYPES: dict[np.dtype[Any], int] = {
    np.dtype("<f4"): 1,
    np.dtype("u1"): 2,
    np.dtype("i1"): 3,
    np.dtype("<i4"): 6,
    np.dtype("<i8"): 7,
    np.dtype("?"): 9,
    np.dtype("<f2"): 10,
    np.dtype("<f8"): 11,
}
"""NumPy dtype -> TensorProto.DataType."""
_DTYPES = {number: dtype for dtype, number in _DATA_TYPES.items()}
SUPPORTED_DTYPES = tuple(dtype.name for dtype in _DATA_TYPES)
"""Names of the dtypes that a weight may have."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH = 7
_GRAPH_INITIALIZER = 5
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_LARGEST_MESSAGE = 2**31 - 1
_LONGEST_VARINT = 10
_MOST_DIMS = 64


def attach_initializers(graph: bytes, weights: Mapping[str, Array]) -> bytes:
    """Put weights into a serialized model.

    Args:
        graph: a serialized ModelProto.
        weights: arrays by initializer name; their dtypes are among :data:`SUPPORTED_DTYPES`.

    Returns:
        The serialized ModelProto with these initializers added to its graph.

    Raises:
        ValueError: a dtype that is not supported, or the model would exceed protobuf's 2 GiB.
    """
    if not weights:
        return graph
    tensors = [_delimited(_GRAPH_INITIALIZER, _encode_tensor(name, value)) for name, value in weights.items()]
    model = graph + _delimited(_MODEL_GRAPH, b"".join(tensors))
    if len(model) > _LARGEST_MESSAGE:
        raise ValueError(f"the model has {len(model)} bytes, protobuf allows {_LARGEST_MESSAGE}")
    return model


def detach_initializers(model: bytes) -> tuple[bytes, dict[str, Array]]:
    """Take the weights of the main graph out of a serialized model; all else stays as it is, byte for byte.

    Args:
        model: a serialized ModelProto whose weights lie inside it, however they are encoded there.

    Returns:
        The serialized ModelProto without initializers, and the arrays by name in the order of the file.

    Raises:
        ValueError: not a ModelProto with a graph, cut, or with weights that are external, doubly named,
            of an unsupported type or of another size than declared.
    """
    parts: list[bytes] = []
    weights: dict[str, Array] = {}
    graphs = 0
    for record in _records(memoryview(model)):
        if record.number == _MODEL_GRAPH:
            graphs += 1
            parts.append(_delimited(_MODEL_GRAPH, _strip_graph(record.payload(), weights)))
        else:
            parts.append(bytes(record.whole))
    if not graphs:
        raise ValueError("no graph: not a serialized ONNX model")
    return b"".join(parts), weights


def _strip_graph(graph: memoryview, weights: dict[str, Array]) -> bytes:
    kept: list[bytes] = []
    for record in _records(graph):
        if record.number != _GRAPH_INITIALIZER:
            kept.append(bytes(record.whole))
            continue
        name, value = _decode_tensor(record.payload())
        if name in weights:
            raise ValueError(f"two initializers are named {name!r}")
        weights[name] = value
    return b"".join(kept)


@dataclass(frozen=True, slots=True)
class _Record:
    """One field of a message: its number, wire type, value, and all its bytes."""

    number: int
    wire: int
    value: int
    content: memoryview
    whole: memoryview

    def payload(self) -> memoryview:
        """The bytes of a string, message or packed field."""
        if self.wire != _LENGTH:
            raise ValueError(f"field {self.number} has wire type {self.wire}, expected {_LENGTH}")
        return self.content

    def varints(self) -> list[int]:
        """The numbers of a varint field, packed or not."""
        if self.wire == _VARINT:
            return [self.value]
        numbers, position, content = [], 0, self.payload()
        while position < len(content):
            number, position = _read_varint(content, position)
            numbers.append(number)
        return numbers


def _records(message: memoryview) -> Iterator[_Record]:
    position = 0
    while position < len(message):
        start = position
        key, position = _read_varint(message, position)
        number, wire = key >> 3, key & 7
        value, length = 0, 0
        if wire == _VARINT:
            value, position = _read_varint(message, position)
        elif wire == _LENGTH:
            length, position = _read_varint(message, position)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire} at byte {start}")
        end = position + length
        if number == 0 or end > len(message):
            raise ValueError(f"malformed or cut field at byte {start} of {len(message)}")
        yield _Record(number, wire, value, message[position:end], message[start:end])
        position = end


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """Read an unsigned 64-bit varint; return it and where the next byte is."""
    number = 0
    for index, byte in enumerate(message[position : position + _LONGEST_VARINT]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, position + index + 1
    raise ValueError(f"malformed or cut number at byte {position}")


@dataclass(slots=True)
class _Tensor:
    """The fields of a TensorProto as they come along."""

    name: str = ""
    data_type: int = 0
    dims: list[int] = field(default_factory=list)
    raw: memoryview | None = None
    floats: list[memoryview] = field(default_factory=list)
    integers: list[int] = field(default_factory=list)

    def take(self, record: _Record) -> None:
        """Keep one field."""
        match record.number:
            case 1:  # dims
                self.dims += record.varints()
            case 2:  # data_type
                self.data_type = record.value
            case 4 | 10:  # float_data, double_data
                self.floats.append(record.content)
            case 5 | 7:  # int32_data, int64_data
                self.integers += record.varints()
            case 8:  # name
                self.name = str(record.payload(), "utf-8")
            case 9:  # raw_data
                self.raw = record.payload()
            case 13 | 14 if record.wire == _LENGTH or record.value:  # external_data, data_location
                raise ValueError("a weight lies in another file; save the model with its weights inside")

    def array(self) -> Array:
        """The values, with the declared dtype and shape."""
        dtype = _DTYPES.get(self.data_type)
        if dtype is None:
            raise ValueError(
                f"weight {self.name!r} has ONNX data type {self.data_type}, known are {SUPPORTED_DTYPES}"
            )
        flat = self._flat(dtype)
        # math.prod on Python integers: a hostile shape cannot overflow into one that fits.
        fits = len(self.dims) <= _MOST_DIMS and all(size <= _LARGEST_MESSAGE for size in self.dims)
        if not fits or math.prod(self.dims) != flat.size:
            raise ValueError(f"weight {self.name!r} of shape {self.dims} has {flat.size} values")
        return flat.reshape(self.dims)

    def _flat(self, dtype: np.dtype[np.generic]) -> Array:
        content = self.raw if self.raw is not None else b"".join(self.floats)
        if not self.integers:
            if len(content) % dtype.itemsize:
                raise ValueError(
                    f"weight {self.name!r} has {len(content)} bytes, not a multiple of {dtype.itemsize}"
                )
            return np.frombuffer(content, dtype).copy()
        # int32_data holds the bit patterns of half floats and the values of all smaller integers.
        numbers = np.array(self.integers, np.uint64).astype(np.int64)
        if dtype == np.dtype("<f2"):
            return numbers.astype(np.uint16).view(dtype)
        return numbers.astype(dtype)


def _decode_tensor(message: memoryview) -> tuple[str, Array]:
    tensor = _Tensor()
    for record in _records(message):
        tensor.take(record)
    return tensor.name, tensor.array()


def _encode_tensor(name: str, value: Array) -> bytes:
    dtype = value.dtype.newbyteorder("<")
    if dtype not in _DATA_TYPES:
        raise ValueError(
            f"weight {name!r} is of {value.dtype}, expected one of {', '.join(SUPPORTED_DTYPES)}"
        )
    fields = [_varint_field(_TENSOR_DIMS, size) for size in value.shape]
    fields.append(_varint_field(_TENSOR_TYPE, _DATA_TYPES[dtype]))
    fields.append(_delimited(_TENSOR_NAME, name.encode()))
    fields.append(_delimited(_TENSOR_RAW, value.astype(dtype, copy=False).tobytes()))
    return b"".join(fields)


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


def _delimited(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
