"""Adapters that come with Foveal: small, in half precision, and working where their backbone is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from foveal.lab.assess import assess
from foveal.lab.backbones import load_backbone
from foveal.lab.trained import (
    CONFIG,
    SHIPPED,
    WEIGHTS,
    TrainedModelError,
    load_trained,
    read_record,
    shipped_names,
)

REPOSITORY = Path(__file__).parents[2]
SHARED = Path(os.environ.get("FOVEAL_SHARED", REPOSITORY.parent / "shared")) / "backbones"
EXAMPLES = REPOSITORY / "examples"


@pytest.mark.parametrize("name", shipped_names())
def test_they_are_small_and_complete(name: str) -> None:
    record = read_record(SHIPPED / name / CONFIG)
    state = load_file(SHIPPED / name / WEIGHTS)
    assert record.card.name == name
    assert record.card.licence == "Apache-2.0"
    assert not any("backbone" in key for key in state), "weights of others are not ours to ship"
    assert all(tensor.dtype == torch.float16 and tensor.isfinite().all() for tensor in state.values())
    assert sum(tensor.numel() for tensor in state.values()) < 900_000
    assert "higher is better" in (SHIPPED / name / "README.md").read_text(encoding="utf-8")


def test_another_backbone_is_refused(tiny_vit: Path) -> None:
    with pytest.raises(TrainedModelError, match="its weights are not those that this model was trained on"):
        load_trained("glia-vit-tiny", backbone=tiny_vit)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real weights here: set FOVEAL_SHARED")
def test_worse_copies_score_lower_and_the_map_is_there() -> None:
    model = load_trained("glia-vit-tiny", backbone=load_backbone(SHARED / "vit-tiny-augreg"))
    names = ["photos/chelsea.jpg", "degraded/chelsea--blur-0.8.jpg", "degraded/chelsea--noise-0.8.jpg"]
    original, *worse = assess(model, [EXAMPLES / name for name in names])
    assert all(copy.quality < original.quality - 0.3 for copy in worse)
    assert original.interval.low < original.quality < original.interval.high
    assert original.quality_map is not None
    assert original.quality_map.shape == (7, 7)
    assert original.model == "glia-vit-tiny@0.1"
