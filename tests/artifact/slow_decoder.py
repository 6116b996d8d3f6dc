"""Format version 2 decoded by another route: pure Python on whole numbers, from the format's description.

Shares no code with the package and does not use the library that codes: what both agree on is the format.
"""

from __future__ import annotations

import json
import lzma
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

TOTAL = 2**24
POWERS = [4096, 4467, 4871, 5312, 5793, 6317, 6889, 7512]


class Message:
    """Asymmetric numeral systems: a state of 64 bits, refilled by words of 32 from the end of the message."""

    def __init__(self, content: bytes) -> None:
        content += bytes(-len(content) % 4)
        self.words = [int.from_bytes(content[i : i + 4], "little") for i in range(0, len(content), 4)]
        self.state = 0
        self.refill()

    def refill(self) -> None:
        while self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()

    def take(self, count: int, weights: Sequence[int]) -> list[int]:
        total, free = sum(weights), TOTAL - len(weights)
        bounds = [sum(weights[:i]) * free // total + i for i in range(len(weights) + 1)]
        symbols = []
        for _ in range(count):
            place = self.state % TOTAL
            symbol = max(i for i in range(len(weights)) if bounds[i] <= place)
            self.state = self.state // TOTAL * (bounds[symbol + 1] - bounds[symbol]) + place - bounds[symbol]
            self.refill()
            symbols.append(symbol)
        return symbols

    def one(self, count: int) -> int:
        return self.take(1, [1] * count)[0]


def power(eighths: int) -> int:
    return POWERS[eighths % 8] << eighths // 8


def histograms(message: Message, classes: int, levels: int) -> list[list[int]]:
    steps = [1, 2, 4, 8][message.one(4)]
    slope = [24, 16, 12, 8, 6, 4, 2, 1][message.one(8)]
    size = 16 * steps + 1
    model = [power(128 - min(min(change, size - change) * slope, 72)) for change in range(size)]
    found = []
    for _ in range(classes):
        logs = [message.one(size)]
        for change in message.take(levels - 1, model):
            logs.append((logs[-1] + change) % size)
        found.append([power(log * 8 // steps) if log else 0 for log in logs])
    return found


def plane(content: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    count = math.prod(shape)
    if len(content) == count:
        return np.frombuffer(content, np.uint8).reshape(shape)
    message = Message(content)
    low, above = message.one(256), message.one(256)
    levels = np.zeros(shape, np.uint8)
    if above:
        classes = 2 ** message.one(4)
        axis = message.one(64) if classes > 1 else 0
        chosen = message.take(shape[axis], [1] * classes) if classes > 1 else [0] * shape[axis]
        models = histograms(message, classes, above + 1)
        for number, model in enumerate(models):
            for row in [row for row, its in enumerate(chosen) if its == number]:
                where = (*[slice(None)] * axis, row)
                inner = shape[:axis] + shape[axis + 1 :]
                levels[where] = np.reshape(message.take(math.prod(inner), model), inner)
    assert (message.state, message.words) == (0, [])
    return levels + np.uint8(low)


def split(content: bytes, position: int) -> tuple[bytes, int]:
    first = position + 4
    stop = first + int.from_bytes(content[position:first], "little")
    return content[first:stop], stop


def array(content: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """One coded array."""
    kind = np.dtype(dtype)
    if len(content) == math.prod(shape) * kind.itemsize:
        return np.frombuffer(content, kind.newbyteorder("<")).reshape(shape)
    planes, position = [], 0
    for left in reversed(range(kind.itemsize)):
        part, position = split(content, position) if left else (content[position:], 0)
        planes.append(plane(part, shape))
    if kind == np.int8:
        planes[0] = planes[0] ^ 128
    values = np.stack(planes[::-1], axis=-1)
    return np.frombuffer(values.tobytes(), kind.newbyteorder("<")).reshape(shape)


def text(content: bytes) -> bytes:
    """One compressed part."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 22}]
    return lzma.decompress(content, lzma.FORMAT_RAW, filters=filters)


def weights(parts: Mapping[str, bytes]) -> dict[str, NDArray[np.generic]]:
    """All weights of a compact artifact."""
    content, position = parts["weights"], 0
    found: dict[str, NDArray[np.generic]] = {}
    for group in json.loads(text(parts["table"])):
        shapes = {name: tuple(shape) for name, shape in group["weights"]}
        large = {name: shape for name, shape in shapes.items() if math.prod(shape) >= 256}
        small = {name: shape for name, shape in shapes.items() if name not in large}
        for name, shape in large.items():
            part, position = split(content, position)
            found[name] = array(part, group["stored"], shape)
        if small:
            part, position = split(content, position)
            joined = array(part, group["stored"], (sum(math.prod(shape) for shape in small.values()),))
            for name, shape in small.items():
                found[name], joined = joined[: math.prod(shape)].reshape(shape), joined[math.prod(shape) :]
        found |= {name: found[name].astype(group["loaded"]) for name in shapes}
    assert position == len(content)
    return found
