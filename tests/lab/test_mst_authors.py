"""The authors' layers: their numbers, an independent forward pass, their state dicts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from foveal.lab.models.mst_clipiqa import MstAuthors

WIDTH = 16


@pytest.mark.parametrize(("prompt", "count"), [(False, 722_561), (True, 2_299_010)])
def test_the_authors_counts(prompt: bool, count: int) -> None:
    """As their training prints them: fusion 722,560, temperature 1; with prompts the other head."""
    layers = MstAuthors(prompt=prompt)
    assert sum(p.numel() for p in layers.parameters()) == count
    assert sum(p.numel() for p in layers.gff.parameters()) == 722_560


@torch.inference_mode()
@pytest.mark.parametrize("variant", ["a", "b"])
def test_the_authors_code_gives_the_same(shared_folder: Path, variant: str) -> None:
    """Weights, inputs and outputs of their own code; ``golden/README.md`` says how they were made."""
    path = shared_folder / "golden" / "mst-authors.safetensors"
    if not path.is_file():
        pytest.skip(f"no golden values: {path} is not there")
    golden = {name: tensor.float() for name, tensor in load_file(path).items()}
    layers = MstAuthors(prompt=variant == "b").eval()
    state: dict[str, object] = {
        name.replace(f"head_{variant}.", "head."): tensor
        for name, tensor in golden.items()
        if name.startswith(("gff.", f"head_{variant}."))
    }
    layers.load_authors_state(state)
    coarse, fine = golden["in.f_c"], golden["in.f_f"]
    tokens = golden["in.token_features"] if variant == "b" else None
    torch.testing.assert_close(layers.fuse(coarse, fine), golden["out.z"], rtol=0, atol=1e-4)
    quality = layers(coarse, fine, tokens)
    torch.testing.assert_close(quality, golden[f"out.quality_{variant}"], rtol=0, atol=1e-4)


def _random_layers(*, prompt: bool) -> MstAuthors:
    torch.manual_seed(6)
    texts = torch.nn.functional.normalize(torch.randn(5, WIDTH), dim=1)
    layers = MstAuthors(prompt=prompt, text_features=None if prompt else texts, width=WIDTH)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.normal_(0, 0.3)
    return layers.eval()


def _plain(weights: dict[str, Tensor], coarse: Tensor, fine: Tensor, tokens: Tensor | None) -> Tensor:
    """Their forward pass for one image, without a module of torch; after their README's equations."""

    def linear(name: str, vector: Tensor) -> Tensor:
        return weights[f"{name}.weight"] @ vector + weights[f"{name}.bias"]

    hidden = linear("gff.W_h", torch.cat([coarse, fine])).clamp_min(0)
    gate = 1 / (1 + torch.exp(-linear("gff.W_g", hidden)))
    fused = gate * linear("gff.W_c", coarse) + (1 - gate) * linear("gff.W_f", fine)
    if tokens is None:
        texts = weights["head.text_features"]
        logits = weights["head.temperature"] * (texts @ (fused / fused.norm()))
        shares = torch.exp(logits - logits.max())
        return (shares * torch.tensor([1.0, 2, 3, 4, 5])).sum() / shares.sum()
    project = weights["head.cross_attn.in_proj_weight"].chunk(3)
    offset = weights["head.cross_attn.in_proj_bias"].chunk(3)
    query = project[0] @ fused + offset[0]
    keys, values = (tokens @ project[i].T + offset[i] for i in (1, 2))
    heads = []
    for part in range(8):
        cut = slice(part * WIDTH // 8, (part + 1) * WIDTH // 8)
        scores = torch.exp(keys[:, cut] @ query[cut] / math.sqrt(WIDTH / 8))
        heads.append((scores / scores.sum()) @ values[:, cut])
    fused = fused + weights["head.alpha"] * linear("head.cross_attn.out_proj", torch.cat(heads))
    curved = linear("head.W_1", fused)
    curved = curved * (1 + torch.erf(curved / math.sqrt(2))) / 2
    return linear("head.w_o", curved + linear("head.W_2", fused))[0]


@torch.inference_mode()
@pytest.mark.parametrize("prompt", [False, True])
def test_the_layers_are_what_the_equations_say(prompt: bool) -> None:
    layers = _random_layers(prompt=prompt)
    coarse, fine = torch.randn(2, 4, WIDTH)
    tokens = torch.randn(4, 7, WIDTH) if prompt else None
    scores = layers(coarse, fine, tokens)
    assert scores.shape == (4, 1)
    weights = {**layers.state_dict()}
    for row in range(4):
        expected = _plain(weights, coarse[row], fine[row], None if tokens is None else tokens[row])
        assert float(scores[row]) == pytest.approx(float(expected), abs=1e-5)


@torch.inference_mode()
def test_a_mask_gives_the_score_of_the_prompt_by_itself() -> None:
    layers = _random_layers(prompt=True)
    coarse, fine = torch.randn(2, 3, WIDTH)
    tokens = torch.randn(3, 7, WIDTH)
    mask = torch.arange(7) < torch.tensor([2, 7, 0])[:, None]
    masked = layers(coarse, fine, tokens, mask)
    cut = layers(coarse[:1], fine[:1], tokens[:1, :2])
    torch.testing.assert_close(masked[0], cut[0])
    torch.testing.assert_close(masked[1], layers(coarse, fine, tokens)[1])
    torch.testing.assert_close(masked[2], layers(coarse, fine)[2])  # no prompt at all
    assert not torch.allclose(layers(coarse, fine, tokens)[0], cut[0])


@torch.inference_mode()
def test_state_dicts_as_the_authors_write_and_as_they_read_them() -> None:
    first, second = _random_layers(prompt=True), MstAuthors(prompt=True, width=WIDTH).eval()
    encoders = {
        "mstfe.encoder_fine.weight": torch.ones(3),
        "head.text_encoder.text_model.bias": torch.ones(2),
    }
    inputs = torch.randn(3, WIDTH), torch.randn(3, WIDTH), torch.randn(3, 5, WIDTH)
    for state in ({**first.state_dict(), **encoders}, {"model_state_dict": first.state_dict(), "epoch": 3}):
        second = MstAuthors(prompt=True, width=WIDTH).eval()
        assert not torch.equal(second(*inputs), first(*inputs))
        second.load_authors_state(state)
        assert torch.equal(second(*inputs), first(*inputs))


def test_other_state_dicts_are_refused() -> None:
    a, b = MstAuthors(width=WIDTH), MstAuthors(prompt=True, width=WIDTH)
    with pytest.raises(ValueError, match=r"variant A, without prompts: head.W_1.bias is unexpected"):
        a.load_authors_state(b.state_dict())
    with pytest.raises(ValueError, match=r"variant B, with prompts: head.W_1.bias is missing"):
        b.load_authors_state(a.state_dict())
    with pytest.raises(ValueError, match=r"gff.W_h.weight has shape \(128, 16\), expected \(128, 32\)"):
        a.load_authors_state(MstAuthors(width=WIDTH // 2).state_dict() | {"gff.W_g.weight": torch.ones(3)})
    with pytest.raises(ValueError, match="model_state_dict holds a int, expected weights by name"):
        a.load_authors_state({"model_state_dict": 3})
