"""Losses: their definitions by other means, batches that say nothing, gradients, and several processes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, distributed, nn
from torch.nn import functional

from foveal.lab.training.losses import (
    LossWeights,
    combined,
    fidelity_loss,
    gather_with_gradient,
    laplace_loss,
    margin_rank_loss,
    mse_loss,
    plcc_loss,
)

Loss = Callable[[Tensor, Tensor], Tensor]
PAIRED: dict[str, Loss] = {
    "mse": mse_loss,
    "plcc": plcc_loss,
    "rank": margin_rank_loss,
    "fidelity": fidelity_loss,
}
ALL = LossWeights(mse=1, plcc=0.3, rank=0.5, fidelity=0.2, spread=0.1)
NAN = math.nan
every_loss = pytest.mark.parametrize("loss", PAIRED.values(), ids=PAIRED.keys())
batches = st.tuples(st.integers(2, 40), st.integers(0, 10_000))


def make_batch(count: int, seed: int, *, missing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Predictions that have something of the ratings, float64; ratings in steps of 1/4, so that some tie."""
    generator = np.random.default_rng(seed)
    rated = np.round(generator.uniform(1, 5, count) * 4) / 4
    predicted = 0.5 * rated + generator.normal(0, 0.7, count)
    rated[generator.random(count) < missing] = NAN
    return torch.from_numpy(predicted), torch.from_numpy(rated)


def gradient(loss: Loss, predicted: Tensor, rated: Tensor) -> Tensor:
    predicted = predicted.clone().requires_grad_()
    torch.autograd.backward(loss(predicted, rated))
    assert predicted.grad is not None
    return predicted.grad


@given(batches)
@settings(max_examples=30, deadline=None)
def test_mse_is_the_mean_of_squares(batch: tuple[int, int]) -> None:
    predicted, rated = make_batch(*batch)
    assert float(mse_loss(predicted, rated)) == pytest.approx(float(functional.mse_loss(predicted, rated)))


@given(batches)
@settings(max_examples=30, deadline=None)
def test_plcc_loss_is_one_minus_pearsons_coefficient(batch: tuple[int, int]) -> None:
    predicted, rated = make_batch(*batch)
    if len(set(rated.tolist())) == 1:
        assert float(plcc_loss(predicted, rated)) == 0
    else:
        expected = 1 - np.corrcoef(predicted, rated)[0, 1]
        assert float(plcc_loss(predicted, rated)) == pytest.approx(expected, abs=1e-9)


def lodas_loss(predicted: Tensor, rated: Tensor) -> Tensor:
    """The loss of LoDa (CVPR 2024) from its description: z-scores, plain and scaled by their correlation."""
    a, b = ((column - column.mean()) / column.std(correction=0) for column in (predicted, rated))
    rho = (a * b).mean()
    return (((a - b) ** 2).mean() / 4 + ((rho * a - b) ** 2).mean() / 4) / 2


@given(st.integers(0, 1000), st.floats(-1, 1))
@settings(max_examples=30, deadline=None)
def test_lodas_variant_is_the_function_of_it_that_the_docstring_says(seed: int, mix: float) -> None:
    noise, rated = make_batch(20, seed)
    predicted = mix * rated + (noise - 0.5 * rated)
    rho = 1 - plcc_loss(predicted, rated)
    assert float(lodas_loss(predicted, rated)) == pytest.approx(float((1 - rho) * (3 + rho) / 8), abs=1e-9)


def test_plcc_loss_at_its_ends() -> None:
    rated = torch.tensor([1.0, 2.0, 4.0, 5.0])
    assert float(plcc_loss(2 * rated - 9, rated)) == pytest.approx(0, abs=1e-6)
    assert float(plcc_loss(-rated, rated)) == pytest.approx(2, abs=1e-6)


