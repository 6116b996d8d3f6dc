"""Coded arrays: every bit comes back, in as few bytes as they need, and no bytes do harm."""

from __future__ import annotations

import tracemalloc

import constriction
import numpy as np
import pytest
import slow_decoder
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from foveal.artifact import ans, coding
from foveal.artifact.ans import Decoder, Encoder, frequencies, uniform
from foveal.artifact.histogram import BIT, Histograms, fit_histograms
from foveal.artifact.onnx_wire import SUPPORTED_DTYPES

Array = NDArray[np.generic]


def entropy_bytes(values: Array) -> float:
    """Zeroth-order empirical entropy of all values together."""
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


def assert_same(first: Array, second: Array) -> None:
    assert first.dtype == second.dtype
    assert first.shape == second.shape
    assert first.tobytes() == second.tobytes()


def round_trip(array: Array) -> bytes:
    content = coding.encode(array)
    assert len(content) <= array.nbytes
    assert_same(coding.decode(content, array.dtype, array.shape), array)
    return content


def levels(seed: int, kind: str, shape: tuple[int, ...]) -> NDArray[np.int8]:
    rng = np.random.default_rng(seed)
    drawn = {
        "constant": np.full(shape, -5.0),
        "two": rng.choice([-128.0, 127.0], shape),
        "peaked": rng.normal(0, 0.3, shape),
        "bell": rng.normal(0, 2, shape),
        "wide": rng.normal(0, 35, shape),
        "skewed": rng.exponential(4, shape),
        "uniform": rng.uniform(-128.5, 127.5, shape),
        "rows": rng.normal(0, 1, shape) * rng.uniform(0.3, 9, (shape[0], *[1] * (len(shape) - 1))),
    }[kind]
    return np.rint(drawn).clip(-128, 127).astype(np.int8)


KINDS = ("constant", "two", "peaked", "bell", "wide", "skewed", "uniform", "rows")
shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=12)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(KINDS), shape=shapes, signed=st.booleans())
def test_levels_come_back(seed: int, kind: str, shape: tuple[int, ...], signed: bool) -> None:
    drawn = levels(seed, kind, shape)
    array = drawn if signed else drawn.view(np.uint8)
    content = round_trip(array)
    assert_same(slow_decoder.array(content, array.dtype.name, array.shape), array)


@settings(deadline=None, max_examples=30)
@given(array=st.sampled_from(SUPPORTED_DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(
    min_dims=0, max_dims=3, min_side=0, max_side=9
))))  # fmt: skip
def test_all_dtypes_and_shapes_come_back(array: Array) -> None:
    round_trip(array)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from(SUPPORTED_DTYPES))
def test_values_of_several_bytes_come_back(seed: int, dtype: str) -> None:
    drawn = np.random.default_rng(seed).normal(0, 3, (20, 15)).astype(dtype)
    content = round_trip(drawn)
    assert_same(slow_decoder.array(content, dtype, drawn.shape), drawn)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3), np.int8),
        np.array(5, np.int8),
        np.array(0, np.int8),
        np.arange(256, dtype=np.uint8),
        np.tile(np.arange(256, dtype=np.uint8), (300, 1)),
        np.array([-128, 127] * 3000, np.int8),
        np.array([[np.nan, -0.0], [np.inf, 6e-8]] * 200, np.float16),
        np.arange(4000, dtype=np.int8).reshape(40, 100).T,
        np.arange(600, dtype=">i4"),
        np.ones((1,) * 20 + (300,), np.int8),
    ],
)
def test_corner_cases_come_back(array: Array) -> None:
    content = coding.encode(array)
    back = coding.decode(content, array.dtype, array.shape)
    assert back.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(np.signbit(back), np.signbit(array))


def test_nothing_and_nothing_but_zeros_take_no_bytes() -> None:
    assert coding.encode(np.zeros((0, 3), np.int8)) == b""
    assert coding.encode(np.zeros((64, 64), np.uint8)) == b""
    assert len(coding.encode(np.full((64, 64), -3, np.int8))) <= 3


@pytest.mark.parametrize("count", [1_000, 5_000, 36_864, 250_000])
@pytest.mark.parametrize("scale", [0.4, 1.0, 2.0, 5.0, 20.0])
@pytest.mark.parametrize("law", ["normal", "laplace"])
def test_size_is_the_entropy(count: int, scale: float, law: str) -> None:
    rng = np.random.default_rng(count)
    values = np.rint(getattr(rng, law)(0, scale, count)).clip(-128, 127).astype(np.int8)
    assert len(round_trip(values)) <= 1.02 * entropy_bytes(values) + 64


@pytest.mark.parametrize("count", [1_000, 36_864])
@pytest.mark.parametrize("seed", range(3))
def test_size_where_the_histogram_is_not_smooth(count: int, seed: int) -> None:
    """64 levels whose probabilities have nothing to do with each other: each needs telling."""
    rng = np.random.default_rng(seed)
    values = rng.choice(64, count, p=rng.dirichlet(np.full(64, 0.5))).astype(np.uint8)
    assert len(round_trip(values)) <= 1.02 * entropy_bytes(values) + 64


