"""What weights weigh after Huffman coding: each layer with a code of its own.

Only lengths of codes are computed, by the ``constriction`` library. No code word is shorter than one bit, so
that nothing gets below one bit a weight: a 1-bit layer gains nothing, and the paper's "Q 1-bit" row has the
same ratio, 32, before and after. Tables of codes are not counted, as they are not in the paper; they are up
to 257 lengths a layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.integer[Any]]
"""How often each symbol stands in a layer, (symbols,)."""


def code_lengths(counts: Counts) -> NDArray[np.int64]:
    """Lengths of the code words of an optimal prefix code.

    Args:
        counts: of each symbol, not negative.

    Returns:
        Bits of each symbol's word, int64; 0 where a symbol does not occur. The word of a symbol that is alone
        has one bit: an empty word could not be counted when it is read.

    Raises:
        ValueError: a count is negative.
    """
    counts = np.asarray(counts)
    if counts.size and counts.min() < 0:
        raise ValueError(f"a symbol cannot occur {counts.min()} times")
    used = np.flatnonzero(counts)
    lengths = np.zeros(len(counts), np.int64)
    if used.size == 1:
        lengths[used] = 1
    elif used.size:
        # Symbols that do not occur would make words of others longer.
        tree = constriction.symbol.huffman.EncoderHuffmanTree(counts[used].astype(np.float64))
        lengths[used] = [_length(symbol, tree) for symbol in range(used.size)]
    return lengths


def _length(symbol: int, tree: Any) -> int:
    coder = constriction.symbol.QueueEncoder()
    coder.encode_symbol(symbol, tree)
    _, bits = coder.get_compressed_and_bitrate()
    return int(bits)


def coded_bits(counts: Counts) -> int:
    """Bits of all weights of a layer together; see :func:`code_lengths`."""
    return int(code_lengths(counts) @ np.asarray(counts, np.int64))


def mean_bits(layers: Iterable[Counts]) -> float:
    """Mean bits a weight over layers, each with a code of its own; of a model, or of one layer in a list.

    Args:
        layers: counts of each.

    Raises:
        ValueError: there are no weights.
    """
    layers = list(layers)
    total = sum(int(np.sum(counts)) for counts in layers)
    if not total:
        raise ValueError("no weights to code")
    return sum(coded_bits(counts) for counts in layers) / total
