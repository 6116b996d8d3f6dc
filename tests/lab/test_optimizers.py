"""Muon: the orthogonal factor that it approximates, the steps that it takes, and what it is given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foveal.lab.models.compact import CompactConfig, CompactNet
from foveal.lab.training.distill import Student
from foveal.lab.training.optimizers import Muon, orthogonalise, split_parameters

# Image of [0.002, 1] under five steps of the quintic, found by evaluating it at 200,000 points.
LEAST, MOST = 0.68, 1.21


def known_matrix(rows: int, columns: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A matrix with its left and right singular vectors; its values lie within a decade of each other."""
    generator = np.random.default_rng(seed)
    rank = min(rows, columns)
    left, right = (np.linalg.qr(generator.normal(size=(size, rank)))[0] for size in (rows, columns))
    values = generator.uniform(0.1, 1, rank) * 10.0 ** generator.integers(-3, 4)
    matrix = (left * values) @ right.T
    return torch.from_numpy(matrix), torch.from_numpy(left), torch.from_numpy(right)


sizes = st.integers(1, 24)


@given(sizes, sizes, st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_singular_values_near_one_and_the_same_singular_vectors(rows: int, columns: int, seed: int) -> None:
    matrix, left, right = known_matrix(rows, columns, seed)
    result = orthogonalise(matrix)
    assert result.shape == matrix.shape
    core = left.T @ result @ right
    values = torch.diagonal(core)
    assert values.min() >= LEAST
    assert values.max() <= MOST
    torch.testing.assert_close(core, torch.diag(values), atol=1e-9, rtol=0)
    torch.testing.assert_close(left @ core @ right.T, result, atol=1e-9, rtol=0)  # and nothing beside them


@given(sizes, sizes, st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_orientation_and_size_do_not_matter(rows: int, columns: int, seed: int) -> None:
    matrix, _, _ = known_matrix(rows, columns, seed)
    result = orthogonalise(matrix)
    torch.testing.assert_close(orthogonalise(matrix.T), result.T, atol=1e-9, rtol=0)
    torch.testing.assert_close(orthogonalise(1000 * matrix), result, atol=1e-3, rtol=0)


def test_a_zero_gradient_moves_nothing() -> None:
    assert torch.equal(orthogonalise(torch.zeros(3, 5)), torch.zeros(3, 5))


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 3, 3, 3), (64, 4, 1, 1)])
def test_a_step_has_the_length_that_is_promised(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(shape))
    before = kernel.detach().clone()
    kernel.grad = torch.randn(shape) * 1e-4  # the size of the gradient must not matter
    Muon([kernel], lr=0.1).step()
    step = (kernel.detach() - before).reshape(shape[0], -1)
    tall = max(1.0, step.shape[0] / step.shape[1]) ** 0.5
    values = torch.linalg.svdvals(step / (0.1 * tall))
    assert values.max() <= MOST
    assert values.min() >= LEAST
    assert torch.sum(step * kernel.grad.reshape(shape[0], -1)) < 0  # downhill


def test_weight_decay_shrinks_by_the_product_of_rate_and_decay() -> None:
    kernel = nn.Parameter(torch.full((3, 4), 2.0))
    kernel.grad = torch.zeros(3, 4)
    Muon([kernel], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(kernel.detach(), torch.full((3, 4), 2.0 * (1 - 0.05)))


def test_parameters_without_a_gradient_stay() -> None:
    still, moved = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    moved.grad = torch.eye(2)
    Muon([still, moved], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(still.detach(), torch.ones(2, 2))
    assert not torch.equal(moved.detach(), torch.ones(2, 2))


def test_momentum_outlives_the_gradient_that_made_it() -> None:
    kernel = nn.Parameter(torch.zeros(2, 2))
    optimizer = Muon([kernel], lr=0.1, momentum=0.9)
    kernel.grad = torch.eye(2)
    optimizer.step()
    after_one = kernel.detach().clone()
    kernel.grad = torch.zeros(2, 2)
    optimizer.step()
    assert (kernel.detach() - after_one).diagonal().max() < -0.05


def test_fits_a_linear_map() -> None:
    torch.manual_seed(0)
    wanted = torch.randn(6, 10)
    layer = nn.Linear(10, 6, bias=False)
    optimizer = Muon([layer.weight], lr=0.05)
    losses = []
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / 200)
        inputs = torch.randn(32, 10)
        loss = (layer(inputs) - inputs @ wanted.T).square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < 0.01 * losses[0]


def test_its_state_survives_saving() -> None:
    def run(interrupted: bool) -> torch.Tensor:
        torch.manual_seed(1)
        kernel = nn.Parameter(torch.randn(4, 6))
        optimizer = Muon([kernel], lr=0.1)
        for step in range(4):
            if interrupted and step == 2:
                state = optimizer.state_dict()
                optimizer = Muon([kernel], lr=0.7)
                optimizer.load_state_dict(state)
            kernel.grad = torch.randn(4, 6)
            optimizer.step()
        return kernel.detach()

    assert torch.equal(run(interrupted=True), run(interrupted=False))


@pytest.mark.parametrize("wrapped", [False, True])
def test_every_parameter_goes_to_one_optimizer(tiny_config: CompactConfig, wrapped: bool) -> None:
    network: nn.Module = CompactNet(tiny_config)
    if wrapped:
        network = Student(CompactNet(tiny_config), tokens=4, pooled=6)
    kernels, others = split_parameters(network)
    numbers = [id(parameter) for parameter in kernels + others]
    assert sorted(numbers) == sorted(id(parameter) for parameter in network.parameters())
    assert {kernel.ndim for kernel in kernels} == {4}
    assert all(parameter.ndim < 4 for parameter in others)