def test_random_bytes_are_left_alone() -> None:
    values = np.random.default_rng(0).integers(0, 256, 20_000, np.uint8)
    assert coding.encode(values) == values.tobytes()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rows_that_differ_in_scale_have_histograms_of_their_own(axis: int) -> None:
    rng = np.random.default_rng(3)
    scales = np.moveaxis(np.exp(rng.uniform(-1, 2.5, (96, 1, 1))), 0, axis)
    array = np.rint(rng.normal(0, 1, (96, 96, 9) if axis < 2 else (96, 9, 96)) * scales).astype(np.int8)
    flat = coding.encode(array.reshape(-1))
    assert len(flat) >= entropy_bytes(array)
    assert len(round_trip(array)) < 0.92 * entropy_bytes(array)


def test_equal_rows_pay_for_no_classes() -> None:
    array = levels(0, "bell", (200, 300))
    assert abs(len(coding.encode(array)) - len(coding.encode(array.reshape(-1)))) <= 8


def test_float16_is_smaller_by_its_high_bytes() -> None:
    array = np.random.default_rng(1).normal(0, 0.05, (200, 150)).astype(np.float16)
    high = array.view(np.uint8).reshape(*array.shape, 2)[..., 1]
    assert len(round_trip(array)) <= array.size + 1.02 * entropy_bytes(high) + 64


def test_encoding_is_deterministic() -> None:
    array = levels(5, "rows", (64, 100))
    assert coding.encode(array) == coding.encode(np.asfortranarray(array))


ROW, PLACE = np.ogrid[:16, :24]
LEVELS = (((PLACE * PLACE * 37 + ROW * 11 + PLACE * ROW) % 17 - 8) // np.where(ROW % 2, 1, 6)).astype(np.int8)
"""Two kinds of rows, -8 to 8 and -2 to 1."""
LEVELS_CODED = bytes.fromhex(
    "98ee07b7cb739770cc73527ea449bb9113ac6e77b2d7ce997d4bccf970d86ffea866e4fecd5d89b97b8e3708ab6f5b80d3cd"
    "7d4d2e5f2052f1502301a412fbc1ce8d6815483341cc74bf03debb4e71258046619a08c113847c4bbf9118a23df1941d5667"
    "f0ab270c863811e76b5c81da5b74736d630370fdeea31b4a942a2a0d0cee2058ec90966e748f88a5be650bdaa1a4291825b5"
    "4038555578102302"
)
HALVES = (np.arange(1, 121) ** 2 / 1024).astype(np.float16).reshape(5, 24)
HALVES_CODED = bytes.fromhex(
    "56000000b73f8c3fa0dd42b0420cdf3164df88d669c01b42747f7677a1790c1b3456ace11f255c1bc3b935ae7a004acb5395"
    "e59ae3e7dc70156302e21db66b22a0142dcb4422c5c86cd40644572ab1a404b283c006801437e41e00008000408020001040"
    "9080482008008410a440e4902280e248b220920882004184c91059a4f14091e43990e9225080b0e214487cb2e8205892cc08"
    "4482c00020416284a6c9ec1034597ea4caf118406891bae40e396490bce90b223950688098b0c9e2fb142e48627c97b2cde8"
    "04203c587592afccea08"
)


@pytest.mark.parametrize(("array", "coded"), [(LEVELS, LEVELS_CODED), (HALVES, HALVES_CODED)])
def test_the_format_does_not_change(array: Array, coded: bytes) -> None:
    """Bytes that the first version wrote and that ``slow_decoder`` read: they mean the same for ever."""
    assert_same(coding.decode(coded, array.dtype, array.shape), array)
    assert_same(slow_decoder.array(coded, array.dtype.name, array.shape), array)
    assert coding.encode(array) == coded


def test_the_golden_bytes_use_classes() -> None:
    message = slow_decoder.Message(LEVELS_CODED)
    assert [message.one(256), message.one(256), 2 ** message.one(4)] == [-8 + 128, 16, 2]


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**30), min_size=2, max_size=256).filter(any))
def test_frequencies_are_whole_and_complete(weights: list[int]) -> None:
    found = frequencies(np.array(weights))
    assert found.sum() == 2**24
    assert found.min() >= 1
    exact = np.array(weights, object) * (2**24 - len(weights)) / sum(weights) + 1
    assert max(abs(found - exact)) <= 1


@pytest.mark.parametrize("weights", [[], [1], [0, 0], [1, -1], [2**39, 1], [1] * 257])
def test_frequencies_of_nonsense(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="no model of"):
        frequencies(np.array(weights, np.int64))


