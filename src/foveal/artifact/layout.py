"""The compact layout of an artifact, format version 2: compressed text, and all weights in one piece.

Parts: ``graph`` and ``tokenizer``, compressed with LZMA; ``table``, JSON compressed with LZMA, that says
which weights there are; ``weights``, their values one after the other. An entry of its own in the safetensors
header would cost a weight 120 bytes, and a network has hundreds of scales and biases.

The table is a list of groups ``{"stored": dtype, "loaded": dtype, "weights": [[name, [size, ...]], ...]}``.
The values follow the groups: first each large weight of the group in its order, then all its small ones
(fewer than 256 values) joined into one array of one axis, if there are any. Each array is what
:func:`foveal.artifact.coding.encode` makes of it, preceded by its length (32 bits, little-endian).
"""

from __future__ import annotations

import json
import lzma
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from foveal.artifact import coding
from foveal.artifact.onnx_wire import SUPPORTED_DTYPES, Array
from foveal.artifact.tokenizer import MAX_TOKENIZER_BYTES

GRAPH, TOKENIZER = "graph", "tokenizer"
"""Names of parts, in every version of the format."""
LEAST_LARGE = 256
"""Weights with fewer values are small: they hold little, may be tiny numbers, and are stored together."""
MAX_TABLE_BYTES = 1 << 20
"""Room for the names and shapes of some 15,000 weights."""

# Raw, because the file has a checksum and says what it holds; pb 0, because text has no words to align to.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 4 << 20, "pb": 0}]
_TABLE, _WEIGHTS = "table", "weights"
_WIDENED = {"float16": "float32"}


@dataclass(frozen=True, slots=True)
class Contents:
    """What the parts hold: graph, tokenizer if any, and the weights by name, in the dtypes of the graph."""

    graph: bytes
    tokenizer: bytes | None
    weights: Mapping[str, Array]


def pack_parts(
    contents: Contents, load_as: Mapping[str, str], limit: int
) -> tuple[dict[str, bytes], dict[str, int]]:
    """Lay out an artifact compactly.

    Args:
        contents: its weights in the dtypes to store them in.
        load_as: the dtypes to read them as, by name, of those that are stored in another.
        limit: bytes that all contents together may have.

    Returns:
        The parts by name, and how many bytes those that are compressed have when they are not.

    Raises:
        ValueError: it could not be read again.
    """
    table, values = _pack_weights(contents.weights, load_as)
    texts = {GRAPH: contents.graph, _TABLE: table}
    if contents.tokenizer is not None:
        texts[TOKENIZER] = contents.tokenizer
    sizes = {name: len(text) for name, text in texts.items()}
    room = _room(sizes, limit)
    _require_room(_read_table(table), room)
    parts = {name: _compress(text) for name, text in texts.items()}
    return parts | {_WEIGHTS: values}, sizes


def unpack_parts(parts: Mapping[str, bytes], sizes: Mapping[str, Any], limit: int) -> Contents:
    """Undo :func:`pack_parts`. Nothing is made before it is known that it is not too large.

    Args:
        parts: by name.
        sizes: bytes that those have that are compressed, when they are not.
        limit: bytes that all contents together may have.

    Raises:
        ValueError: these are no such parts, or there would be more bytes.
    """
    if sizes.keys() - {TOKENIZER} != {GRAPH, _TABLE} or parts.keys() != sizes.keys() | {_WEIGHTS}:
        raise ValueError(f"its parts are {', '.join(sorted(parts))}")
    if any(type(size) is not int or size < 0 for size in sizes.values()):
        raise ValueError("the size of a part is not a whole number")
    room = _room(sizes, limit)
    groups = _read_table(_decompress(parts[_TABLE], sizes[_TABLE]))
    _require_room(groups, room)
    return Contents(
        graph=_decompress(parts[GRAPH], sizes[GRAPH]),
        tokenizer=_decompress(parts[TOKENIZER], sizes[TOKENIZER]) if TOKENIZER in parts else None,
        weights=_unpack_weights(groups, parts[_WEIGHTS]),
    )


def _room(sizes: Mapping[str, int], limit: int) -> int:
    """Bytes that are left for the weights."""
    if sizes[_TABLE] > MAX_TABLE_BYTES:
        raise ValueError(
            f"its table of weights has {sizes[_TABLE]} bytes, at most {MAX_TABLE_BYTES} are read"
        )
    room = limit - sum(sizes.values())
    if room < 0 or sizes.get(TOKENIZER, 0) > MAX_TOKENIZER_BYTES:
        raise ValueError("its graph or tokenizer has more bytes than a model may have")
    return room


def _compress(content: bytes) -> bytes:
    """Compress text or a graph: equal bytes for equal content, from one version of liblzma."""
    return lzma.compress(content, lzma.FORMAT_RAW, filters=_FILTERS)