def test_constant_predictions_are_pulled_towards_the_ratings() -> None:
    # A head that starts with weights of 0 must not stay there for want of a gradient.
    rated = torch.tensor([1.0, 2.0, 4.0, 5.0])
    constant = torch.full((4,), 3.0)
    assert float(plcc_loss(constant, rated)) == 1
    assert float(plcc_loss(constant - 1e-4 * gradient(plcc_loss, constant, rated), rated)) < 0.5
    assert float(gradient(plcc_loss, constant, rated).norm()) < 1e4


@given(batches, st.floats(0, 1), st.floats(0, 2))
@settings(max_examples=40, deadline=None)
def test_margin_ranking_goes_over_all_pairs(batch: tuple[int, int], margin: float, threshold: float) -> None:
    predicted, rated = make_batch(*batch)
    terms = [
        max(0.0, margin - (p - q))
        for (p, r), (q, s) in itertools.permutations(zip(predicted.tolist(), rated.tolist(), strict=True), 2)
        if r - s > threshold
    ]
    loss = margin_rank_loss(predicted, rated, margin=margin, threshold=threshold)
    assert float(loss) == pytest.approx(np.mean(terms) if terms else 0.0)


def test_margin_ranking_is_content_with_the_right_order_at_a_distance() -> None:
    rated = torch.tensor([1.0, 2.0, 3.0])
    assert float(margin_rank_loss(torch.tensor([0.0, 0.2, 0.4]), rated, margin=0.1)) == 0
    assert float(margin_rank_loss(torch.tensor([0.4, 0.2, 0.0]), rated, margin=0.1)) > 0.1


