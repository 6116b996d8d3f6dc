"""Lossless coding of weights: each byte of a value is a level, and levels are coded by how often they occur.

Quantised weights have few levels in a bell-shaped distribution: coded by their histogram they take their
entropy, 1.5 to 4 bits, in place of 8. Rows (or columns) of a matrix often differ in scale; so they may be
sorted into 2, 4 or 8 classes, each with its own histogram. Of values of several bytes, as float16, the high
bytes have a skewed distribution, the low ones hardly. Whatever coding does not make smaller is left as it is.

Format. An array whose content has as many bytes as its values is not coded: little-endian values in C order.
Else it is the planes of its bytes, the most significant first, each but the last preceded by its length (32
bits, little-endian). A plane as long as the array has values is not coded. A coded plane is a message of
:mod:`foveal.artifact.ans`: the lowest level and the number of further levels above it (1 of 256 each; int8
is shifted by 128); then, if there is more than one level, log2 of the number of classes (1 of 4); if there is
more than one class, the axis of the rows (1 of 64) and the class of each row; the histograms
(:mod:`foveal.artifact.histogram`); and the levels above the lowest, class by class, in the order of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foveal.artifact.ans import MOST_SYMBOLS, Decoder, Encoder, Symbols, uniform
from foveal.artifact.histogram import BIT, Histograms, cost_of, fit_histograms

Array = NDArray[np.generic]

MAX_DECODED = 2**30
"""An array with more bytes is not decoded."""

_CLASSES = (1, 2, 4, 8)
_LENGTH = 4
_MOST_AXES = 64
_MOST_ROWS = 1 << 16
# Only the encoder keeps to these: shorter rows cannot pay for their class, larger tables take too long, and
# classes are not tried where one histogram saves less than 1 %: rows that differ would not fill all levels.
_LEAST_ROW = 8
_LARGEST_TABLE = 1 << 21
_MOST_ROUNDS = 10
_HOPELESS = 0.99


def encode(array: Array) -> bytes:
    """Code an array of numbers or booleans, of any shape of at most 64 axes.

    Returns:
        At most ``array.nbytes`` bytes, from which :func:`decode` makes the same values, bit for bit.
    """
    plain = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    parts: list[bytes] = []
    for index, plane in enumerate(_planes(plain)):
        coded = _encode_plane(plane)
        parts.append(with_length(coded) if index < plain.itemsize - 1 else coded)
    content = b"".join(parts)
    return content if len(content) < plain.nbytes else plain.tobytes()


def decode(content: bytes, dtype: np.dtype[np.generic] | str, shape: Sequence[int]) -> Array:
    """Read what :func:`encode` wrote.

    Needs memory for the array twice, and 8 MB.

    Args:
        content: the bytes, and nothing after them.
        dtype: of the array.
        shape: of the array.

    Raises:
        ValueError: these bytes are no such array, or it would have more than :data:`MAX_DECODED` bytes.
    """
    dtype = np.dtype(dtype).newbyteorder("<")
    count = math.prod(shape)
    if len(shape) > _MOST_AXES or min(shape, default=0) < 0 or count * dtype.itemsize > MAX_DECODED:
        raise ValueError(f"coded values of shape {list(shape)} are too many")
    if len(content) > count * dtype.itemsize:
        raise ValueError(f"coded values have {len(content)} bytes, more than the values themselves")
    if len(content) == count * dtype.itemsize:
        values = np.frombuffer(content, dtype).reshape(shape).copy()
    else:
        values = _decode_planes(content, dtype, tuple(shape))
    if dtype == np.bool_ and values.view(np.uint8).max(initial=0) > 1:
        raise ValueError("coded truth values are neither 0 nor 1")
    return values.astype(dtype.newbyteorder("="), copy=False)


def with_length(content: bytes) -> bytes:
    """Bytes behind their length, 32 bits, little-endian."""
    return len(content).to_bytes(_LENGTH, "little") + content


def take_with_length(content: bytes, start: int) -> tuple[bytes, int]:
    """The bytes behind their length at ``start``, and where they end; ValueError if they are not there."""
    first = start + _LENGTH
    stop = first + int.from_bytes(content[start:first], "little")
    if max(first, stop) > len(content):
        raise ValueError(f"coded values are cut at byte {start} of {len(content)}")
    return content[first:stop], stop


def _planes(array: Array) -> Iterator[Symbols]:
    """Bytes of the values, most significant first, each uint8 of the array's shape."""
    parts = array.reshape(-1).view(np.uint8).reshape(-1, array.itemsize)
    for index in reversed(range(array.itemsize)):
        yield (parts[:, index] ^ _shift(array.dtype)).reshape(array.shape)


def _shift(dtype: np.dtype[np.generic]) -> np.uint8:
    """Turns the order of signed bytes into that of levels."""
    return np.uint8(0x80 if dtype == np.int8 else 0)


