"""The compact layout: what goes in comes out, small things take little, and no bytes do harm."""

from __future__ import annotations

import json
import string
import tracemalloc
from typing import Any

import numpy as np
import pytest
import slow_decoder
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from foveal.artifact import coding, layout
from foveal.artifact.layout import Contents, pack_parts, unpack_parts
from foveal.artifact.onnx_wire import SUPPORTED_DTYPES

Array = NDArray[np.generic]
LIMIT = 1_000_000


def assert_equal(first: dict[str, Array], second: dict[str, Array]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.dtype == second[name].dtype
        assert value.shape == second[name].shape
        assert value.tobytes() == second[name].tobytes()


WEIGHTS: dict[str, Array] = {
    "a.weight": (np.arange(300) ** 2 % 3).astype(np.int8).reshape(15, 20),
    "a.scale": np.array([0.5, 0.25, 3.0], np.float32),
    "a.bias": np.array(-1.5, np.float32),
    "a.zero": np.array([0, 1], np.int8),
    "half": np.array([[2.5], [-1.0]], np.float16),
}
CONTENTS = Contents(b"a graph, a graph, a graph", b"{}", WEIGHTS)
SIZES = {"graph": 25, "table": 232, "tokenizer": 2}
PARTS = {
    "graph": bytes.fromhex("e00018000f030030884a20ef10450471197d05d2800000"),
    "table": bytes.fromhex(
        "e000e7007603002d9fb6afa0012d29aa1ba0e58b64f51401ba4f96f842af74ed3aac61951c82a616701afdee251bc82a"
        "4ab9dd7b50cf37db171939375f018368909ed5a2e4513a8ca6f984e66fc7b04f06abe2930498d5ad2971fd44b08e8d04"
        "65ea6636f96976b5e6ef485191b919331b34ca149cde7346164d9f380000"
    ),
    "tokenizer": bytes.fromhex("0100017b7d00"),
    "weights": bytes.fromhex(
        "04000000004100bc100000000000c0bf0000003f0000803e0000404029000000879647210761745ea333adb779a36d90"
        "0afd66148ac25a40d8926b426462d7cb6046010ef43d805baf020000000001"
    ),
}


def test_the_format_does_not_change() -> None:
    """Bytes that the first version wrote and that ``slow_decoder`` read: they mean the same for ever."""
    read = unpack_parts(PARTS, SIZES, LIMIT)
    assert (read.graph, read.tokenizer) == (CONTENTS.graph, CONTENTS.tokenizer)
    expected = WEIGHTS | {"half": WEIGHTS["half"].astype(np.float32)}
    assert_equal(dict(read.weights), expected)
    assert_equal(slow_decoder.weights(PARTS), expected)
    written, sizes = pack_parts(CONTENTS, {"half": "float32"}, LIMIT)
    assert sizes == SIZES
    assert written["weights"] == PARTS["weights"]
    assert slow_decoder.text(written["table"]) == slow_decoder.text(PARTS["table"])


arrays = st.sampled_from(SUPPORTED_DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9))
)


@settings(deadline=None, max_examples=20)
@given(
    weights=st.dictionaries(st.text(max_size=8).filter(lambda text: text.isprintable()), arrays, max_size=6),
    graph=st.binary(max_size=300),
    tokenizer=st.none() | st.binary(min_size=1, max_size=300),
)
def test_contents_come_back(weights: dict[str, Array], graph: bytes, tokenizer: bytes | None) -> None:
    parts, sizes = pack_parts(Contents(graph, tokenizer, weights), {}, LIMIT)
    read = unpack_parts(parts, sizes, LIMIT)
    assert (read.graph, read.tokenizer) == (graph, tokenizer)
    assert_equal(dict(read.weights), weights)
    assert_equal(slow_decoder.weights(parts), weights)


def test_large_weights_come_back() -> None:
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(0, 3, (20, 16)).astype(dtype)
        for name, dtype in zip(string.ascii_lowercase, SUPPORTED_DTYPES, strict=False)
    }
    parts, sizes = pack_parts(Contents(b"g", None, weights), {}, LIMIT)
    assert_equal(dict(unpack_parts(parts, sizes, LIMIT).weights), weights)
    assert_equal(slow_decoder.weights(parts), weights)


def test_hundreds_of_small_weights_take_little_more_than_their_values() -> None:
    """In a safetensors header, each would take 120 bytes more than its values."""
    rng = np.random.default_rng(0)
    weights: dict[str, Array] = {}
    for layer in range(100):
        weights[f"network.blocks.{layer}.attention.scale"] = rng.normal(1, 0.1, 4).astype(np.float32)
        weights[f"network.blocks.{layer}.attention.zero_point"] = np.zeros(4, np.int8)
        weights[f"network.blocks.{layer}.attention.bias"] = rng.normal(0, 1, 4).astype(np.float32)
    parts, _ = pack_parts(Contents(b"", None, weights), {}, LIMIT)
    values = sum(value.nbytes for value in weights.values())
    assert len(parts["weights"]) < 0.9 * values
    assert len(parts["table"]) < 3 * len(weights)


def parts_with(table: Any, values: bytes = b"") -> tuple[dict[str, bytes], dict[str, int]]:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    texts = {"graph": b"", "table": text}
    parts = {name: layout._compress(part) for name, part in texts.items()}
    return parts | {"weights": values}, {name: len(part) for name, part in texts.items()}


def group(*entries: Any, stored: Any = "int8", loaded: Any = "int8") -> dict[str, Any]:
    return {"stored": stored, "loaded": loaded, "weights": list(entries)}


