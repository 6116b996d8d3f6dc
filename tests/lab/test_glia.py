"""GLIANet: counts, identity at zero scale, independence of batch, the map, and every choice of the spec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from foveal.lab.backbones import VisionBackbone, load_backbone
from foveal.lab.models.base import summarise_parameters
from foveal.lab.models.glia import CrossAttention, GliaConfig, GliaNet, InteractionAdapter

WIDTH, DEPTH = 24, 3
SMALL = {"width": 8, "heads": 2, "layers": (1, 3), "readout_width": 6, "dropout": 0.0}


@pytest.fixture(scope="module")
def backbone(tiny_vit: Path) -> VisionBackbone:
    return load_backbone(tiny_vit)


@pytest.fixture
def views() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    shape = (3, 112, 112, 3)
    return {
        name: torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        for name in ("whole", "fragments")
    }


def _count(width: int, streams: int = 2, *, tokens: int = WIDTH) -> int:
    """Parameters of one adapter, by hand: down, up; query, key, value, output with bias; scales."""
    return 2 * tokens * width + streams * (4 * width * width + width) + streams * tokens


@pytest.mark.parametrize(
    ("changes", "adapters"),
    [
        ({}, 3 * _count(8)),
        ({"width": 16, "heads": 4}, 3 * _count(16)),
        ({"every": 2}, 2 * _count(8)),
        ({"every": 3}, _count(8)),
        ({"direction": "to-global"}, 3 * _count(8, 1)),
        ({"direction": "to-local"}, 3 * _count(8, 1)),
        ({"direction": "none"}, 3 * _count(8)),
        ({"streams": "global"}, 3 * _count(8, 1)),
        ({"streams": "local"}, 3 * _count(8, 1)),
    ],
)
def test_adapters_have_the_parameters_that_the_formula_says(
    backbone: VisionBackbone, changes: dict[str, object], adapters: int
) -> None:
    counts = summarise_parameters(GliaNet(backbone, GliaConfig(**{**SMALL, **changes})))
    assert counts["parts"]["adapters"] == adapters
    assert counts["trainable"] == sum(counts["parts"].values())
    assert counts["frozen"] == sum(p.numel() for p in backbone.parameters())


@torch.inference_mode()
@pytest.mark.parametrize("readout", ["layers", "cls"])
def test_without_adapters_the_readout_judges_features_that_can_be_kept(
    backbone: VisionBackbone, views: dict[str, Tensor], readout: str
) -> None:
    model = GliaNet(backbone, GliaConfig(**{**SMALL, "every": 0, "readout": readout})).eval()
    head = model.frozen_head()
    assert head is not None
    assert summarise_parameters(model)["parts"].keys() == {"readout"}
    assert set(model.parameter_groups()) == {"head"}
    kept = {name: model.encode(name, view) for name, view in views.items()}
    torch.testing.assert_close(head(kept).quality, model(views).quality)
    # The features are those of a probe, so that both find them in one cache.
    assert (model.extractor("whole") == "layers 1,3; CLS and mean patch token") == (readout == "layers")
    assert GliaNet(backbone, GliaConfig(**SMALL)).frozen_head() is None


@torch.inference_mode()
def test_adapters_that_add_nothing_leave_the_readouts_judgement(
    backbone: VisionBackbone, views: dict[str, Tensor]
) -> None:
    """What a run with adapters starts from when it starts from a readout, but for their small scales."""
    alone = GliaNet(backbone, GliaConfig(**{**SMALL, "every": 0})).eval()
    full = GliaNet(backbone, GliaConfig(**SMALL)).eval()
    full.load_trained_state({**full.trained_state(), **alone.trained_state()})
    for adapter in full.adapters.values():
        adapter.scale.zero_()
    torch.testing.assert_close(full(views).quality, alone(views).quality)


def test_a_vit_tiny_stays_below_900_000_trained_parameters() -> None:
    adapters = 12 * _count(64, tokens=192)
    readouts = 2 * (4 * 2 * 192 * 64 + 64)
    gate, head = 2 * 64 * 64 + 64, 2 * (64 + 1)
    # 899,394: what `foveal train recipes/glia-vit-tiny.toml --check` prints.
    assert adapters + readouts + gate + head == 899_394


@torch.inference_mode()
def test_without_scale_the_streams_are_those_of_the_frozen_backbone(
    backbone: VisionBackbone, views: dict[str, Tensor]
) -> None:
    model = GliaNet(backbone, GliaConfig(**SMALL)).eval()
    changed = model.hidden(views)
    for adapter in model.adapters.values():
        adapter.scale.zero_()
    for name, states in model.hidden(views).items():
        plain = backbone.tokens(backbone.normalise(views[name]), (1, 3))
        torch.testing.assert_close(states, plain, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(states, changed[name])


def test_the_adapter_is_what_its_equations_say() -> None:
    """An independent forward pass, head by head, with torch's own multi-head attention."""
    torch.manual_seed(2)
    config = GliaConfig(width=8, heads=2)
    adapter = InteractionAdapter(WIDTH, config)
    tokens = torch.randn(2, 4, 5, WIDTH)
    low = functional.layer_norm(tokens, (WIDTH,)) @ adapter.down.weight.T
    expected = []
    for stream, other in ((0, 1), (1, 0)):
        attention = adapter.attention[stream]
        assert isinstance(attention, CrossAttention)
        attended, _ = functional.multi_head_attention_forward(
            low[stream].transpose(0, 1),
            low[other].transpose(0, 1),
            low[other].transpose(0, 1),
            8,
            2,
            torch.cat([attention.query.weight, attention.key_value.weight]),
            None,
            None,
            None,
            False,
            0.0,
            attention.out.weight,
            attention.out.bias,
        )
        met = low[stream] + attended.transpose(0, 1)
        expected.append(tokens[stream] + adapter.scale[stream] * (met @ adapter.up.weight.T))
    torch.testing.assert_close(adapter(tokens), torch.stack(expected), rtol=1e-4, atol=1e-5)


