"""The language model in NumPy: against a slow one written from the papers, and what must hold of any."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foveal.explanation.decoder import BLOCK_WEIGHTS, Decoder, DecoderShape

SHAPE = DecoderShape(blocks=2, heads=3)
WIDTH, INNER, COUNT = 12, 20, 17


def random_weights(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    sizes = ((WIDTH,), (WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH,), (WIDTH, 2 * INNER), (INNER, WIDTH))
    named = {
        f"{block}.{name}": size
        for block in range(SHAPE.blocks)
        for name, size in zip(BLOCK_WEIGHTS, sizes, strict=True)
    }
    named |= {"embedding": (COUNT, WIDTH), "norm": (WIDTH,)}
    return {name: rng.normal(0, 0.5, size).astype(np.float32) for name, size in named.items()}


def read(tokens: NDArray[np.int64], steps: tuple[int, ...] | None = None) -> NDArray[np.float32]:
    """Hidden states of texts, read in one go or in pieces of the given lengths."""
    decoder = Decoder(random_weights(), SHAPE)
    cache = decoder.start(*tokens.shape)
    parts, start = [], 0
    for length in steps or (tokens.shape[1],):
        parts.append(decoder.read(decoder.embedding[tokens[:, start : start + length]], cache))
        start += length
    return np.concatenate(parts, axis=1)


def slow_hidden(tokens: list[int]) -> NDArray[np.float64]:
    """One token at a time, one head at a time, in float64: written from the papers' equations."""
    weights = {name: value.astype(np.float64) for name, value in random_weights().items()}
    size = WIDTH // SHAPE.heads

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return x / math.sqrt(float(x @ x) / WIDTH + SHAPE.epsilon) * weights[name]

    def turn(x: NDArray[np.float64], position: int) -> NDArray[np.float64]:
        turned = x.copy()
        for pair in range(size // 2):  # each pair of features is a point in the plane that is rotated
            angle = position * SHAPE.theta ** (-2 * pair / size)
            a, b = x[pair], x[pair + size // 2]
            turned[pair] = a * math.cos(angle) - b * math.sin(angle)
            turned[pair + size // 2] = b * math.cos(angle) + a * math.sin(angle)
        return turned

    states = [weights["embedding"][token] for token in tokens]
    for block in range(SHAPE.blocks):
        queries, keys, values = [], [], []
        for position, x in enumerate(states):
            q, k, v = np.split(norm(x, f"{block}.attention_norm") @ weights[f"{block}.qkv"], 3)
            queries.append([turn(part, position) for part in np.split(q, SHAPE.heads)])
            keys.append([turn(part, position) for part in np.split(k, SHAPE.heads)])
            values.append(np.split(v, SHAPE.heads))
        for position in range(len(states)):
            seen = []
            for head in range(SHAPE.heads):
                scores = [
                    float(queries[position][head] @ keys[other][head]) / math.sqrt(size)
                    for other in range(position + 1)
                ]
                shares = np.exp(scores) / np.exp(scores).sum()
                seen.append(sum(share * values[other][head] for other, share in enumerate(shares)))
            states[position] = states[position] + np.concatenate(seen) @ weights[f"{block}.out"]
        for position, x in enumerate(states):
            mixed = norm(x, f"{block}.inner_norm") @ weights[f"{block}.gate_up"]
            gate, up = mixed[:INNER], mixed[INNER:]
            states[position] = x + (gate / (1 + np.exp(-gate)) * up) @ weights[f"{block}.down"]
    return np.array([norm(x, "norm") for x in states])


def test_agrees_with_the_equations() -> None:
    tokens = np.random.default_rng(1).integers(0, COUNT, (3, 9))
    for text, row in zip(tokens, read(tokens), strict=True):
        np.testing.assert_allclose(row, slow_hidden(text.tolist()), atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 99))
def test_reading_on_is_reading_at_once(lengths: list[int], seed: int) -> None:
    tokens = np.random.default_rng(seed).integers(0, COUNT, (2, sum(lengths)))
    np.testing.assert_allclose(read(tokens, tuple(lengths)), read(tokens), atol=1e-4)


def test_later_tokens_and_other_texts_do_not_matter() -> None:
    tokens = np.random.default_rng(2).integers(0, COUNT, (2, 8))
    other = tokens.copy()
    other[0, 5:] = 0
    other[1] = 3
    np.testing.assert_allclose(read(tokens)[0, :5], read(other)[0, :5], atol=1e-5)
    assert np.abs(read(tokens)[0, 5:] - read(other)[0, 5:]).max() > 0.01


def test_logits_are_products_with_the_embedding() -> None:
    decoder = Decoder(random_weights(), SHAPE)
    hidden = np.eye(WIDTH, dtype=np.float32)[:2]
    np.testing.assert_array_equal(decoder.logits(hidden), decoder.embedding[:, :2].T)


def test_extreme_weights_give_numbers_and_no_warning() -> None:
    weights = random_weights()
    weights["0.gate_up"] *= 1e4
    with np.errstate(over="raise", invalid="raise"):
        decoder = Decoder(weights, SHAPE)
        hidden = decoder.read(decoder.embedding[None, :5], decoder.start(1, 5))
    assert np.isfinite(hidden).all()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("1.out", None, "1 weights are missing, such as '1.out'"),
        ("2.out", np.ones(1, np.float32), "1 weights are not known, such as '2.out'"),
        ("norm", np.ones(5, np.float32), "weight 'norm' is float32 (5,), expected float32 (12,)"),
        ("0.qkv", np.ones((12, 36)), "weight '0.qkv' is float64 (12, 36), expected float32 (12, 36)"),
        ("embedding", np.ones((17, 9), np.float32), "no even features for 3 heads"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    name: str, value: NDArray[np.float32] | None, message: str
) -> None:
    weights = random_weights()
    if value is None:
        del weights[name]
    else:
        weights[name] = value
    with pytest.raises(ValueError, match=re.escape(message)):
        Decoder(weights, SHAPE)


def test_shapes_are_above_zero() -> None:
    with pytest.raises(ValueError, match="above 0"):
        DecoderShape(blocks=0, heads=1)