def _decompress(content: bytes, size: int) -> bytes:
    """Undo :func:`_compress`; never makes more than ``size + 1`` bytes."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        plain = decoder.decompress(content, max_length=size + 1)
    except lzma.LZMAError as error:
        raise ValueError(f"a compressed part is damaged: {error}") from error
    if len(plain) != size or not decoder.eof or decoder.unused_data:
        raise ValueError(f"a compressed part does not have the {size} bytes that it should")
    return plain


def _pack_weights(weights: Mapping[str, Array], load_as: Mapping[str, str]) -> tuple[bytes, bytes]:
    """The table, not yet compressed, and the values."""
    groups: dict[tuple[str, str], dict[str, Array]] = {}
    for name, value in sorted(weights.items()):
        stored = value.dtype.name
        groups.setdefault((stored, load_as.get(name, stored)), {})[name] = value
    table: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for (stored, loaded), members in sorted(groups.items()):
        shapes = [[name, list(value.shape)] for name, value in members.items()]
        table.append({"stored": stored, "loaded": loaded, "weights": shapes})
        arrays = [value for value in members.values() if value.size >= LEAST_LARGE]
        small = [value.reshape(-1) for value in members.values() if value.size < LEAST_LARGE]
        arrays += [np.concatenate(small)] if small else []
        parts += [coding.with_length(coding.encode(array)) for array in arrays]
    return json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode(), b"".join(parts)


def _unpack_weights(groups: list[_Group], content: bytes) -> dict[str, Array]:
    weights: dict[str, Array] = {}
    position = 0
    for group in groups:
        found, position = group.unpack(content, position)
        if not weights.keys().isdisjoint(found) or len(found) != len(group.shapes):
            raise ValueError("two of its weights have the same name")
        weights.update(found)
    if position != len(content):
        raise ValueError(f"its weights have {len(content)} bytes, of which {position} mean something")
    return weights


@dataclass(frozen=True, slots=True)
class _Group:
    """Weights that are stored in one dtype and loaded in one dtype: their names and shapes."""

    stored: str
    loaded: str
    shapes: list[tuple[str, tuple[int, ...]]]

    @classmethod
    def read(cls, group: Any) -> Self:
        if not isinstance(group, dict) or group.keys() != {"stored", "loaded", "weights"}:
            raise ValueError("a group of its table is not what it should be")
        stored, loaded = group["stored"], group["loaded"]
        if stored not in SUPPORTED_DTYPES or loaded not in (stored, _WIDENED.get(stored)):
            raise ValueError(f"weights stored as {stored!r} and loaded as {loaded!r} are unknown")
        return cls(stored, loaded, [_read_entry(entry) for entry in _listed("a group", group["weights"])])

    def loaded_bytes(self) -> int:
        return sum(math.prod(shape) for _, shape in self.shapes) * np.dtype(self.loaded).itemsize

    def unpack(self, content: bytes, position: int) -> tuple[dict[str, Array], int]:
        """The weights by name, and where the next group starts."""
        found: dict[str, Array] = {}
        small = [(name, shape) for name, shape in self.shapes if math.prod(shape) < LEAST_LARGE]
        for name, shape in self.shapes:
            if math.prod(shape) >= LEAST_LARGE:
                found[name], position = self._decode(content, position, shape)
        if small:
            sizes = [math.prod(shape) for _, shape in small]
            joined, position = self._decode(content, position, (sum(sizes),))
            for (name, shape), part in zip(small, np.split(joined, np.cumsum(sizes)[:-1]), strict=True):
                found[name] = part.reshape(shape)
        return found, position

    def _decode(self, content: bytes, position: int, shape: tuple[int, ...]) -> tuple[Array, int]:
        part, position = coding.take_with_length(content, position)
        return coding.decode(part, self.stored, shape).astype(self.loaded, copy=False), position


def _read_table(table: bytes) -> list[_Group]:
    try:
        return [_Group.read(group) for group in _listed("its table", json.loads(table))]
    except RecursionError as error:
        raise ValueError("its table is nested too deeply") from error


def _require_room(groups: list[_Group], room: int) -> None:
    total = sum(group.loaded_bytes() for group in groups)
    if total > room:
        raise ValueError(f"its weights have {total} bytes, more than a model may have ({room} are left)")


def _read_entry(entry: Any) -> tuple[str, tuple[int, ...]]:
    name, sizes = _listed("a weight", entry, 2)
    if not isinstance(name, str):
        raise ValueError("a weight of its table has no name")
    # Python's whole numbers: no product of sizes can overflow into a small one. True is not a size.
    if any(type(size) is not int or size < 0 for size in _listed(f"the shape of {name!r}", sizes)):
        raise ValueError(f"weight {name!r} has a shape that is not of whole numbers")
    return name, tuple(sizes)


def _listed(what: str, value: Any, length: int | None = None) -> list[Any]:
    if not isinstance(value, list) or length not in (None, len(value)):
        raise ValueError(f"{what} is not a list of what it should be")
    return value
