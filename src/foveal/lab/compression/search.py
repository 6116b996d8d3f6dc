"""How few bits a model can do with: the smallest file under a limit on size, or on the loss of agreement."""

from __future__ import annotations

import math

from foveal.lab.compression.compress import Compressed, CompressionError, Compressor

FEWEST_BITS, MOST_BITS = 0.5, 6.5
"""Mean bits of a weight that are tried."""
_FIRST_BITS = 3.0
_TRIES = 4
_ROUNDS = 6
_CLOSE = 0.005
_NEAR = 0.2
_LARGEST_STEP = 1.0


def compress_to_size(compressor: Compressor, target: int) -> Compressed:
    """The best artifact whose file has at most so many bytes.

    Args:
        compressor: of the model.
        target: bytes.

    Raises:
        CompressionError: even with the fewest bits it is larger.
    """
    aim = target * (1 - _CLOSE)
    for _ in range(_TRIES):
        bits = _bits_for(compressor, aim)
        made = compressor.at_bits(bits)
        if made.size <= target:
            return made
        if bits == FEWEST_BITS:
            break
        aim *= (1 - _CLOSE) * target / made.size
    raise CompressionError(
        f"{compressor.subject.card.model}: cannot be made as small as {target} bytes; the smallest that was "
        f"reached has {made.size}"
    )


def _bits_for(compressor: Compressor, size: float) -> float:
    """Bits with which the file is estimated to be of this size, and not larger."""
    bits = _clamped(8 * 0.9 * size / compressor.weight_count)
    for _ in range(_ROUNDS):
        estimate = compressor.estimate_size(bits)
        if (1 - _CLOSE) * size <= estimate <= size:
            break
        wanted = _clamped(bits + 8 * ((1 - _CLOSE / 2) * size - estimate) / compressor.weight_count)
        if wanted == bits:
            break
        bits = wanted
    return bits


def compress_to_drop(compressor: Compressor, most: float) -> Compressed:
    """The smallest artifact found whose SRCC on the validation part falls by at most so much.

    A layer's error falls to a quarter with each bit, and so, about, does the drop: each try takes the bits at
    which it would just be met.

    Args:
        compressor: of the model, with rated validation images.
        most: largest drop that is accepted.

    Raises:
        ValueError: there are no ratings.
        CompressionError: even with the most bits it falls by more.
    """
    if compressor.validation is None:
        raise ValueError("a largest drop of SRCC needs ratings")
    low, high = FEWEST_BITS, math.inf
    best: Compressed | None = None
    bits = _FIRST_BITS
    for _ in range(_TRIES):
        made = compressor.at_bits(bits)
        drop = made.drop or 0.0
        if drop <= most:
            best, high = made, bits
        else:
            low = bits
        if high - low <= _NEAR or low >= MOST_BITS:
            break
        change = math.log2(max(drop, most / 16) / most) / 2 if drop != most else -_NEAR
        bits = _clamped(bits + min(max(change, -_LARGEST_STEP), _LARGEST_STEP))
        if not low < bits < high:
            bits = (low + min(high, MOST_BITS)) / 2
    if best is None:
        raise CompressionError(
            f"{compressor.subject.card.model}: at {low:.1f} bits a weight its SRCC on the validation part "
            f"falls by {drop:.4f}, more than {most:g}; allow a larger drop, or fine-tune"
        )
    return best


def _clamped(bits: float) -> float:
    return min(max(bits, FEWEST_BITS), MOST_BITS)
