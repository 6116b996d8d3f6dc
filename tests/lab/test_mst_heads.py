"""Heads of MST-CLIPIQA: independent forward passes, prompts and their padding, where they start."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from foveal.lab.models.base import LEAST_SPREAD
from foveal.lab.models.mst_clipiqa import LevelHead, PromptHead
from foveal.lab.models.mst_clipiqa.heads import Spread

WIDTH, TOKENS = 16, 10


def _prompt_head(targets: int = 1, tokens: int = TOKENS, alpha: float = 0.7) -> PromptHead:
    """Every weight random, norms and biases too."""
    torch.manual_seed(3)
    head = PromptHead(WIDTH, tokens, targets, heads=4)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(0, 0.3)
        head.alpha.fill_(alpha)
    return head.eval()


def _prompts(rows: int, length: int, tokens: int = TOKENS) -> tuple[Tensor, Tensor]:
    """Token features, and masks of lengths 1, 2, ..."""
    generator = torch.Generator().manual_seed(rows)
    mask = torch.arange(length) < (torch.arange(rows) % length + 1)[:, None]
    return torch.randn(rows, length, tokens, generator=generator), mask


@torch.inference_mode()
def test_the_level_head_is_what_its_equation_says() -> None:
    """sum of p_i i, p = softmax(exp(s) cos(z, t_i)), with Python's own numbers."""
    torch.manual_seed(0)
    texts = torch.randn(5, WIDTH)
    head = LevelHead(WIDTH, texts, learned=False, scale=2.0)
    fused = torch.randn(3, WIDTH)
    judged = head(fused)
    for row, quality in zip(fused.tolist(), judged.quality[:, 0].tolist(), strict=True):
        weights = []
        for text in texts.tolist():
            dot = math.fsum(a * b for a, b in zip(row, text, strict=True))
            weights.append(math.exp(math.exp(2.0) * dot / math.hypot(*row) / math.hypot(*text)))
        expected = math.fsum(i * w for i, w in enumerate(weights, start=1)) / math.fsum(weights)
        assert quality == pytest.approx(expected, abs=1e-5)
    assert judged.quality.shape == judged.spread.shape == (3, 1)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(0, 6), st.integers(0, 99))
