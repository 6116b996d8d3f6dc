"""CLIPIQA and DINOIQA: counts, an independent forward pass, what is pooled, what is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from foveal.lab.backbones import VisionBackbone, load_backbone
from foveal.lab.backbones.tuning import TuningMode, apply_tuning
from foveal.lab.models.base import Backbones
from foveal.lab.models.registry import MODELS
from foveal.lab.models.regressor import Regressor, RegressorConfig, RegressorHead, find_pooling
from foveal.strict import build


@pytest.fixture
def load(tiny_backbone: Any) -> Callable[[str], VisionBackbone]:
    return lambda family: load_backbone(tiny_backbone(family).folder)


def _views(rows: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {"whole": torch.randint(0, 256, (rows, 32, 32, 3), generator=generator, dtype=torch.uint8)}


def test_the_paper_s_regressor_has_197_121_parameters() -> None:
    """Linear(768, 256)-ReLU-Linear(256, 1); our spread, 257 more, stands beside."""
    head = RegressorHead("whole", 768, RegressorConfig())
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in head.named_children()}
    spread = sum(p.numel() for p in head.head.spread.parameters())
    assert counts["hidden"] + counts["head"] - spread == 197_121
    assert spread == 257


@torch.inference_mode()
def test_the_regressor_is_what_the_paper_says() -> None:
    """w_2 relu(W_1 x + b_1) + b_2, written out, from features in half precision as a cache keeps them."""
    torch.manual_seed(0)
    head = RegressorHead("whole", 10, RegressorConfig(hidden=7), targets=2).eval()
    vectors = torch.randn(5, 10).half()
    w = head.state_dict()
    hidden = (vectors.float() @ w["hidden.weight"].T + w["hidden.bias"]).clamp_min(0)
    expected = hidden @ w["head.quality.weight"].T + w["head.quality.bias"]
    torch.testing.assert_close(head({"whole": vectors}).quality, expected)
    assert torch.equal(w["head.quality.bias"], torch.full((2,), 3.0))


@torch.inference_mode()
@pytest.mark.parametrize(
    ("family", "kind", "width"),
    [
        ("clip", "projected", 24),
        ("clip-vision", "cls", 32),
        ("siglip", "projected", 32),
        ("siglip2", "projected", 32),
        ("vit", "cls", 32),
        ("dino", "cls", 32),
        ("deit", "cls", 32),
        ("dinov2-registers", "cls", 32),
        ("dinov3", "cls", 32),
    ],
)
def test_each_family_is_pooled_as_the_paper_pools(
    load: Callable[[str], VisionBackbone], tiny_backbone: Any, family: str, kind: str, width: int
) -> None:
    """CLIP's projected vector, DINO's CLS token after the final normalisation; from transformers itself."""
    backbone = load(family)
    pooling = find_pooling(backbone)
    assert (pooling.kind, pooling.width) == (kind, width)
    pixels = backbone.normalise(_views()["whole"])
    read = pooling.read(backbone, pixels)
    assert read.shape == (4, width)
    reference = tiny_backbone(family)
    if family in ("vit", "dino", "deit", "dinov2-registers", "dinov3"):
        torch.testing.assert_close(
            read, reference.vision(pixels).last_hidden_state[:, 0], rtol=1e-4, atol=1e-4
        )
    elif family == "clip-vision":
        torch.testing.assert_close(read, reference.vision(pixels).pooler_output, rtol=1e-4, atol=1e-4)
    elif family == "clip":
        expected = reference.reference.visual_projection(reference.vision(pixels).pooler_output)
        torch.testing.assert_close(read, expected, rtol=1e-4, atol=1e-4)
    elif family == "siglip":
        torch.testing.assert_close(read, reference.vision(pixels).pooler_output, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_an_encoder_without_cls_and_head_gives_its_mean_patch(load: Callable[[str], VisionBackbone]) -> None:
    backbone = load("siglip")
    backbone.core.use_head = False
    pooling = find_pooling(backbone)
    assert (pooling.kind, pooling.width) == ("patches", 32)
    pixels = backbone.normalise(_views()["whole"])
    torch.testing.assert_close(pooling.read(backbone, pixels), backbone(pixels).mean(dim=1))


@torch.inference_mode()
def test_the_head_on_kept_features_is_the_model_on_views(load: Callable[[str], VisionBackbone]) -> None:
    torch.manual_seed(0)
    model = Regressor(load("clip"), RegressorConfig(hidden=8), ("quality", "authenticity")).eval()
    head = model.frozen_head()
    assert head is not None
    views = _views()
    together = model(views)
    kept = {name: model.encode(name, view) for name, view in views.items()}
    torch.testing.assert_close(head(kept).quality, together.quality)
    assert together.quality.shape == together.spread.shape == (4, 2)
    for row in range(4):
        alone = model({"whole": views["whole"][row : row + 1]})
        torch.testing.assert_close(alone.quality[0], together.quality[row], rtol=1e-4, atol=1e-5)
    assert model.extractor("whole") == "pooled: projected"
    assert set(model.parameter_groups()) == {"head"}


def test_dinoiqa_trains_the_last_block_the_final_norm_and_the_regressor(
    load: Callable[[str], VisionBackbone],
) -> None:
    torch.manual_seed(0)
    backbone = load("dino")
    apply_tuning(backbone, TuningMode("last", blocks=1))
    model = MODELS["regressor"].make(Backbones(backbone), RegressorConfig(hidden=8), ("quality",)).train()
    assert model.frozen_head() is None
    expected = [*backbone.blocks[-1].parameters(), *backbone.final_norm.parameters()]
    groups = model.parameter_groups()
    assert {id(p) for p in groups["backbone"]} == {id(p) for p in expected}
    judged = model(_views())
    (judged.quality.square().sum() + judged.spread.sum()).backward()
    assert all(p.grad is not None for p in model.trainable())
    for parameter in (*groups["head"], *backbone.final_norm.parameters()):
        assert parameter.grad is not None
        # The spread's weights begin at zero, its gradient does not.
        assert parameter.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_the_spread_does_not_shape_the_regressor(load: Callable[[str], VisionBackbone]) -> None:
    torch.manual_seed(0)
    model = Regressor(load("clip"), RegressorConfig(hidden=8)).train()
    torch.nn.init.normal_(model.regressor.head.spread.weight)
    model(_views()).spread.sum().backward()
    assert model.regressor.hidden.weight.grad is None
    assert model.regressor.head.spread.weight.grad is not None


def test_a_recipe_s_table_makes_a_config() -> None:
    table = {"view": "crop", "hidden": 64, "dropout": 0.5}
    assert build(MODELS["regressor"].config, table, "model") == RegressorConfig("crop", 64, 0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"view": "half"}, "view is 'half', expected whole, fragments, crop"),
        ({"hidden": 0}, "hidden is 0, expected 1 or more"),
        ({"dropout": 1.0}, "dropout is 1.0, expected 0 to below 1"),
    ],
)
def test_choices_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RegressorConfig(**changes)


def test_views_that_cannot_be_cut_are_refused(load: Callable[[str], VisionBackbone]) -> None:
    with pytest.raises(
        ValueError, match="32 x 32 pixels: side of a fragments view is 32, expected a multiple"
    ):
        Regressor(load("vit"), RegressorConfig("fragments"))
    backbone = load("vit")
    backbone.native_size = (32, 40)
    with pytest.raises(ValueError, match="takes 32 x 40 pixels: views are square"):
        Regressor(backbone)