@pytest.mark.parametrize("arguments", [{"margin": -0.1}, {"threshold": -1.0}, {"margin": NAN}])
def test_margin_and_threshold_are_not_negative(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected numbers from 0 up"):
        margin_rank_loss(torch.zeros(3), torch.zeros(3), **arguments)


@given(batches)
@settings(max_examples=30, deadline=None)
def test_fidelity_goes_over_all_pairs_with_thurstones_probability(batch: tuple[int, int]) -> None:
    predicted, rated = make_batch(*batch)
    terms = []
    for (p, r), (q, s) in itertools.combinations(zip(predicted.tolist(), rated.tolist(), strict=True), 2):
        probability = NormalDist().cdf((p - q) / math.sqrt(2))
        preferred = 0.5 if r == s else float(r > s)
        roots = math.sqrt(preferred * probability) + math.sqrt((1 - preferred) * (1 - probability))
        terms.append(1 - roots)
    assert float(fidelity_loss(predicted, rated)) == pytest.approx(np.mean(terms), abs=1e-9)


def test_fidelity_of_equals_and_of_opposites() -> None:
    tied = torch.tensor([3.0, 3.0])
    assert float(fidelity_loss(torch.tensor([2.0, 2.0]), tied)) == pytest.approx(0, abs=1e-6)
    assert float(fidelity_loss(torch.tensor([9.0, -9.0]), tied)) == pytest.approx(
        1 - math.sqrt(0.5), abs=1e-6
    )
    apart = torch.tensor([1.0, 5.0])
    assert float(fidelity_loss(torch.tensor([-9.0, 9.0]), apart)) == pytest.approx(0, abs=1e-6)
    assert float(fidelity_loss(torch.tensor([9.0, -9.0]), apart)) == pytest.approx(1, abs=1e-6)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_fidelity_knows_only_the_order_of_the_ratings(seed: int) -> None:
    predicted, rated = make_batch(12, seed)
    assert float(fidelity_loss(predicted, rated)) == pytest.approx(
        float(fidelity_loss(predicted, rated.exp()))
    )


def test_laplace_is_the_likelihood_of_torchs_distribution() -> None:
    predicted, rated = make_batch(50, 1)
    spread = torch.rand(50, dtype=torch.float64) + 0.1
    expected = -torch.distributions.Laplace(0, spread).log_prob(predicted - rated).mean() - math.log(2)
    assert float(laplace_loss(spread, predicted - rated)) == pytest.approx(float(expected))


def test_laplace_is_least_at_the_mean_absolute_error_and_leaves_the_errors_alone() -> None:
    error = torch.tensor([0.1, -0.5, 0.9, NAN], dtype=torch.float64, requires_grad=True)
    spread = torch.full((4,), 0.5, dtype=torch.float64, requires_grad=True)
    loss = laplace_loss(spread, error)
    torch.autograd.backward(loss)
    assert error.grad is None
    assert spread.grad is not None
    assert float(spread.grad.sum()) == pytest.approx(0)
    assert float(spread.grad[3]) == 0
    for other in (0.4, 0.6):
        assert laplace_loss(torch.full((4,), other, dtype=torch.float64), error) > loss


@every_loss
@given(batch=batches, share=st.floats(0.1, 1.0))
@settings(max_examples=20, deadline=None)
def test_rows_without_a_rating_do_not_count(loss: Loss, batch: tuple[int, int], share: float) -> None:
    predicted, rated = make_batch(*batch, missing=share)
    seen = ~rated.isnan()
    wild = torch.where(seen, predicted, 1e30)
    torch.testing.assert_close(loss(wild, rated), loss(predicted[seen], rated[seen]))
    slope = gradient(loss, wild, rated)
    torch.testing.assert_close(slope[seen], gradient(loss, predicted[seen], rated[seen]))
    assert not slope[~seen].any()


@every_loss
@pytest.mark.parametrize("ratings", [[], [NAN, NAN, NAN]], ids=["no rows", "no ratings"])
def test_nothing_gives_zero_with_a_graph(loss: Loss, ratings: list[float]) -> None:
    predicted = torch.linspace(1, 2, len(ratings)).requires_grad_()
    value = loss(predicted, torch.tensor(ratings))
    assert value.shape == ()
    assert float(value.detach()) == 0
    torch.autograd.backward(value)
    assert predicted.grad is not None
    assert not predicted.grad.any()


@pytest.mark.parametrize("name", ["plcc", "rank", "fidelity"])
def test_one_rating_says_nothing_of_order(name: str) -> None:
    predicted, rated = torch.tensor([2.0, 4.0, 1.0]), torch.tensor([NAN, 3.0, NAN])
    assert float(PAIRED[name](predicted, rated)) == 0
    assert not gradient(PAIRED[name], predicted, rated).any()


@pytest.mark.parametrize("name", ["plcc", "rank"])
@pytest.mark.parametrize("rating", [3.7, 0.1, 1e-30])
def test_equal_ratings_say_nothing_of_order(name: str, rating: float) -> None:
    predicted = torch.tensor([2.0, 4.0, 1.0, 7.0, 2.0, 0.3, 0.1])
    rated = torch.full((7,), rating)  # the rounded mean of seven 3.7 is not 3.7
    assert float(PAIRED[name](predicted, rated)) == 0
    assert not gradient(PAIRED[name], predicted, rated).any()


def test_ratings_too_close_to_tell_apart_say_nothing_of_order() -> None:
    predicted, rated = torch.tensor([2.0, 4.0, 1.0]), torch.tensor([1e-30, 2e-30, 0.0])
    assert float(plcc_loss(predicted, rated)) == 0  # squares of their differences are 0 in float32
    assert not gradient(plcc_loss, predicted, rated).any()


@every_loss
@given(
    predicted=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=12),
    rated=st.lists(st.floats(-1e6, 1e6, width=32) | st.just(NAN), min_size=12, max_size=12),
)
@settings(max_examples=40, deadline=None)
def test_value_and_gradient_are_finite(loss: Loss, predicted: list[float], rated: list[float]) -> None:
    columns = torch.tensor(predicted), torch.tensor(rated[: len(predicted)])
    assert math.isfinite(float(loss(*columns)))
    assert float(loss(*columns)) >= -1e-5
    assert bool(gradient(loss, *columns).isfinite().all())