def _decode_planes(content: bytes, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Array:
    parts = np.empty((math.prod(shape), dtype.itemsize), np.uint8)
    position = 0
    for index in reversed(range(dtype.itemsize)):
        part, position = take_with_length(content, position) if index else (content[position:], len(content))
        np.bitwise_xor(_decode_plane(part, shape).reshape(-1), _shift(dtype), out=parts[:, index])
    return parts.reshape(-1).view(dtype).reshape(shape)


def _encode_plane(plane: Symbols) -> bytes:
    if not plane.size:
        return b""
    low, high = int(plane.min()), int(plane.max())
    encoder = Encoder()
    encoder.put([low, high - low], uniform(MOST_SYMBOLS))
    if high > low:
        _put_levels(encoder, plane - np.uint8(low), high - low + 1)
    message = encoder.message()
    return message if len(message) < plane.size else plane.tobytes()


def _decode_plane(content: bytes, shape: tuple[int, ...]) -> Symbols:
    count = math.prod(shape)
    if len(content) > count:
        raise ValueError(f"coded bytes are {len(content)}, more than the {count} themselves")
    if len(content) == count:
        return np.frombuffer(content, np.uint8).reshape(shape)
    decoder = Decoder(content)
    low, above = decoder.take(2, uniform(MOST_SYMBOLS)).tolist()
    if low + above >= MOST_SYMBOLS:
        raise ValueError(f"coded bytes have levels from {low} to {low + above}")
    plane = _take_levels(decoder, shape, above + 1) if above else np.zeros(shape, np.uint8)
    decoder.close()
    plane += np.uint8(low)
    return plane


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """A way to code levels: rows along an axis, in classes; of one class, the axis does not matter."""

    histograms: Histograms
    axis: int
    classes: Symbols
    cost: int


def _put_levels(encoder: Encoder, plane: Symbols, levels: int) -> None:
    plan = _best_plan(plane, levels)
    models = plan.histograms.weights()
    encoder.put([_CLASSES.index(len(models))], uniform(len(_CLASSES)))
    if len(models) > 1:
        encoder.put([plan.axis], uniform(_MOST_AXES))
        encoder.put(plan.classes, uniform(len(models)))
    plan.histograms.put(encoder)
    rows = np.moveaxis(plane, plan.axis, 0)
    for index, weights in enumerate(models):
        encoder.put(rows[plan.classes == index].reshape(-1), weights)


def _take_levels(decoder: Decoder, shape: tuple[int, ...], levels: int) -> Symbols:
    number = _CLASSES[decoder.take_one(len(_CLASSES))]
    if number == 1:
        (weights,) = Histograms.take(decoder, 1, levels).weights()
        return decoder.take(math.prod(shape), weights).reshape(shape)
    axis = decoder.take_one(_MOST_AXES)
    if axis >= len(shape) or shape[axis] > _MOST_ROWS:
        raise ValueError(f"coded values of shape {list(shape)} have rows along axis {axis}")
    classes = decoder.take(shape[axis], uniform(number))
    plane = np.empty(shape, np.uint8)
    rows = np.moveaxis(plane, axis, 0)
    for index, weights in enumerate(Histograms.take(decoder, number, levels).weights()):
        chosen = np.flatnonzero(classes == index)
        values = decoder.take(len(chosen) * (plane.size // len(classes)), weights)
        rows[chosen] = values.reshape(len(chosen), *rows.shape[1:])
    return plane


def _best_plan(plane: Symbols, levels: int) -> _Plan:
    """The cheapest of all plans that are worth trying."""
    counts = np.bincount(plane.reshape(-1), minlength=levels)[np.newaxis]
    histograms, cost = fit_histograms(counts)
    best = _Plan(histograms, 0, np.zeros(plane.shape[:1] or 1, np.uint8), cost)
    if cost > _HOPELESS * plane.size * 8 * BIT:
        return best
    for axis, length in enumerate(plane.shape):
        if length * levels > _LARGEST_TABLE or length > _MOST_ROWS or plane.size // length < _LEAST_ROW:
            continue
        table = _count_rows(plane, axis, levels)
        plans = [_plan_classes(table, axis, number) for number in _CLASSES[1:] if number <= length]
        best = min([best, *plans], key=lambda plan: plan.cost)
    return best


def _count_rows(plane: Symbols, axis: int, levels: int) -> NDArray[np.int64]:
    """How often each level occurs in each row along an axis, int64 (rows, levels)."""
    rows = np.moveaxis(plane, axis, 0).reshape(plane.shape[axis], -1)
    return np.stack([np.bincount(row, minlength=levels) for row in rows])


def _plan_classes(table: NDArray[np.int64], axis: int, number: int) -> _Plan:
    """Classes of rows: by spread at first, then each row joins the class that codes it in the fewest bits."""
    level = np.arange(table.shape[1])
    size = table.sum(axis=1)
    spread = table @ level**2 / size - (table @ level / size) ** 2
    classes = np.empty(len(table), np.uint8)
    classes[np.argsort(spread, kind="stable")] = np.arange(len(table)) * number // len(table)
    for _ in range(_MOST_ROUNDS):
        sums = _sum_classes(table, classes, number)
        # Whole numbers below 2**53: exact in float64, in whatever order they are added up.
        costs = np.stack([cost_of(16 * row + 1) for row in sums]).astype(np.float64)
        closest = np.argmin(table.astype(np.float64) @ costs.T, axis=1).astype(np.uint8)
        if (closest == classes).all() or len(np.unique(closest)) < number:
            break
        classes = closest
    histograms, cost = fit_histograms(_sum_classes(table, classes, number))
    return _Plan(histograms, axis, classes, cost + len(classes) * BIT * (number.bit_length() - 1))


def _sum_classes(table: NDArray[np.int64], classes: Symbols, number: int) -> NDArray[np.int64]:
    return np.stack([table[classes == index].sum(axis=0) for index in range(number)])
