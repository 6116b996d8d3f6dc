"""A message of small numbers, each with its model: asymmetric numeral systems over exact integer models.

The coder is that of the ``constriction`` library (Bamler 2022, arXiv:2201.01741): words of 32 bits, a state
of 64, probabilities of 24. Of n floating-point numbers it makes a model by ``scale = (2**24 - n) / sum`` and
cumulative frequencies ``floor(scale * (sum of the first i)) + i``. Here these numbers are whole and their sum
is ``2**24 - n`` exactly, so that ``scale`` is 1 and all else is adding whole numbers below 2**24, which
floating point does without rounding: every platform has the same model, the one that :func:`frequencies`
gives in integers. A decoder of a few lines without the library (``tests/artifact/slow_decoder.py``) agrees.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

PRECISION = 24
"""Frequencies of a model sum to 2**24."""
MOST_SYMBOLS = 256
"""A model tells apart at most this many symbols."""

_CHUNK = 1 << 18
_WORD = 4
Symbols = NDArray[np.uint8]
Weights = NDArray[np.int64]


def frequencies(weights: Weights) -> Weights:
    """Integer probabilities, in units of 2**-24, that are nearly proportional to weights.

    Args:
        weights: int64 (symbols,), not negative, with a sum of 1 to 2**38; 2 to 256 symbols.

    Returns:
        int64 (symbols,) that sums to 2**24; every symbol has at least 1, so that each can be coded.

    Raises:
        ValueError: no such weights.
    """
    count, total = len(weights), int(weights.sum())
    if not 2 <= count <= MOST_SYMBOLS or weights.min() < 0 or not 0 < total <= 2**38:
        raise ValueError(f"no model of {count} symbols with weights that sum to {total}")
    bounds = np.concatenate([[0], np.cumsum(weights)]) * (2**PRECISION - count) // total
    shares: Weights = np.diff(bounds) + 1
    return shares


def uniform(count: int) -> Weights:
    """Weights of a model that prefers none of ``count`` symbols."""
    return np.ones(count, np.int64)


class Encoder:
    """Collects symbols and their models, then writes them as one message."""

    def __init__(self) -> None:
        self._parts: list[tuple[Symbols, Weights]] = []

    def put(self, symbols: Symbols | list[int], weights: Weights) -> None:
        """Append symbols, uint8 (count,) below ``len(weights)``, with the weights of their common model."""
        self._parts.append((np.asarray(symbols, np.uint8), weights))

    def message(self) -> bytes:
        """All that was put, in the order that it will be taken in; never ends with a zero byte."""
        coder = constriction.stream.stack.AnsCoder()
        for symbols, weights in reversed(self._parts):
            if symbols.size:
                coder.encode_reverse(symbols.astype(np.int32), _model(weights))
        return bytes(coder.get_compressed().astype("<u4").tobytes()).rstrip(b"\0")


class Decoder:
    """Takes symbols out of a message. Any bytes give some symbols; :meth:`close` tells if they were meant.

    Raises:
        ValueError: a message that no encoder writes.
    """

    def __init__(self, message: bytes) -> None:
        if message.endswith(b"\0"):
            raise ValueError("coded values end with a zero byte")
        padded = message + bytes(-len(message) % _WORD)
        with _no_panic():
            self._coder = constriction.stream.stack.AnsCoder(np.frombuffer(padded, "<u4").astype(np.uint32))

    def take(self, count: int, weights: Weights) -> Symbols:
        """The next symbols, uint8 (count,). Needs ``count`` bytes and little beside."""
        symbols = np.empty(count, np.uint8)
        if count:
            with _no_panic():
                model = _model(weights)
                for start in range(0, count, _CHUNK):
                    stop = min(start + _CHUNK, count)
                    symbols[start:stop] = self._coder.decode(model, stop - start)
        return symbols

    def take_one(self, count: int) -> int:
        """The next symbol of a model that prefers none of ``count``."""
        return int(self.take(1, uniform(count))[0])

    def close(self) -> None:
        """Make sure that the message ends here.

        Raises:
            ValueError: it does not.
        """
        if not self._coder.is_empty():
            raise ValueError("coded values do not end where they should")


def _model(weights: Weights) -> Any:
    return constriction.stream.model.Categorical((frequencies(weights) - 1).astype(np.float64), perfect=False)


@contextlib.contextmanager
def _no_panic() -> Iterator[None]:
    """Turn a panic of the library, which passes every ``except Exception``, into an error like others."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"the coder gave up: {error}") from error
