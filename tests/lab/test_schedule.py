"""The learning rate over a run: its two halves, their ends, and torch's own cosine as a witness."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foveal.lab.training.schedule import cosine_schedule, cosine_with_warmup

runs = st.integers(1, 120).flatmap(lambda total: st.tuples(st.just(total), st.integers(0, total - 1)))


def rates(total: int, warmup: int) -> list[float]:
    return [cosine_with_warmup(step, total, warmup) for step in range(total)]


@given(runs)
@settings(max_examples=40, deadline=None)
def test_rises_to_one_and_falls_to_zero(run: tuple[int, int]) -> None:
    total, warmup = run
    factors = rates(total, warmup)
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[warmup] == 1
    assert factors[: warmup + 1] == sorted(factors[: warmup + 1])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert cosine_with_warmup(total, total, warmup) == 0
    assert cosine_with_warmup(total + 7, total, warmup) == 0


@given(runs)
@settings(max_examples=40, deadline=None)
def test_warms_up_in_equal_steps(run: tuple[int, int]) -> None:
    total, warmup = run
    factors = [0.0, *rates(total, warmup)[: warmup + 1]]
    for before, after in itertools.pairwise(factors):
        assert after - before == pytest.approx(1 / (warmup + 1))


def test_without_warmup_it_is_torchs_cosine_stepped_with_every_batch() -> None:
    layer = nn.Linear(1, 1)
    witness = torch.optim.SGD(layer.parameters(), lr=0.3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(witness, T_max=40)
    for step in range(40):
        assert 0.3 * cosine_with_warmup(step, 40) == pytest.approx(witness.param_groups[0]["lr"], abs=1e-9)
        witness.step()
        cosine.step()


def test_golden_values() -> None:
    # By hand: thirds of a warm-up of two steps, then cos at 0, 1/4, 1/2 and 3/4 of a half turn.
    half = math.sqrt(0.5)
    expected = [1 / 3, 2 / 3, 1, (1 + half) / 2, 0.5, (1 - half) / 2]
    assert rates(6, 2) == pytest.approx(expected)


@pytest.mark.parametrize(("total", "warmup"), [(0, 0), (5, 5), (5, 9), (5, -1), (-3, 0)])
def test_a_warmup_must_leave_steps(total: int, warmup: int) -> None:
    with pytest.raises(ValueError, match=rf"takes {warmup} of {total} steps"):
        cosine_with_warmup(0, total, warmup)


def test_a_step_is_not_negative() -> None:
    with pytest.raises(ValueError, match="step is -1"):
        cosine_with_warmup(-1, 10)


def test_scales_every_group_of_an_optimizer_and_goes_on_from_its_state() -> None:
    def build() -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in (0.2, 0.001)]
        optimizer = torch.optim.AdamW(groups)
        return optimizer, cosine_schedule(optimizer, 12, 3)

    def lrs(optimizer: torch.optim.Optimizer) -> list[float]:
        return [group["lr"] for group in optimizer.param_groups]

    optimizer, schedule = build()
    for step in range(12):
        if step == 5:
            states = optimizer.state_dict(), schedule.state_dict()
            optimizer, schedule = build()
            optimizer.load_state_dict(states[0])
            schedule.load_state_dict(states[1])
        factor = cosine_with_warmup(step, 12, 3)
        assert lrs(optimizer) == pytest.approx([0.2 * factor, 0.001 * factor])
        optimizer.step()
        schedule.step()
    assert lrs(optimizer) == [0, 0]
