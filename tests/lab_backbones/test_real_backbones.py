"""Real pretrained weights, where the machine has them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the lab needs its extra")
transformers = pytest.importorskip("transformers", reason="the lab needs its extra")

from foveal.lab.backbones import load_backbone  # noqa: E402

SHARED = Path(os.environ.get("FOVEAL_SHARED", Path(__file__).parents[3] / "shared")) / "backbones"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real weights here: set FOVEAL_SHARED")
@pytest.mark.parametrize(("name", "normalisation"), [("vit-tiny-augreg", HALVES), ("deit-tiny", IMAGENET)])
def test_real_tokens(name: str, normalisation: Any, make_photo: Any) -> None:
    backbone = load_backbone(SHARED / name)
    views = make_photo(224, 224)[None]
    processor = transformers.ViTImageProcessorPil.from_pretrained(SHARED / name, local_files_only=True)
    pixels = processor(views[0], return_tensors="pt")["pixel_values"]
    model = transformers.ViTModel.from_pretrained(
        SHARED / name, add_pooling_layer=False, local_files_only=True
    )
    with torch.no_grad():
        expected = model(pixels, output_hidden_states=True)
        tokens = backbone.tokens(backbone.normalise(views))
    torch.testing.assert_close(tokens, torch.stack(expected.hidden_states, 1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        backbone.pool(backbone.finish(tokens[:, -1])), expected.last_hidden_state[:, 0], rtol=1e-4, atol=1e-4
    )
    assert (backbone.width, backbone.depth, backbone.patch, backbone.prefix_tokens) == (192, 12, 16, 1)
    assert backbone.native_size == backbone.preprocessing.crop == (224, 224)
    assert (backbone.preprocessing.mean, backbone.preprocessing.std) == normalisation
    assert 5.4e6 < backbone.card.parameters < 5.6e6