def coded(array: Array) -> bytes:
    return coding.with_length(coding.encode(array))


ONE = coded(np.array([7], np.int8))


def test_tables_made_as_told_are_read() -> None:
    parts, sizes = parts_with([group(["a", [1]])], ONE)
    assert_equal(dict(unpack_parts(parts, sizes, LIMIT).weights), {"a": np.array([7], np.int8)})


@pytest.mark.parametrize(
    ("table", "values", "reason"),
    [
        (b"", b"", "Expecting value"),
        (b"\xff", b"", "decode"),
        (b"[" * 100_000, b"", "nested too deeply"),
        ({}, b"", "its table is not a list"),
        ([3], b"", "a group of its table"),
        ([{"stored": "int8", "loaded": "int8"}], b"", "a group of its table"),
        ([group() | {"more": 1}], b"", "a group of its table"),
        ([group(stored="object", loaded="object")], b"", "'object' are unknown|'object' and"),
        ([group(stored=[], loaded=[])], b"", "are unknown"),
        ([group(stored="int8", loaded="float32")], b"", "are unknown"),
        ([group(loaded=["int8"])], b"", "are unknown"),
        ([group() | {"weights": 5}], b"", "a group is not a list"),
        ([group("a")], b"", "a weight is not a list"),
        ([group(["a"])], b"", "a weight is not a list"),
        ([group([5, [1]])], ONE, "has no name"),
        ([group(["a", 1])], ONE, "the shape of 'a'"),
        ([group(["a", [True]])], ONE, "not of whole numbers"),
        ([group(["a", [1.0]])], ONE, "not of whole numbers"),
        ([group(["a", [-1]])], ONE, "not of whole numbers"),
        ([group(["a", [2**62, 2**62, 4]])], ONE, "more than a model may have"),
        ([group(["a", [LIMIT]])], ONE, "more than a model may have"),
        ([group(["a", [LIMIT // 4]], stored="float16", loaded="float32")], ONE, "more than a model may have"),
        ([group(["a", [LIMIT // 2]]), group(["b", [LIMIT // 2]])], ONE, "more than a model may have"),
        ([group(["a", [1]], ["a", [1]])], coded(np.zeros(2, np.int8)), "the same name"),
        ([group(["a", [1]]), group(["a", [1]])], ONE + ONE, "the same name"),
        ([group(["a", [1]])], b"", "are cut at byte 0 of 0"),
        ([group(["a", [1]])], ONE[:-1], "are cut at byte 0"),
        ([group(["a", [1]])], ONE + b"\0", "6 bytes, of which 5 mean something"),
        ([group(["a", [2] * 65])], ONE, "more than a model may have"),
        ([group(["a", [1] * 65])], ONE, "dimension"),
    ],
)
def test_tables_and_values_of_nonsense_are_refused(table: Any, values: bytes, reason: str) -> None:
    parts, sizes = parts_with(table, values)
    with pytest.raises(ValueError, match=reason):
        unpack_parts(parts, sizes, LIMIT)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"graph": -1}, "not a whole number"),
        ({"graph": True}, "not a whole number"),
        ({"graph": "25"}, "not a whole number"),
        ({"graph": 24}, "does not have the 24 bytes"),
        ({"graph": 26}, "does not have the 26 bytes"),
        ({"graph": LIMIT}, "graph or tokenizer has more bytes"),
        ({"tokenizer": (64 << 20) + 1}, "graph or tokenizer has more bytes"),
        ({"table": (1 << 20) + 1}, "its table of weights has 1048577 bytes"),
        ({"weights": 5}, "its parts are"),
        ({"more": 5}, "its parts are"),
    ],
)
def test_sizes_of_nonsense_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        unpack_parts(PARTS, SIZES | changes, LIMIT if "tokenizer" not in changes else 1 << 30)


@pytest.mark.parametrize("missing", ["graph", "table", "weights"])
def test_parts_that_are_missing_or_too_many(missing: str) -> None:
    fewer = {name: part for name, part in PARTS.items() if name != missing}
    for parts in (fewer, PARTS | {"code": b""}):
        with pytest.raises(ValueError, match="its parts are"):
            unpack_parts(parts, SIZES, LIMIT)
    sizes = {name: size for name, size in SIZES.items() if name != missing}
    with pytest.raises(ValueError, match="its parts are"):
        unpack_parts(fewer, sizes, LIMIT)


@pytest.mark.parametrize("change", [b"", b"\xff", PARTS["graph"][:-1], PARTS["graph"] + b"\0"])
def test_compressed_parts_that_are_damaged(change: bytes) -> None:
    with pytest.raises(ValueError, match="a compressed part"):
        unpack_parts(PARTS | {"graph": change}, SIZES, LIMIT)


def test_a_bomb_is_not_unpacked() -> None:
    """20 MB of zeros are 3 kB when compressed; said to be 1 kB, they get that, and LZMA its 4 MB."""
    bomb = layout._compress(bytes(20_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="does not have the 1000 bytes"):
            unpack_parts(PARTS | {"graph": bomb}, SIZES | {"graph": 1000}, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (Contents(bytes(LIMIT), None, WEIGHTS), "graph or tokenizer has more bytes"),
        (Contents(b"", None, {"w": np.zeros(LIMIT, np.int8)}), "more than a model may have"),
        (Contents(b"", None, {"w" * (1 << 20): np.zeros(3)}), "its table of weights"),
    ],
)
def test_what_could_not_be_read_is_not_written(contents: Contents, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        pack_parts(contents, {}, LIMIT)
