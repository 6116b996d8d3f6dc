"""The moving average of weights: what it averages, how fast, and that swapping gives everything back."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from foveal.lab.training.ema import MovingAverage


def make_network(*, frozen: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    network[0].requires_grad_(not frozen)
    return network


def shift(network: nn.Module, amount: float) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(amount)


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_averages_trainable_parameters_only() -> None:
    average = MovingAverage(make_network())
    assert set(average.state_dict()) == {"1.weight", "1.bias", "2.weight", "2.bias"}


def test_is_the_recursion_with_its_warm_up() -> None:
    layer = nn.Linear(2, 2)
    average = MovingAverage(layer, decay=0.5)
    expected = layer.weight.detach().double()
    for step in range(30):
        shift(layer, 0.1 * (-1) ** step + 0.05)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * layer.weight.detach().double()
    torch.testing.assert_close(average.state_dict()["weight"].double(), expected, atol=1e-6, rtol=0)


def test_early_weights_are_soon_forgotten() -> None:
    layer = nn.Linear(3, 3)
    average = MovingAverage(layer, decay=0.9999)
    shift(layer, 100)
    for step in range(100):
        average.update(step)
    # Without the warm-up of the decay 99 % of the first weights would be left.
    assert torch.allclose(average.state_dict()["weight"], layer.weight.detach(), atol=0.01)


def test_half_precision_weights_are_averaged_in_float32() -> None:
    layer = nn.Linear(3, 3).to(torch.bfloat16)
    with torch.no_grad():
        layer.weight.fill_(1)
    average = MovingAverage(layer, decay=0.999)
    with torch.no_grad():
        layer.weight.fill_(1.0078125)  # the next number that bfloat16 has
    average.update(100_000)
    held = average.state_dict()["weight"]
    assert held.dtype == torch.float32
    torch.testing.assert_close(held, torch.full((3, 3), 1 + 0.0078125 / 1000), atol=1e-7, rtol=0)
    with average.swapped(layer):
        assert layer.weight.dtype == torch.bfloat16


def test_swapping_puts_the_average_in_and_everything_back() -> None:
    network = make_network()
    average = MovingAverage(network, decay=0.5)
    shift(network, 1)
    average.update(50)
    own = weights(network)
    with average.swapped(network):
        inside = weights(network)
        for name, value in average.state_dict().items():
            assert torch.equal(inside[name], value)
            assert not torch.equal(inside[name], own[name])
        for name in ("0.weight", "0.bias", "1.running_mean", "1.running_var"):
            assert torch.equal(inside[name], own[name])
        shift(network, 5)
    own["0.weight"] += 5  # frozen weights are none of its business, even here
    own["0.bias"] += 5
    assert_same(weights(network), own)


def test_weights_come_back_after_an_exception() -> None:
    network = make_network()
    average = MovingAverage(network)
    shift(network, 1)
    own = weights(network)

    def interrupted() -> None:
        with average.swapped(network):
            assert not torch.equal(network[2].weight, own["2.weight"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert_same(weights(network), own)


def test_swaps_into_a_copy() -> None:
    network = make_network()
    average = MovingAverage(network)
    other = copy.deepcopy(network)
    shift(other, 3)
    with average.swapped(other):
        assert torch.equal(other[2].weight, network[2].weight)
    assert torch.equal(other[2].weight, network[2].weight + 3)


def test_training_within_keeps_optimizers_and_gradients_valid() -> None:
    network = make_network()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    average = MovingAverage(network)
    held = network[2].weight
    with average.swapped(network):
        pass
    assert network[2].weight is held  # the same parameter, not a new one that the optimizer does not know
    before = held.detach().clone()
    torch.autograd.backward(network(torch.randn(8, 4)).square().mean())
    optimizer.step()
    assert not torch.equal(before, held)


def test_goes_on_from_a_file_of_plain_tensors(tmp_path: Path) -> None:
    network = make_network()
    average = MovingAverage(network, decay=0.8)
    shift(network, 0.3)
    average.update(0)
    torch.save(average.state_dict(), tmp_path / "average.pt")
    state = torch.load(tmp_path / "average.pt", weights_only=True)
    resumed = MovingAverage(network, decay=0.8)
    resumed.load_state_dict(state)
    for step in (1, 2):
        shift(network, 0.2)
        average.update(step)
        resumed.update(step)
    assert_same(resumed.state_dict(), average.state_dict())


def test_a_saved_state_does_not_move_on() -> None:
    network = make_network()
    average = MovingAverage(network)
    state = average.state_dict()
    kept = {name: value.clone() for name, value in state.items()}
    shift(network, 1)
    average.update(0)
    assert_same(state, kept)


def test_another_modules_state_is_refused_whole() -> None:
    average = MovingAverage(make_network())
    before = average.state_dict()
    wrong = {name: value + 1 for name, value in before.items()}
    with pytest.raises(ValueError, match=r"2\.bias is averaged, but missing here"):
        average.load_state_dict({name: value for name, value in wrong.items() if name != "2.bias"})
    with pytest.raises(ValueError, match=r"0\.bias is averaged in the saved state, but it is not trainable"):
        average.load_state_dict(wrong | {"0.bias": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"2\.bias has shape \(5,\), its average \(2,\)"):
        average.load_state_dict(wrong | {"2.bias": torch.zeros(5)})
    assert_same(average.state_dict(), before)


def test_another_module_is_refused_untouched() -> None:
    average = MovingAverage(make_network())
    other = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 7))
    before = weights(other)
    with pytest.raises(ValueError, match=r"2\.weight has shape \(7, 3\)"), average.swapped(other):
        pass
    assert_same(weights(other), before)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decay_is_a_share(decay: float) -> None:
    with pytest.raises(ValueError, match="decay is"):
        MovingAverage(make_network(), decay)


def test_something_must_be_trainable() -> None:
    with pytest.raises(ValueError, match="Linear has no trainable parameter"):
        MovingAverage(nn.Linear(2, 2).requires_grad_(False))