def _changes(model: GliaNet, views: dict[str, Tensor], name: str) -> dict[str, bool]:
    """Whether the features of each stream change with the pixels of one view."""
    before = model.features(views)
    after = model.features({**views, name: 255 - views[name]})
    return {stream: not torch.equal(before[stream], after[stream]) for stream in before}


@pytest.mark.parametrize(
    ("direction", "of_whole", "of_fragments"),
    [
        ("both", {"whole": True, "fragments": True}, {"whole": True, "fragments": True}),
        ("to-global", {"whole": True, "fragments": False}, {"whole": True, "fragments": True}),
        ("to-local", {"whole": True, "fragments": True}, {"whole": False, "fragments": True}),
        ("none", {"whole": True, "fragments": False}, {"whole": False, "fragments": True}),
    ],
)
@torch.inference_mode()
def test_information_flows_in_the_chosen_direction_only(
    backbone: VisionBackbone,
    views: dict[str, Tensor],
    direction: str,
    of_whole: dict[str, bool],
    of_fragments: dict[str, bool],
) -> None:
    model = GliaNet(backbone, GliaConfig(**SMALL, direction=direction)).eval()  # type: ignore[arg-type]
    assert _changes(model, views, "whole") == of_whole
    assert _changes(model, views, "fragments") == of_fragments


@torch.inference_mode()
def test_lodas_way_reads_the_global_stream_alone(backbone: VisionBackbone, views: dict[str, Tensor]) -> None:
    model = GliaNet(backbone, GliaConfig(**SMALL, direction="to-global", fusion="global")).eval()
    assert list(model.features(views)) == ["whole"]
    assert not hasattr(model, "gate")
    assert not torch.equal(
        model(views).quality, model({**views, "fragments": 255 - views["fragments"]}).quality
    )


@pytest.mark.parametrize("streams", ["global", "local"])
@torch.inference_mode()
def test_one_stream_asks_for_one_view(
    backbone: VisionBackbone, views: dict[str, Tensor], streams: str
) -> None:
    model = GliaNet(backbone, GliaConfig(**SMALL, streams=streams)).eval()  # type: ignore[arg-type]
    name = {"global": "whole", "local": "fragments"}[streams]
    assert list(model.views) == [name]
    assert model.views[name].kind == name
    assert model({name: views[name]}).quality.shape == (3, 1)


