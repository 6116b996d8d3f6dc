"""Probes: what they read, that cached features and whole forward agree, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foveal.lab.backbones import VisionBackbone, load_backbone
from foveal.lab.models.probe import ProbeConfig, ProbeModel, pool_layers


@pytest.fixture(scope="module")
def backbone(tiny_vit: Path) -> VisionBackbone:
    return load_backbone(tiny_vit)


@pytest.mark.parametrize("hidden", [0, 8])
def test_the_head_on_features_is_the_model_on_views(backbone: VisionBackbone, hidden: int) -> None:
    torch.manual_seed(0)
    model = ProbeModel(backbone, ProbeConfig(views=("whole", "fragments", "crop"), hidden=hidden)).eval()
    for parameter in model.probe.parameters():
        torch.nn.init.normal_(parameter)
    views = {name: torch.randint(0, 256, (4, 112, 112, 3), dtype=torch.uint8) for name in model.views}
    with torch.inference_mode():
        features = {name: model.encode(name, view) for name, view in views.items()}
        model.standardise({name: [rows] for name, rows in features.items()})
        head = model.frozen_head()
        assert head is not None
        expected = model(views)
        torch.testing.assert_close(head(features).quality, expected.quality)
        # The order of the views in the dictionary must not matter to the whole model.
        turned = model(dict(reversed(views.items())))
    torch.testing.assert_close(turned.quality, expected.quality)


def test_standardised_features_have_mean_0_and_deviation_1(backbone: VisionBackbone) -> None:
    model = ProbeModel(backbone, ProbeConfig(layers=(1,), hidden=0))
    generator = torch.Generator().manual_seed(1)
    scale = torch.linspace(0.1, 50, 48)
    draws = {
        "whole": [torch.randn(500, 48, generator=generator) * scale + 7],
        "fragments": [torch.randn(500, 48, generator=generator) * scale for _ in range(2)],
    }
    model.standardise(draws)
    whole = (draws["whole"][0] - model.probe.mean[:48]) / model.probe.deviation[:48]
    fragments = (torch.cat(draws["fragments"]) - model.probe.mean[48:]) / model.probe.deviation[48:]
    for rows in (whole, fragments):
        torch.testing.assert_close(rows.mean(dim=0), torch.zeros(48), atol=1e-4, rtol=0)
        torch.testing.assert_close(rows.std(dim=0), torch.ones(48), atol=1e-4, rtol=0)


def test_a_linear_probe_begins_with_the_middle_of_the_scale(backbone: VisionBackbone) -> None:
    model = ProbeModel(backbone, ProbeConfig(hidden=0))
    views = {name: torch.zeros(2, 112, 112, 3, dtype=torch.uint8) for name in model.views}
    assert torch.equal(model(views).quality, torch.full((2, 1), 3.0))
    # two views, one layer of three (the second), two vectors of 24, quality and spread
    assert model.trainable_count() == 2 * (2 * 2 * 24 + 1)


def test_a_tuned_backbone_leaves_no_features_to_keep(tiny_vit: Path) -> None:
    backbone = load_backbone(tiny_vit)
    backbone.unfreeze_last(1)
    model = ProbeModel(backbone, ProbeConfig())
    assert model.frozen_head() is None
    assert any(name.startswith("backbone.") for name in model.trained_state())


def test_pooling_reads_cls_and_mean_patch() -> None:
    states = torch.arange(2 * 1 * 4 * 2).reshape(2, 1, 4, 2).float()
    pooled = pool_layers(states, 1)
    assert torch.equal(pooled[0, 0], torch.tensor([[0.0, 1.0], [4.0, 5.0]]))
    without = pool_layers(states, 0)
    assert torch.equal(without[0, 0, 0], without[0, 0, 1])


def test_state_is_put_back_exactly_and_only_where_it_fits(backbone: VisionBackbone) -> None:
    first, second = (ProbeModel(backbone, ProbeConfig(hidden=8)) for _ in range(2))
    first.probe.mean.fill_(2)
    state = first.trained_state()
    assert not any(name.startswith("backbone.") for name in state)
    second.load_trained_state(state)
    assert all(
        torch.equal(a, b) for a, b in zip(state.values(), second.trained_state().values(), strict=True)
    )
    with pytest.raises(ValueError, match=r"probe.mean missing"):
        second.load_trained_state({name: t for name, t in state.items() if name != "probe.mean"})
    with pytest.raises(ValueError, match="odd unexpected"):
        second.load_trained_state({**state, "odd": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"probe.mean has shape \(3,\), expected \(96,\)"):
        second.load_trained_state({**state, "probe.mean": torch.zeros(3)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": ()}, "views are"),
        ({"views": ("whole", "whole")}, "each once"),
        ({"views": ("middle",)}, "expected some of whole, fragments, crop"),
        ({"layers": (0,)}, "numbers of blocks from 1 on"),
        ({"hidden": -1}, "hidden is -1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_choices_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProbeConfig(**changes)  # type: ignore[arg-type]


def test_missing_layers_are_refused(backbone: VisionBackbone) -> None:
    with pytest.raises(ValueError, match="has 3 layers, not 9"):
        ProbeModel(backbone, ProbeConfig(layers=(9,)))
