"""The compact network: what goes in, what comes out, and that an image is judged by itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from foveal.lab.models.compact import Bottleneck, CompactConfig, CompactNet, pool_maps


def make_views(count: int, seed: int = 0, side: int = 224) -> Tensor:
    generator = np.random.default_rng(seed)
    return torch.from_numpy(generator.integers(0, 256, (count, side, side, 3), np.uint8))


def settle(network: CompactNet) -> CompactNet:
    """Give batch norm and the zeroed branches values as training would."""
    torch.manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.2, 0.2)
            part.running_mean = torch.randn_like(part.bias) * 0.1
            part.running_var = torch.rand_like(part.bias) + 0.5
    return network.eval()


@pytest.fixture
def network(tiny_config: CompactConfig) -> CompactNet:
    torch.manual_seed(0)
    return settle(CompactNet(tiny_config))


def test_gives_a_quality_on_the_scale_and_a_positive_spread(network: CompactNet) -> None:
    with torch.inference_mode():
        quality, spread = network(make_views(4, 0), make_views(4, 1))
    assert quality.shape == spread.shape == (4,)
    assert quality.dtype == spread.dtype == torch.float32
    assert 1 <= quality.min() <= quality.max() <= 5
    assert quality.max() > quality.min()
    assert spread.min() > 0


@given(st.floats(-1e4, 1e4, width=32), st.floats(-1e4, 1e4, width=32))
@settings(max_examples=30, deadline=None)
def test_no_features_leave_the_scale(whole: float, fragments: float) -> None:
    config = CompactConfig((8, 8, 16, 16), (1, 1, 1, 1), signature=12, hidden=8)
    network = settle(CompactNet(config))
    features = 2 * sum(config.widths[1:])
    with torch.inference_mode():
        quality, spread = network.judge(
            torch.full((2, features), whole), torch.full((2, features), fragments)
        )
    assert bool(((quality >= 1) & (quality <= 5)).all())
    assert bool(((spread >= 0.05) & torch.isfinite(spread)).all())


def test_stages_have_the_strides_and_widths_that_the_config_states(tiny_config: CompactConfig) -> None:
    trunk = CompactNet(tiny_config).trunk
    with torch.inference_mode():
        maps = trunk(torch.randn(2, 3, 224, 224))
        small = trunk(torch.randn(1, 3, 160, 160))
    assert [tuple(stage.shape) for stage in maps] == [
        (2, 8, 56, 56), (2, 8, 28, 28), (2, 16, 14, 14), (2, 16, 7, 7),
    ]  # fmt: skip
    assert small[-1].shape == (1, 16, 5, 5)


def test_views_of_eight_bits_are_brought_to_a_normal_range() -> None:
    views = make_views(2)
    normal = CompactNet.normalise(views)
    assert normal.shape == (2, 3, 224, 224)
    np.testing.assert_allclose(
        normal.numpy(), np.moveaxis((views.numpy() - np.float32(114)) / np.float32(64), 3, 1), rtol=1e-6
    )
    assert -2.3 < normal.min() < normal.max() < 2.3


def test_an_image_is_judged_by_itself(network: CompactNet) -> None:
    whole, fragments = make_views(5, 0), make_views(5, 1)
    with torch.inference_mode():
        together = network(whole, fragments)
        turned = network(whole.flip(0), fragments.flip(0))
        alone = [network(whole[i : i + 1], fragments[i : i + 1]) for i in range(5)]
    for output in (0, 1):
        singles = torch.cat([one[output] for one in alone])
        torch.testing.assert_close(together[output], singles, atol=1e-5, rtol=0)
        torch.testing.assert_close(together[output], turned[output].flip(0), atol=1e-5, rtol=0)


def test_both_views_count_and_are_told_apart(network: CompactNet) -> None:
    one, other = make_views(1, 0) // 2, make_views(1, 1) // 4
    with torch.inference_mode():
        scores = [float(network(w, f)[0]) for w, f in ((one, other), (other, one), (one, one))]
    assert len({round(score, 5) for score in scores}) == 3


def test_a_fresh_block_passes_its_input_on() -> None:
    maps = torch.rand(2, 8, 5, 5)
    with torch.inference_mode():
        torch.testing.assert_close(Bottleneck(8).eval()(maps), maps)


def test_number_of_parameters() -> None:
    # Counted by hand for widths (8, 8, 16, 16), one block each: entries 3*8*49 + 8*8*9 + 8*16*9 + 16*16*9 and
    # their norms 2*(8+8+16+16); blocks of width w: w*w/2 + (w/2)**2*9 + w*w/2 and norms 2*(w/2 + w/2 + w);
    # signatures twice: norm 2*80 and 80*12 + 12; head 24*8 + 8 + 8*2 + 2.
    entries = 1176 + 576 + 1152 + 2304 + 96
    blocks = 2 * (64 + 144 + 32) + 2 * (256 + 576 + 64)
    heads = 2 * (160 + 972) + 200 + 18
    network = CompactNet(CompactConfig((8, 8, 16, 16), (1, 1, 1, 1), signature=12, hidden=8))
    assert sum(parameter.numel() for parameter in network.parameters()) == entries + blocks + heads
    # The shipped shape: under 6 MB even at one byte a weight and half of the head in float16.
    shipped = CompactNet(CompactConfig((32, 64, 128, 256), (1, 2, 4, 3)))
    assert 1.0e6 < sum(parameter.numel() for parameter in shipped.parameters()) < 2.5e6


def test_the_config_comes_back_from_a_checkpoint(tiny_config: CompactConfig) -> None:
    values = tiny_config.to_dict()
    assert CompactConfig(**values) == tiny_config
    stored = json.loads(json.dumps(values))
    assert stored == {"widths": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "signature": 12, "hidden": 8}
    again = CompactNet(CompactConfig(**stored))  # lists do as well
    again.load_state_dict(CompactNet(tiny_config).state_dict())


def test_the_same_seed_gives_the_same_network(tiny_config: CompactConfig) -> None:
    torch.manual_seed(3)
    first = CompactNet(tiny_config).state_dict()
    torch.manual_seed(3)
    second = CompactNet(tiny_config).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_pooling_is_mean_and_deviation_of_the_last_three_stages(seed: int, batch: int, side: int) -> None:
    generator = np.random.default_rng(seed)
    maps = [
        generator.normal(generator.uniform(-2, 2), 1, (batch, width, side, side)).astype(np.float32)
        for width in (2, 3, 4, 5)
    ]
    pooled = pool_maps([torch.from_numpy(stage) for stage in maps]).numpy()
    columns = []
    for stage in maps[1:]:
        exact = stage.astype(np.float64)
        columns += [exact.mean((2, 3)), np.sqrt(exact.var((2, 3)) + 1e-4)]
    assert pooled.shape == (batch, 2 * (3 + 4 + 5))
    np.testing.assert_allclose(pooled, np.concatenate(columns, axis=1), atol=2e-4)


def test_pooling_of_constant_maps_has_a_finite_gradient() -> None:
    maps = [torch.full((1, 2, 4, 4), 3.0, requires_grad=True) for _ in range(4)]
    torch.autograd.backward(pool_maps(maps).sum())
    assert all(bool(torch.isfinite(stage.grad).all()) for stage in maps[1:] if stage.grad is not None)
    assert maps[0].grad is None  # the first stage is not pooled