@pytest.mark.parametrize("readout", ["cls", "layers"])
@torch.inference_mode()
def test_scores_depend_on_the_image_alone(
    backbone: VisionBackbone, views: dict[str, Tensor], readout: str
) -> None:
    model = GliaNet(backbone, GliaConfig(**SMALL, readout=readout)).eval()  # type: ignore[arg-type]
    together = model(views)
    for index in range(3):
        alone = model({name: view[index : index + 1] for name, view in views.items()})
        torch.testing.assert_close(alone.quality[0], together.quality[index], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(alone.spread[0], together.spread[index], rtol=1e-5, atol=1e-5)
    assert torch.equal(model(views).quality, together.quality)
    assert (together.spread > 0).all()


def test_every_trained_parameter_gets_a_gradient_and_no_frozen_one(
    backbone: VisionBackbone, views: dict[str, Tensor]
) -> None:
    model = GliaNet(backbone, GliaConfig(**SMALL)).train()
    with torch.no_grad():
        model.readout.head.spread.weight.normal_()
    judged = model(views)
    (judged.quality.square().sum() + judged.spread.sum()).backward()
    groups = model.parameter_groups()
    assert {id(p) for group in groups.values() for p in group} == {id(p) for p in model.trainable()}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.trainable())
    assert all(p.grad is None for p in backbone.parameters())
    model.zero_grad()


def test_the_gate_weighs_the_two_summaries(backbone: VisionBackbone) -> None:
    model = GliaNet(backbone, GliaConfig(**SMALL)).eval()
    first, second = torch.randn(4, 6), torch.randn(4, 6)
    with torch.no_grad():
        model.readout.gate.weight.zero_()
        for bias, expected in ((20.0, first), (-20.0, second), (0.0, (first + second) / 2)):
            model.readout.gate.bias.fill_(bias)
            torch.testing.assert_close(model.readout._fuse([first, second]), expected)


@torch.inference_mode()
def test_the_map_shows_where_the_fragments_differ(backbone: VisionBackbone, views: dict[str, Tensor]) -> None:
    model = GliaNet(backbone, GliaConfig(**SMALL)).eval()
    judged, cells = model.local_quality(views)
    assert cells.shape == (3, 7, 7)
    torch.testing.assert_close(judged.quality, model(views).quality)
    # Equal cells are equally good: a view of one colour everywhere gives them equal patches but for place.
    replaced = {**views, "fragments": views["fragments"].clone()}
    replaced["fragments"][:, 32:48, 64:80] = 255 - replaced["fragments"][:, 32:48, 64:80]
    change = (model.local_quality(replaced)[1] - cells).abs()
    # Row 2, column 4 was changed; attention carries a little of it elsewhere.
    assert (change.flatten(1).argmax(dim=1) == 2 * 7 + 4).all()


@torch.inference_mode()
def test_the_map_is_the_judgement_of_an_image_of_that_cell_alone(
    backbone: VisionBackbone, views: dict[str, Tensor]
) -> None:
    model = GliaNet(backbone, GliaConfig(**SMALL)).eval()
    features, hidden = model.features(views), model.hidden(views)
    row, column = 3, 5
    features["fragments"][:, :, 1] = hidden["fragments"][:, :, 1 + 7 * row + column]
    expected = model.judge(features).quality[:, 0]
    torch.testing.assert_close(model.local_quality(views)[1][:, row, column], expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 10, "heads": 4}, "width 10 cannot be divided among 4 heads"),
        ({"heads": 0}, "cannot be divided"),
        ({"every": -1}, "every is -1"),
        ({"adapter_dropout": 1.0}, "adapter_dropout is 1.0"),
        ({"head_dropout": -0.1}, "head_dropout is -0.1"),
        ({"streams": "one"}, "streams is 'one', expected both, global, local"),
        ({"direction": "up"}, "direction is 'up'"),
        ({"readout": "mean"}, "readout is 'mean', expected cls, layers"),
        ({"streams": "global", "fusion": "local"}, "only the global stream runs"),
        ({"layers": ()}, r"layers are \[\]"),
        ({"layers": (0, 3)}, r"layers are \[0, 3\]"),
        ({"readout_width": 0}, "readout_width is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_choices_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GliaConfig(**{**SMALL, **changes})


def test_backbones_that_do_not_fit_are_refused(
    backbone: VisionBackbone, tmp_path: Path, make_photo: Callable[..., np.ndarray]
) -> None:
    with pytest.raises(ValueError, match="has 3 layers, not 12"):
        GliaNet(backbone, GliaConfig())
    with pytest.raises(ValueError, match="a map of local quality needs the 'layers' readout"):
        GliaNet(backbone, GliaConfig(**{**SMALL, "readout": "cls"})).local_quality({})