@every_loss
def test_gradients_are_those_of_differences(loss: Loss) -> None:
    for seed in range(3):
        predicted, rated = make_batch(9, seed, missing=0.2)
        assert torch.autograd.gradcheck(lambda p, r=rated: loss(p, r), predicted.requires_grad_())


def test_gradients_of_the_spread_are_those_of_differences() -> None:
    predicted, rated = make_batch(9, 4, missing=0.2)
    spread = torch.rand(9, dtype=torch.float64).add(0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: laplace_loss(s, predicted - rated), spread)


@every_loss
def test_a_prediction_that_is_not_a_number_shows(loss: Loss) -> None:
    predicted, rated = make_batch(6, 0)
    predicted[2], rated[2] = NAN, 3.3
    assert math.isnan(float(loss(predicted, rated)))


@every_loss
def test_descending_brings_order(loss: Loss) -> None:
    predicted, rated = make_batch(30, 7)
    before = np.corrcoef(predicted, rated)[0, 1]
    for _ in range(100):
        predicted = predicted - 0.5 * gradient(loss, predicted, rated)
    assert np.corrcoef(predicted, rated)[0, 1] > before + 0.3 * (1 - before)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(loss: Loss, dtype: torch.dtype) -> None:
    predicted, rated = make_batch(300, 2)
    half = (500 * predicted).to(dtype)  # squares overflow in float16
    value = loss(half, 500 * rated)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(half.float(), (500 * rated).float()))
    assert gradient(loss, half, 500 * rated).dtype == dtype


@every_loss
def test_columns_of_other_shapes_are_refused(loss: Loss) -> None:
    # (n, 1) against (n,) would broadcast to n x n and train on nonsense.
    with pytest.raises(ValueError, match=r"one column is \(4, 1\), the other \(4,\)"):
        loss(torch.zeros(4, 1), torch.zeros(4))
    with pytest.raises(ValueError, match=r"\(3,\), the other \(4,\)"):
        loss(torch.zeros(3), torch.zeros(4))


@pytest.mark.parametrize("weight", [-0.1, NAN, math.inf])
def test_weights_are_finite_and_not_negative(weight: float) -> None:
    with pytest.raises(ValueError, match="the weight of plcc is"):
        LossWeights(plcc=weight)


def test_some_weight_must_be_positive() -> None:
    with pytest.raises(ValueError, match="nothing would be learnt"):
        LossWeights(mse=0)