def test_level_scores_stay_on_the_scale_and_know_no_length(length: float, scale: float, seed: int) -> None:
    torch.manual_seed(seed)
    head = LevelHead(WIDTH, scale=scale)
    fused = torch.randn(4, WIDTH)
    with torch.inference_mode():
        quality = head(fused).quality
        assert ((quality >= 1) & (quality <= 5)).all()
        torch.testing.assert_close(head(length * fused).quality, quality, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(head.shares(fused).sum(dim=1), torch.ones(4))


@torch.inference_mode()
def test_an_image_like_a_level_s_text_gets_that_level() -> None:
    texts = torch.eye(5, WIDTH)
    quality = LevelHead(WIDTH, texts, learned=False, scale=math.log(100.0))(texts).quality[:, 0]
    torch.testing.assert_close(quality, torch.arange(1.0, 6))


def test_texts_stay_as_they_are_and_learned_levels_move() -> None:
    texts = torch.randn(5, WIDTH)
    frozen, learned = LevelHead(WIDTH, texts, learned=False), LevelHead(WIDTH, texts)
    assert {name for name, _ in frozen.named_parameters()} == {
        "scale",
        "spread.map.weight",
        "spread.map.bias",
    }
    assert "levels" in dict(learned.named_parameters())
    assert torch.equal(frozen.levels, learned.levels)
    assert "levels" in frozen.state_dict()  # a trained model knows its levels without the text encoder


@torch.inference_mode()
def test_learned_levels_without_texts_begin_in_their_order() -> None:
    torch.manual_seed(1)
    head = LevelHead(512)
    levels = functional.normalize(head.levels, dim=1)
    likeness = levels @ levels.T
    for row in range(5):
        assert likeness[row].argsort(descending=True)[0] == row
        assert (likeness[row, row:].diff() < 0).all()
        assert (likeness[row, : row + 1].diff() > 0).all()
    # An image that has nothing to do with any of them is neither good nor bad.
    assert (head(torch.randn(50, 512)).quality - 3).abs().mean() < 0.6


@torch.inference_mode()
def test_the_prompt_head_is_what_its_equations_say() -> None:
    """Attention head by head, on the tokens of the prompt alone, in plain tensor operations."""
    head = _prompt_head(targets=2)
    fused = torch.randn(4, WIDTH)
    tokens, mask = _prompts(4, 6)
    w = head.state_dict()
    changed = []
    for row in range(4):
        seen = tokens[row][mask[row]]
        bias_q, bias_k, bias_v = w["attention.in_proj_bias"].chunk(3)
        query = fused[row] @ w["attention.q_proj_weight"].T + bias_q
        key = seen @ w["attention.k_proj_weight"].T + bias_k
        value = seen @ w["attention.v_proj_weight"].T + bias_v
        parts = []
        for part in range(4):
            cut = slice(4 * part, 4 * part + 4)
            weights = torch.exp(key[:, cut] @ query[cut] / 2)
            parts.append((weights / weights.sum()) @ value[:, cut])
        out = torch.cat(parts) @ w["attention.out_proj.weight"].T + w["attention.out_proj.bias"]
        normal = (out - out.mean()) / (out.var(correction=0) + 1e-5).sqrt()
        changed.append(fused[row] + 0.7 * (normal * w["norm.weight"] + w["norm.bias"]))
    expected = torch.stack(changed)
    torch.testing.assert_close(head.attend(fused, tokens, mask), expected, rtol=1e-4, atol=1e-5)
    judged = head(fused, tokens, mask)
    for target in range(2):
        name = f"regressions.{target}"
        curved = expected @ w[f"{name}.curved.weight"].T + w[f"{name}.curved.bias"]
        curved = curved * (1 + torch.erf(curved / 2**0.5)) / 2
        inner = curved + expected @ w[f"{name}.straight.weight"].T + w[f"{name}.straight.bias"]
        quality = inner @ w[f"{name}.out.weight"].T + w[f"{name}.out.bias"]
        torch.testing.assert_close(judged.quality[:, target : target + 1], quality, rtol=1e-4, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 5), st.integers(0, 7), st.sampled_from([0.0, 1e4, math.nan, math.inf])
)
def test_padding_does_not_matter(rows: int, length: int, more: int, filling: float) -> None:
    head = _prompt_head()
    fused, (tokens, mask) = torch.randn(rows, WIDTH), _prompts(rows, length)
    with torch.inference_mode():
        plain = head(fused, tokens, mask)
        padded = head(
            fused,
            torch.cat(
                [tokens.masked_fill(~mask[..., None], filling), torch.full((rows, more, TOKENS), filling)], 1
            ),
            torch.cat([mask, torch.zeros(rows, more, dtype=torch.bool)], dim=1),
        )
    torch.testing.assert_close(padded.quality, plain.quality, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(padded.spread, plain.spread, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_row_without_prompt_is_left_as_it_is(precision: torch.dtype) -> None:
    head, fused = _prompt_head(), torch.randn(4, WIDTH)
    tokens, mask = _prompts(4, 6)
    mask[1], mask[3] = False, False
    tokens[3] = math.nan  # what encoders make of a text without tokens
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        prompted = head.attend(fused, tokens, mask)
        judged, alone = head(fused, tokens, mask), head(fused)
        torch.testing.assert_close(judged.quality[[1, 3]], alone.quality[[1, 3]])
    assert torch.equal(prompted[[1, 3]], fused[[1, 3]])
    assert (prompted[[0, 2]] != fused[[0, 2]]).any(dim=1).all()
    assert judged.quality.isfinite().all()


def test_a_batch_without_any_prompt_has_gradients_that_are_numbers() -> None:
    head, fused = _prompt_head().train(), torch.randn(3, WIDTH, requires_grad=True)
    tokens, mask = _prompts(3, 4)
    head(fused, tokens, torch.zeros_like(mask)).quality.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())
    assert fused.grad is not None
    assert fused.grad.isfinite().all()
    assert fused.grad.abs().sum() > 0


@torch.inference_mode()
def test_alpha_0_is_no_prompt_and_where_training_begins() -> None:
    assert float(PromptHead(WIDTH, TOKENS, heads=4).alpha) == 0
    head, fused = _prompt_head(alpha=0.0), torch.randn(4, WIDTH)
    tokens, mask = _prompts(4, 6)
    assert torch.equal(head.attend(fused, tokens, mask), fused)
    assert torch.equal(head(fused, tokens, mask).quality, head(fused).quality)


def _learnt(alpha_rate: float, seed: int = 0) -> tuple[float, float]:
    """Train on ratings that say how alike image and prompt are: alpha, and PLCC on pairs not seen before."""
    torch.manual_seed(seed)
    tokens, mask = _prompts(2500, 5, WIDTH)
    fused = torch.randn(2500, WIDTH)
    mean = (tokens * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    rated = 3 + 2 * functional.cosine_similarity(fused, mean)
    head = PromptHead(WIDTH, WIDTH, heads=4)
    others = [parameter for name, parameter in head.named_parameters() if name != "alpha"]
    optimizer = torch.optim.AdamW([{"params": others}, {"params": [head.alpha], "lr": alpha_rate}], lr=3e-3)
    for _ in range(300):
        rows = torch.randint(0, 1500, (64,))
        loss = (head(fused[rows], tokens[rows], mask[rows]).quality[:, 0] - rated[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        quality = head(fused[1500:], tokens[1500:], mask[1500:]).quality[:, 0]
    return float(head.alpha.detach()), float(torch.corrcoef(torch.stack([quality, rated[1500:]]))[0, 1])


@pytest.mark.slow
def test_a_rate_of_its_own_switches_the_attention_on() -> None:
    """At the authors' rate of 5e-6 alpha stays where it begins, and prompts say nothing."""
    alpha, agreement = _learnt(1e-2)
    still, none = _learnt(5e-6)
    assert abs(alpha) > 0.3
    assert abs(still) < 0.01
    assert agreement > none + 0.15


@torch.inference_mode()
def test_tokens_as_wide_as_the_image_s_vector_are_attended_to_alike() -> None:
    """Torch keeps the three projections in one weight then."""
    head = _prompt_head(tokens=WIDTH)
    tokens, mask = _prompts(4, 6, WIDTH)
    fused = torch.randn(4, WIDTH)
    whole = head.attend(fused, tokens, mask)
    for row in range(4):
        alone = head.attend(
            fused[row : row + 1], tokens[row : row + 1][:, mask[row]], mask[row : row + 1, mask[row]]
        )
        torch.testing.assert_close(alone[0], whole[row], rtol=1e-4, atol=1e-5)


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="a width of 20 cannot be divided among 8 heads"):
        PromptHead(20, TOKENS)


def test_the_spread_learns_without_shaping_the_features() -> None:
    spread, features = Spread(6, 2), torch.randn(3, 6, requires_grad=True)
    assert torch.equal(spread(features), torch.full((3, 2), math.log(2) + LEAST_SPREAD))
    nn.init.normal_(spread.map.weight)
    spread(features).sum().backward()
    assert features.grad is None
    assert spread.map.weight.grad is not None
    assert spread.map.weight.grad.abs().sum() > 0
    assert (spread(100 * features) >= LEAST_SPREAD).all()
