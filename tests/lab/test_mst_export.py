"""Models with one vector a stream as ONNX graphs: the same scores for any batch, prompts or none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from foveal.artifact.card import PROMPT_IDS, PROMPT_MASK
from foveal.lab.backbones import load_backbone, load_text_backbone
from foveal.lab.backbones.base import Backbone
from foveal.lab.backbones.tuning import TuningMode, apply_tuning, merge_tuning
from foveal.lab.export import to_onnx
from foveal.lab.models.base import PROMPT_TOKENS, Backbones, QualityModel
from foveal.lab.models.mst_clipiqa import MstClipIqa, MstConfig
from foveal.lab.models.registry import MODELS

LENGTH = 12
Make = Callable[..., QualityModel]


class Graph(nn.Module):
    """A network as a graph calls it: inputs one by one, masks as whole numbers."""

    def __init__(self, network: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.network = network
        self.names = names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        given = dict(zip(self.names, inputs, strict=True))
        if PROMPT_MASK in given:
            given[PROMPT_MASK] = given[PROMPT_MASK] > 0
        judged = self.network(given)
        return judged.quality, judged.spread


def _agree(network: nn.Module, make_batch: Callable[[int], dict[str, Tensor]]) -> None:
    """Export, run in ONNX Runtime with batches of several sizes, compare."""
    graph = Graph(network, list(make_batch(2))).eval()
    model = to_onnx(graph, tuple(make_batch(2).values()), graph.names, ["quality", "spread"])
    session = onnxruntime.InferenceSession(model)
    for rows in (1, 2, 5):
        batch = make_batch(rows)
        with torch.inference_mode():
            expected = graph(*batch.values())
        got = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})
        for ours, theirs in zip(expected, got, strict=True):
            assert np.isfinite(theirs).all()
            np.testing.assert_allclose(theirs, ours.numpy(), rtol=1e-3, atol=1e-3)
        if rows > 1:
            assert got[0].std(axis=0).min() > 1e-3


def _move(network: nn.Module) -> None:
    """Every trained weight away from where it began, alpha too."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)


def _masks(rows: int) -> Tensor:
    """Prompts of many lengths; the last row has none."""
    lengths = torch.arange(rows).flip(0) * 5 % LENGTH
    return (torch.arange(LENGTH) < lengths[:, None]).long()


@pytest.mark.slow
def test_a_head_that_reads_prompts(tiny_backbone: Any) -> None:
    """The one export that the quick tests pay for: features of streams and prompts, rows without prompt."""
    torch.manual_seed(0)
    backbones = Backbones(
        load_backbone(tiny_backbone("clip").folder),
        load_backbone(tiny_backbone("vit").folder),
        load_text_backbone(tiny_backbone("clip").folder),
    )
    config = MstConfig(prompt=True, prompted=("correspondence",))
    head = MstClipIqa(backbones, config, ("quality", "correspondence")).frozen_head()
    assert head is not None
    _move(head)

    def batch(rows: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(rows)
        return {
            "coarse": torch.randn(rows, 24, generator=generator),
            "fine": torch.randn(rows, 32, generator=generator),
            PROMPT_TOKENS: torch.randn(rows, LENGTH, 24, generator=generator),
            PROMPT_MASK: _masks(rows),
        }

    _agree(head, batch)


@pytest.fixture
def make(tiny_backbone: Any) -> Make:
    """Makes models: kind, families of coarse, fine and text, tuning of the coarse one."""

    def build(
        kind: str,
        families: tuple[str, str | None, str | None],
        targets: tuple[str, ...] = ("quality",),
        tuning: TuningMode | None = None,
        **options: Any,
    ) -> QualityModel:
        torch.manual_seed(0)
        coarse, fine, text = families
        backbones = Backbones(
            load_backbone(tiny_backbone(coarse).folder),
            None if fine is None else load_backbone(tiny_backbone(fine).folder),
            None if text is None else load_text_backbone(tiny_backbone(text).folder),
        )
        apply_tuning(backbones.vision, tuning or TuningMode())
        model = MODELS[kind].make(backbones, MODELS[kind].config(**options), targets)
        _move(model)
        return model

    return build


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "families", "options"),
    [
        ("mst-clipiqa", ("clip", "clip-vision", "clip"), {}),
        ("mst-clipiqa", ("clip", "vit", "clip"), {"prompt": True, "targets": ("quality", "correspondence")}),
        (
            "mst-clipiqa",
            ("siglip", "dinov2", "siglip"),
            {"prompt": True, "features": "layers", "layers": (1, 3)},
        ),
        ("mst-clipiqa", ("vit", "dinov3", None), {"fusion": "concat", "levels": "learned"}),
        ("mst-clipiqa", ("dino", "vit", None), {"tuning": TuningMode("last", blocks=1), "fusion": "average"}),
        ("mst-clipiqa", ("dino", "siglip", "clip"), {"compat": "authors", "prompt": True}),
        ("regressor", ("clip", None, None), {}),
        ("regressor", ("siglip", None, None), {}),
        ("regressor", ("dino", None, None), {"tuning": TuningMode("last", blocks=1)}),
        ("regressor", ("vit", None, None), {"tuning": TuningMode("lora", rank=2, alpha=4.0, targets=("q",))}),
        ("clip-iqa", ("clip", None, "clip"), {"targets": ("quality", "sharpness")}),
        ("clip-iqa", ("clip", None, "clip"), {"positions": False, "side": 48}),
    ],
)
def test_whole_models(
    make: Make, kind: str, families: tuple[str, str | None, str | None], options: dict[str, Any]
) -> None:
    model = copy.deepcopy(make(kind, families, **options))
    for part in model.modules():
        if isinstance(part, Backbone):
            merge_tuning(part)
            part.core.set_attn_implementation("eager")

    def batch(rows: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(rows)
        views = {
            name: torch.randint(
                0, 256, (rows, spec.side, spec.side, 3), generator=generator, dtype=torch.uint8
            )
            for name, spec in model.views.items()
        }
        if model.text is None:
            return views
        ids = torch.randint(3, 300, (rows, LENGTH), generator=generator)
        mask = _masks(rows)
        return {**views, PROMPT_IDS: torch.where(mask > 0, ids, 2), PROMPT_MASK: mask}

    _agree(model, batch)