def make_targets() -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, spreads and ratings of two targets on different scales, some unrated: (20, 2) each."""
    columns = [make_batch(20, seed, missing=0.2) for seed in (0, 1)]
    predicted = torch.stack([columns[0][0], 20 * columns[1][0]], dim=1)
    rated = torch.stack([columns[0][1], 20 * columns[1][1]], dim=1)
    return predicted, torch.rand(20, 2, dtype=torch.float64) + 0.1, rated


def test_targets_are_compared_each_within_its_column() -> None:
    predicted, spread, rated = make_targets()
    parts = combined(predicted, spread, rated, ALL, margin=0.4, threshold=0.7)
    assert list(parts) == ["mse", "plcc", "rank", "fidelity", "spread"]
    for name, weight in ALL.items():
        columns = []
        for k in range(2):
            p, r = predicted[:, k], rated[:, k]
            if name == "spread":
                columns.append(laplace_loss(spread[:, k], p - r))
            elif name == "rank":
                columns.append(margin_rank_loss(p, r, margin=0.4, threshold=0.7))
            else:
                columns.append(PAIRED[name](p, r))
        torch.testing.assert_close(parts[name], weight * (columns[0] + columns[1]) / 2)


def test_losses_without_weight_are_left_out() -> None:
    predicted, _, rated = make_targets()
    parts = combined(predicted, None, rated, LossWeights(mse=0, plcc=2, fidelity=0.5))
    assert list(parts) == ["plcc", "fidelity"]


def test_a_target_that_nobody_is_rated_for_does_not_raise_the_others() -> None:
    predicted, spread, rated = make_targets()
    alone = combined(predicted[:, :1], spread[:, :1], rated[:, :1], ALL)
    rated[:, 1] = NAN
    both = combined(predicted, spread, rated, ALL)
    for name in alone:
        torch.testing.assert_close(both[name], alone[name] / 2)


def test_the_sum_trains_predictions_and_spreads() -> None:
    predicted, spread, rated = make_targets()
    predicted.requires_grad_()
    spread.requires_grad_()
    torch.autograd.backward(sum(combined(predicted, spread, rated, ALL).values(), torch.zeros(())))
    for column in (predicted, spread):
        assert column.grad is not None
        torch.testing.assert_close(column.grad != 0, ~rated.isnan())


def test_targets_of_other_shapes_are_refused() -> None:
    predicted, spread, rated = make_targets()
    with pytest.raises(ValueError, match=r"predicted is \(20, 2\) and rated \(20, 1\)"):
        combined(predicted, spread, rated[:, :1], ALL)
    with pytest.raises(ValueError, match=r"expected \(batch, targets\) both"):
        combined(predicted[:, 0], None, rated[:, 0], LossWeights())
    with pytest.raises(ValueError, match=r"expected \(batch, targets\) both"):
        combined(predicted[:, :0], None, rated[:, :0], LossWeights())
    with pytest.raises(ValueError, match=r"spread is missing, expected \(20, 2\)"):
        combined(predicted, None, rated, ALL)
    with pytest.raises(ValueError, match=r"spread is \(20,\), expected \(20, 2\)"):
        combined(predicted, spread[:, 0], rated, ALL)


def test_gathering_in_one_process_is_the_tensor_itself() -> None:
    tensor = torch.ones(3, requires_grad=True)
    assert gather_with_gradient(tensor) is tensor


@pytest.fixture
def group_of_one() -> Iterator[None]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
def test_a_group_of_one_changes_nothing() -> None:
    predicted, rated = make_batch(8, 3)
    torch.testing.assert_close(gather_with_gradient(rated), rated)

    def gathered(p: Tensor, r: Tensor) -> Tensor:
        return plcc_loss(gather_with_gradient(p), gather_with_gradient(r))

    torch.testing.assert_close(gradient(gathered, predicted, rated), gradient(plcc_loss, predicted, rated))


RANKS, ROWS = 2, 6


def make_training() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    inputs = torch.randn(RANKS * ROWS, 5, dtype=torch.float64)
    rated = torch.randn(RANKS * ROWS, 1, dtype=torch.float64)
    rated[3] = NAN
    return network, inputs, rated


def whole_loss(outputs: Tensor, rated: Tensor) -> Tensor:
    parts = combined(outputs[:, :1], outputs[:, 1:].exp(), rated, ALL, margin=0.5)
    return torch.stack(list(parts.values())).sum()


def train_on_a_part(rank: int, folder: str) -> None:
    """What one process of a distributed training does in a step."""
    store = distributed.FileStore(f"{folder}/store", RANKS)
    distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=RANKS, timeout=timedelta(seconds=100)
    )
    network, inputs, rated = make_training()
    own = slice(rank * ROWS, (rank + 1) * ROWS)
    wrapped = nn.parallel.DistributedDataParallel(network)  # which reduces gradients as long as it lives
    outputs = wrapped(inputs[own])
    loss = whole_loss(gather_with_gradient(outputs), gather_with_gradient(rated[own]))
    torch.autograd.backward(loss)
    torch.save([loss.detach(), *(p.grad for p in network.parameters())], f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    network, inputs, rated = make_training()
    loss = whole_loss(network(inputs), rated)
    torch.autograd.backward(loss)
    expected = [loss.detach(), *(p.grad for p in network.parameters())]
    torch.multiprocessing.spawn(train_on_a_part, (str(tmp_path),), nprocs=RANKS)
    for rank in range(RANKS):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt", weights_only=True), expected)