@settings(deadline=None, max_examples=20)
@given(
    counts=hnp.arrays(
        np.int64, st.tuples(st.integers(1, 4), st.integers(2, 256)), elements=st.integers(0, 300)
    )
)
def test_histograms_come_back_and_cost_what_they_say(counts: NDArray[np.int64]) -> None:
    counts[:, 0] += 1
    histograms, cost = fit_histograms(counts)
    encoder = Encoder()
    histograms.put(encoder)
    for row, weights in zip(counts, histograms.weights(), strict=True):
        encoder.put(np.repeat(np.arange(len(row), dtype=np.uint8), row), weights)
    encoder.put([255], uniform(256))  # 3 bytes: what comes after an empty state may cost nothing
    content = encoder.message()
    assert len(content) == pytest.approx(3 + cost / BIT / 8, abs=8, rel=0.001)
    back = Histograms.take(Decoder(content), *counts.shape)
    np.testing.assert_array_equal(back.logs, histograms.logs)
    np.testing.assert_array_equal(back.weights(), histograms.weights())


def message(*parts: tuple[list[int], NDArray[np.int64]]) -> bytes:
    encoder = Encoder()
    for symbols, weights in parts:
        encoder.put(symbols, weights)
    return encoder.message()


HEAD = ([1, 1], uniform(256))
"""Two levels, 1 and 2."""


@pytest.mark.parametrize(
    ("content", "shape", "reason"),
    [
        (b"abcd", (3,), "4 bytes, more than the values themselves"),
        (b"a", (-1,), "too many"),
        (b"a", (2**31,), "too many"),
        (b"", (2**20, 2**20, 0, 2**20, 2**62), "maximum|too big|too large|dimension"),
        (b"", (1,) * 65, "too many"),
        (b"\1\0", (100,), "zero byte"),
        (message(([200, 100], uniform(256))), (100,), "levels from 200 to 300"),
        (message(HEAD, ([1], uniform(4)), ([1], uniform(64))), (10, 10), "rows along axis 1|empty"),
        (message(HEAD, ([1], uniform(4)), ([2], uniform(64))), (10, 10), "rows along axis 2"),
        (message(HEAD, ([3], uniform(4)), ([0], uniform(64))), (2**16 + 1, 1), "rows along axis 0"),
        (message(HEAD), (100,), "histogram is empty"),
        (message(([7, 0], uniform(256)), ([1], uniform(2))), (100,), "do not end"),
    ],
)
def test_nonsense_is_refused(content: bytes, shape: tuple[int, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        coding.decode(content, "uint8", shape)


@pytest.mark.parametrize("change", ["cut", "longer", "cut in front", "of fewer values", "of another dtype"])
def test_other_bytes_and_shapes_are_refused(change: str) -> None:
    array = levels(1, "bell", (30, 40))
    content = coding.encode(array)
    changed = {"cut": content[:-1], "longer": content + b"\1", "cut in front": content[1:]}.get(
        change, content
    )
    shape = (30, 39) if change == "of fewer values" else (30, 40)
    dtype = "int16" if change == "of another dtype" else "int8"
    with pytest.raises(ValueError, match="coded"):
        coding.decode(changed, dtype, shape)


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b"\2\0\0\0a", b"\xff" * 20])
def test_planes_have_a_length(content: bytes) -> None:
    with pytest.raises(ValueError, match="are cut at byte 0"):
        coding.decode(content, "float16", (40,))


def test_planes_are_not_longer_than_the_array_has_values() -> None:
    with pytest.raises(ValueError, match="coded bytes are 41, more than the 40"):
        coding.decode(coding.with_length(bytes(41)) + b"\1", "float16", (40,))


def test_truth_is_one_or_zero() -> None:
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        coding.decode(b"\0\1\2", "bool", (3,))


@given(st.binary(max_size=5), st.binary(max_size=300), st.binary(max_size=5))
def test_lengths_come_back(before: bytes, content: bytes, after: bytes) -> None:
    framed = before + coding.with_length(content) + after
    assert coding.take_with_length(framed, len(before)) == (content, len(framed) - len(after))


def test_memory_is_that_of_the_array(monkeypatch: pytest.MonkeyPatch) -> None:
    array = levels(2, "rows", (2000, 1000))
    content = coding.encode(array)
    tracemalloc.start()
    try:
        coding.decode(content, "int8", array.shape)
        assert tracemalloc.get_traced_memory()[1] <= 2 * array.nbytes + (8 << 20)
        tracemalloc.reset_peak()
        monkeypatch.setattr(coding, "MAX_DECODED", array.nbytes - 1)
        with pytest.raises(ValueError, match="too many"):
            coding.decode(content, "int8", array.shape)
        assert tracemalloc.get_traced_memory()[1] <= array.nbytes // 2
    finally:
        tracemalloc.stop()


def test_a_panic_of_the_library_is_an_error_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ans, "_model", lambda _: constriction.stream.model.Uniform(1))  # panics
    with pytest.raises(ValueError, match="the coder gave up"):
        coding.decode(b"a", "int8", (100,))


def test_other_exceptions_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ans, "_model", interrupt)
    with pytest.raises(KeyboardInterrupt):
        coding.decode(b"a", "int8", (100,))
