"""Fusion of two streams: the paper's equation, its special cases, and where it starts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from foveal.lab.models.mst_clipiqa import AverageFusion, GatedFusion
from foveal.lab.models.mst_clipiqa.fusion import make_fusion


def _streams(coarse: int, fine: int, rows: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, coarse, generator=generator), torch.randn(rows, fine, generator=generator)


@torch.inference_mode()
def test_the_gated_fusion_is_what_its_equation_says() -> None:
    """z = g * phi_c(f_c) + (1 - g) * phi_f(f_f), written out with the weights alone."""
    torch.manual_seed(1)
    fusion = GatedFusion(7, 5, 6, 4)
    for parameter in fusion.parameters():
        parameter.normal_()
    coarse, fine = _streams(7, 5)
    weights = fusion.state_dict()
    joined = torch.cat([coarse, fine], dim=1)
    hidden = (joined @ weights["hidden.weight"].T + weights["hidden.bias"]).clamp_min(0)
    gate = 1 / (1 + torch.exp(-(hidden @ weights["gate.weight"].T + weights["gate.bias"])))
    ours = coarse @ weights["coarse.weight"].T + weights["coarse.bias"]
    theirs = fine @ weights["fine.weight"].T + weights["fine.bias"]
    torch.testing.assert_close(fusion(coarse, fine), gate * ours + (1 - gate) * theirs)
    torch.testing.assert_close(fusion.weigh(coarse, fine), gate)


def test_the_paper_s_gate_has_the_parameters_that_the_formula_says() -> None:
    """Gate 1024 -> 256 -> 512 and two affine maps 512 -> 512."""
    fusion = GatedFusion(512, 512, 512, 256)
    assert sum(p.numel() for p in fusion.parameters()) == 1024 * 256 + 256 + 256 * 512 + 512 + 2 * 512 * 513


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.floats(0.1, 30), st.integers(0, 99))
def test_the_gate_lies_from_0_to_1(coarse: int, fine: int, width: int, scale: float, seed: int) -> None:
    torch.manual_seed(seed)
    fusion = GatedFusion(coarse, fine, width, 3).double()
    streams = [scale * stream.double() for stream in _streams(coarse, fine, seed=seed)]
    gate = fusion.weigh(*streams)
    assert gate.shape == (5, width)
    # Far out a sigmoid is 0 or 1 to the last digit.
    assert ((gate >= 0) & (gate <= 1)).all()


def _set_gate(fusion: GatedFusion, bias: float) -> None:
    nn.init.zeros_(fusion.gate.weight)
    nn.init.constant_(fusion.gate.bias, bias)


@torch.inference_mode()
def test_average_is_the_gate_at_one_half() -> None:
    torch.manual_seed(2)
    gated, average = GatedFusion(4, 6, 5, 3), AverageFusion(4, 6, 5)
    for name in ("coarse", "fine"):
        getattr(gated, name).weight.normal_()
        getattr(average, name).load_state_dict(getattr(gated, name).state_dict())
    streams = _streams(4, 6)
    assert not torch.allclose(gated(*streams), average(*streams))
    _set_gate(gated, 0.0)
    torch.testing.assert_close(gated(*streams), average(*streams))


@torch.inference_mode()
def test_an_open_gate_takes_one_stream_alone() -> None:
    fusion = GatedFusion(5, 5, 5, 3)
    coarse, fine = _streams(5, 5)
    for bias, expected in ((30.0, coarse), (-30.0, fine)):
        _set_gate(fusion, bias)
        torch.testing.assert_close(fusion(coarse, fine), expected)


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["gate", "average"])
def test_maps_begin_as_the_identity(kind: str) -> None:
    """Equal streams come out as they went in; narrower ones are filled with zeros, wider ones cut."""
    same = torch.randn(4, 6)
    torch.testing.assert_close(make_fusion(kind, (6, 6), 6, 3)(same, same), same)  # type: ignore[arg-type]
    wide = make_fusion(kind, (6, 6), 8, 3)(same, same)  # type: ignore[arg-type]
    torch.testing.assert_close(wide, torch.cat([same, torch.zeros(4, 2)], dim=1))
    torch.testing.assert_close(make_fusion(kind, (6, 6), 5, 3)(same, same), same[:, :5])  # type: ignore[arg-type]


@torch.inference_mode()
def test_one_stream_alone_begins_as_the_identity_too() -> None:
    same = torch.randn(4, 6)
    for kind in ("coarse", "fine"):
        torch.testing.assert_close(make_fusion(kind, (6,), 6, 3)(same), same)  # type: ignore[arg-type]


@torch.inference_mode()
def test_concatenation_is_the_gate_s_network_without_the_gate() -> None:
    torch.manual_seed(4)
    gated, joined = make_fusion("gate", (4, 6), 5, 3), make_fusion("concat", (4, 6), 5, 3)
    assert isinstance(gated, GatedFusion)
    joined.load_state_dict(
        {
            name.replace("gate.", "out."): tensor
            for name, tensor in gated.state_dict().items()
            if name.startswith(("hidden.", "gate."))
        }
    )
    streams = _streams(4, 6)
    torch.testing.assert_close(torch.sigmoid(joined(*streams)), gated.weigh(*streams))
