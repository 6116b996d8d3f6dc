"""The language model's forward pass in NumPy: a Llama of any size, all texts of a batch at once.

Source: Touvron et al., "LLaMA: open and efficient foundation language models", 2023 (RMSNorm before each
part, rotary positions of Su et al. 2021, SwiGLU of Shazeer 2020); the embedding is the output layer too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

EMBEDDING, NORM = "embedding", "norm"
"""Names of weights beside the blocks': float32 (vocabulary, width) and (width,)."""
BLOCK_WEIGHTS = ("attention_norm", "qkv", "out", "inner_norm", "gate_up", "down")
"""Names of a block's weights, after its number and a dot.

Norms are (width,); ``qkv`` (width, 3 x width) holds queries, keys and values side by side, heads in order
within each; ``out`` is (width, width); ``gate_up`` (width, 2 x inner) holds gate and input side by side;
``down`` is (inner, width). Rows are inputs.
"""


@dataclass(frozen=True)
class DecoderShape:
    """What the weights alone do not tell.

    Attributes:
        blocks: how many there are.
        heads: attention heads of each.
        theta: base of the rotary positions' wavelengths.
        epsilon: added under the root of norms.
    """

    blocks: int
    heads: int
    theta: float = 10000.0
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        if min(self.blocks, self.heads) < 1 or min(self.theta, self.epsilon) <= 0:
            raise ValueError(f"{self}: all must be above 0")


@dataclass
class Cache:
    """Keys and values of what was read so far, so that going on needs no second reading.

    Attributes:
        length: tokens read.
        parts: for each block keys and values, float32 (texts, heads, most, features of a head) each.
    """

    length: int = 0
    parts: list[tuple[Floats, Floats]] = field(default_factory=list)


class Decoder:
    """Reads tokens, gives what comes next.

    Args:
        weights: float32, by name: :data:`EMBEDDING`, :data:`NORM`, and ``0.qkv`` and so on; see
            :data:`BLOCK_WEIGHTS`.
        shape: the rest.

    Raises:
        ValueError: a weight is missing or of another shape than the others imply.
    """

    def __init__(self, weights: Mapping[str, Floats], shape: DecoderShape) -> None:
        check_weights(weights, shape)
        self.embedding = weights[EMBEDDING]
        self._norm = weights[NORM]
        self._blocks = [
            tuple(weights[f"{number}.{name}"] for name in BLOCK_WEIGHTS) for number in range(shape.blocks)
        ]
        self.shape = shape
        self._features = self.embedding.shape[1] // shape.heads

    @property
    def width(self) -> int:
        """Features a token."""
        return int(self.embedding.shape[1])

    def start(self, texts: int, most: int) -> Cache:
        """An empty cache for as many texts of at most ``most`` tokens."""
        size = (texts, self.shape.heads, most, self._features)
        empty = [(np.empty(size, np.float32), np.empty(size, np.float32)) for _ in self._blocks]
        return Cache(parts=empty)

    def read(self, inputs: Floats, cache: Cache) -> Floats:
        """Read on.

        Args:
            inputs: float32 (texts, tokens, width): rows of the embedding, or tokens of an image.
            cache: what was read before; these are added. There must be room for them.

        Returns:
            Hidden states behind each of them, normed: float32 (texts, tokens, width). A token's depend on
            it and those before it alone.
        """
        turns = self._turns(cache.length, inputs.shape[1])
        hidden = inputs
        for weights, part in zip(self._blocks, cache.parts, strict=True):
            attention_norm, qkv, out, inner_norm, gate_up, down = weights
            mixed = self._normed(hidden, attention_norm) @ qkv
            hidden = hidden + self._attend(mixed, part, cache.length, turns) @ out
            gate, up = np.split(self._normed(hidden, inner_norm) @ gate_up, 2, axis=-1)
            # A sigmoid by way of tanh, which cannot overflow.
            hidden = hidden + (gate * (np.tanh(gate / 2) + 1) / 2 * up) @ down
        cache.length += inputs.shape[1]
        return self._normed(hidden, self._norm)

    def logits(self, hidden: Floats) -> Floats:
        """How likely each token is to come next: (..., width) -> (..., vocabulary), before the softmax."""
        logits: Floats = hidden @ self.embedding.T
        return logits

    def _normed(self, hidden: Floats, weight: Floats) -> Floats:
        power = np.mean(hidden * hidden, axis=-1, keepdims=True)
        normed: Floats = hidden / np.sqrt(power + np.float32(self.shape.epsilon)) * weight
        return normed

    def _attend(
        self, mixed: Floats, part: tuple[Floats, Floats], before: int, turns: tuple[Floats, Floats]
    ) -> Floats:
        texts, count, _ = mixed.shape
        heads = mixed.reshape(texts, count, 3, self.shape.heads, self._features).transpose(2, 0, 3, 1, 4)
        keys, values = (kept[:, :, : before + count] for kept in part)
        keys[:, :, before:] = _turned(heads[1], turns)
        values[:, :, before:] = heads[2]
        scores = _turned(heads[0], turns) @ keys.transpose(0, 1, 3, 2) / np.float32(np.sqrt(self._features))
        if count > 1:  # what comes later is not seen
            scores += np.triu(np.full((count, before + count), -np.inf, np.float32), before + 1)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        seen = (scores / scores.sum(axis=-1, keepdims=True)) @ values
        joined: Floats = seen.transpose(0, 2, 1, 3).reshape(texts, count, -1)
        return joined

    def _turns(self, before: int, count: int) -> tuple[Floats, Floats]:
        """Cosines and sines of the rotary positions: float32 (tokens, features of a head) each."""
        wavelengths = self.shape.theta ** (np.arange(0, self._features, 2) / self._features)
        angles = np.tile(np.arange(before, before + count)[:, None] / wavelengths, 2)
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _turned(heads: Floats, turns: tuple[Floats, Floats]) -> Floats:
    first, second = np.split(heads, 2, axis=-1)
    swapped: Floats = np.concatenate([-second, first], axis=-1)
    return heads * turns[0] + swapped * turns[1]


def check_weights(weights: Mapping[str, Floats], shape: DecoderShape) -> None:
    """Make sure that weights fit together.

    Raises:
        ValueError: they do not; the message names the first that does not.
    """
    blocks = [f"{number}.{name}" for number in range(shape.blocks) for name in BLOCK_WEIGHTS]
    names = [EMBEDDING, NORM, *blocks]
    if missing := [name for name in names if name not in weights]:
        raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]!r}")
    if unknown := sorted(set(weights) - set(names)):
        raise ValueError(f"{len(unknown)} weights are not known, such as {unknown[0]!r}")
    width = weights[EMBEDDING].shape[-1]
    if weights[EMBEDDING].ndim != 2 or width % (2 * shape.heads):
        found = weights[EMBEDDING].shape
        raise ValueError(f"weight {EMBEDDING!r} is {found}: no even features for {shape.heads} heads")
    wanted: dict[str, tuple[int, ...]] = {EMBEDDING: weights[EMBEDDING].shape, NORM: (width,)}
    for number in range(shape.blocks):
        inner = weights[f"{number}.down"].shape[0]
        sizes = ((width,), (width, 3 * width), (width, width), (width,), (width, 2 * inner), (inner, width))
        wanted |= {f"{number}.{name}": size for name, size in zip(BLOCK_WEIGHTS, sizes, strict=True)}
    for name, size in wanted.items():
        if weights[name].shape != size or weights[name].dtype != np.float32:
            kind = f"{weights[name].dtype} {weights[name].shape}"
            raise ValueError(f"weight {name!r} is {kind}, expected float32 {size}")
