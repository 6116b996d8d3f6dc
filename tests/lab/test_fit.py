"""The training loop: exact seeds, resuming after a kill, several processes, early stopping, bad input."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foveal.lab.models.base import Judgement, JudgementHead
from foveal.lab.training.checkpoint import CheckpointError
from foveal.lab.training.config import TrainingConfig
from foveal.lab.training.feature_rows import FeatureRows
from foveal.lab.training.fit import CHECKPOINT, FitResult, fit
from foveal.lab.training.judging import judge
from foveal.lab.training.losses import LossWeights

LOSSES = LossWeights(mse=1.0, plcc=0.5, rank=0.1, fidelity=0.1, spread=0.1)
CONFIG = TrainingConfig(epochs=3, batch=8, lr=0.02, ema=0.9, seed=4, losses=LOSSES, checkpoint_steps=3)


class Head(nn.Module):
    """A small network with dropout on features of one view."""

    def __init__(self, dropout: float = 0.2, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.hidden = nn.Linear(6, 12)
        self.dropout = nn.Dropout(dropout)
        self.head = JudgementHead(12)

    def forward(self, views: Mapping[str, Tensor]) -> Judgement:
        judgement: Judgement = self.head(self.dropout(torch.tanh(self.hidden(views["whole"]))))
        return judgement


def rows(count: int, seed: int, *, draws: int = 2) -> FeatureRows:
    """Features whose first two columns decide on the rating, with a little noise in each draw."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randn(count, 6, generator=generator)
    rated = 3 + 0.5 * clean[:, :1] - 0.3 * clean[:, 1:2]
    return FeatureRows(
        {"whole": [clean + 0.05 * torch.randn(count, 6, generator=generator) for _ in range(draws)]},
        rated.clamp(1, 5),
        seed,
    )


def run(
    folder: Path,
    config: TrainingConfig = CONFIG,
    head: Head | None = None,
    learnt: FeatureRows | None = None,
    **options: Any,
) -> tuple[Head, FitResult]:
    """Train on 44 images (5 steps an epoch), validate on 30."""
    head, learnt = head or Head(), learnt or rows(44, 1)
    groups = {"hidden": list(head.hidden.parameters()), "head": list(head.head.parameters())}
    return head, fit(head, groups, learnt, rows(30, 2), config, folder=folder, cpu=True, **options)


def weights(head: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in head.parameters()])


def test_it_learns(tmp_path: Path) -> None:
    head, result = run(tmp_path, replace(CONFIG, epochs=20))
    assert result.validation["srcc"] > 0.9
    assert result.epochs[0].losses["mse"] > 5 * result.epochs[-1].losses["mse"]
    assert list(result.epochs[0].losses) == ["mse", "plcc", "rank", "fidelity", "spread"]
    quality, spread = judge(head, rows(30, 2))
    assert quality.shape == spread.shape == (30, 1)
    # The weights left in the network are those of the best epoch, averaged.
    best = max(result.epochs, key=lambda epoch: epoch.validation["srcc"])
    assert result.best == best.epoch
    rated = rows(30, 2).rated.numpy()[:, 0]
    ranks = [np.argsort(np.argsort(column)) for column in (quality[:, 0], rated)]
    assert np.corrcoef(*ranks)[0, 1] == pytest.approx(result.validation["srcc"], abs=1e-9)


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not(tmp_path: Path) -> None:
    first, _ = run(tmp_path / "a")
    second, _ = run(tmp_path / "b", replace(CONFIG, workers=3, checkpoint_steps=100, validation_batch=7))
    other, _ = run(tmp_path / "c", replace(CONFIG, seed=5))
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))


class StopError(Exception):
    """Raised in the middle of a run."""


@pytest.mark.parametrize("at", [1, 3, 4, 5, 8, 11])
def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path: Path, at: int) -> None:
    def stop(step: int, steps: int, what: str) -> None:
        assert steps == 15
        if step == at:
            raise StopError

    whole, expected = run(tmp_path / "whole")
    with pytest.raises(StopError):
        run(tmp_path / "cut", progress=stop)
    # Other random weights to begin with must not matter once there is a checkpoint (first after step 3).
    head, result = run(tmp_path / "cut", head=Head(seed=0 if at <= 3 else 99))
    assert torch.equal(weights(head), weights(whole))
    assert result == expected
    for name in ("steps.csv", "epochs.csv"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    head, result = run(tmp_path)
    steps: list[int] = []
    again, same = run(tmp_path, head=Head(seed=99), progress=lambda step, *_: steps.append(step))
    assert not steps
    assert same == result
    assert torch.equal(weights(head), weights(again))


def test_another_recipe_or_other_ratings_do_not_go_on(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(CheckpointError, match="other settings or other data"):
        run(tmp_path, replace(CONFIG, lr=0.01))
    head = Head()
    with pytest.raises(CheckpointError, match="other settings or other data"):
        fit(
            head,
            {"all": list(head.parameters())},
            rows(44, 3),
            rows(30, 2),
            CONFIG,
            folder=tmp_path,
            cpu=True,
        )


def test_micro_batches_add_up_to_the_batch(tmp_path: Path) -> None:
    # Only the squared error is a mean over images; the others compare images within a micro-batch.
    config = replace(CONFIG, epochs=1, ema=0.0, losses=LossWeights(mse=1.0))
    whole, _ = run(tmp_path / "a", config, Head(0.0))
    micro, _ = run(tmp_path / "b", replace(config, accumulate=4), Head(0.0))
    torch.testing.assert_close(weights(whole), weights(micro), rtol=1e-4, atol=1e-5)


def test_groups_have_rates_of_their_own(tmp_path: Path) -> None:
    before = Head()
    head, _ = run(tmp_path, replace(CONFIG, epochs=1, ema=0.0, group_lr={"hidden": 1e-12}))
    torch.testing.assert_close(head.hidden.weight, before.hidden.weight, rtol=0, atol=1e-9)
    assert (head.head.quality.weight - before.head.quality.weight).abs().max() > 1e-3
    with pytest.raises(ValueError, match="group_lr names 'tail'; groups are hidden, head"):
        run(tmp_path / "b", replace(CONFIG, group_lr={"tail": 0.1}))


def test_patience_ends_a_run_that_gets_no_better(tmp_path: Path) -> None:
    # At this rate nothing changes after the first epoch, which so remains the best.
    config = replace(CONFIG, epochs=9, patience=2, lr=1e-12, ema=0.0)
    _, result = run(tmp_path, config)
    assert result.stopped_early
    assert (result.best, len(result.epochs)) == (1, 3)
    assert run(tmp_path, config)[1] == result


def test_a_constant_network_agrees_with_nobody_and_ends_nothing(tmp_path: Path) -> None:
    head = Head()
    nn.init.zeros_(head.head.quality.weight)
    _, result = run(tmp_path, replace(CONFIG, epochs=1, lr=1e-30, ema=0.0), head)
    assert result.validation == {"srcc": 0.0, "plcc": 0.0}


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    head = Head()
    with torch.no_grad():
        head.head.quality.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="the loss is nan at step 1; lower lr"):
        run(tmp_path, CONFIG, head)


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    head = Head()
    with pytest.raises(ValueError, match="5 training images do not fill one batch of 8"):
        fit(
            head, {"all": list(head.parameters())}, rows(5, 1), rows(30, 2), CONFIG, folder=tmp_path, cpu=True
        )


def test_missing_ratings_of_one_target_do_not_count(tmp_path: Path) -> None:
    source = rows(44, 1)
    source.rated[::3] = float("nan")
    head = Head()
    result = fit(
        head, {"all": list(head.parameters())}, source, rows(30, 2), CONFIG, folder=tmp_path, cpu=True
    )
    assert np.isfinite(list(result.epochs[-1].losses.values())).all()
    assert torch.isfinite(weights(head)).all()


@pytest.mark.parametrize("precision", ["bf16"])
def test_mixed_precision_learns_too(tmp_path: Path, precision: Any) -> None:
    _, result = run(tmp_path, replace(CONFIG, epochs=20, precision=precision))
    assert result.validation["srcc"] > 0.85


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0, expected 1 or more"),
        ({"batch": 1}, "batch is 1, expected 2 or more"),
        ({"accumulate": 3}, "a batch of 8 cannot be divided into 3"),
        ({"accumulate": 8}, "a batch of 8 cannot be divided into 8"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"group_lr": {"head": -1.0}}, "group_lr.head is -1.0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"clip": float("inf")}, "clip is inf"),
        ({"warmup": 1.0}, "warmup is 1.0"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"precision": "fp8"}, "precision is 'fp8', expected fp32, bf16, fp16"),
        ({"select": "krcc"}, "select is 'krcc'"),
        ({"patience": -1}, "patience is -1"),
        ({"draws": 0}, "draws is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


SCRIPT = """
    import os, sys, time
    sys.path.insert(0, {tests!r})
    import torch
    torch.set_num_threads(1)
    from test_fit import *

    folder, pause, dropout = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    config = replace(CONFIG, checkpoint_steps=1)
    head, result = run(folder, config, Head(dropout), progress=lambda *_: time.sleep(pause))
    done = {{"weights": weights(head), "srcc": result.validation["srcc"]}}
    if int(os.environ.get("RANK", 0)) == 0:
        torch.save(done, folder / "done.pt")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SCRIPT.format(tests=str(Path(__file__).parent))), encoding="utf-8")
    return path


@pytest.mark.slow
def test_kill_minus_nine_loses_nothing(tmp_path: Path, script: Path) -> None:
    expected, _ = run(tmp_path / "whole", replace(CONFIG, checkpoint_steps=1))
    folder = tmp_path / "killed"
    checkpoint = folder / CHECKPOINT
    for pause in (0.2, 0.15, 0.25):
        seen = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen([sys.executable, script, folder, str(pause), "0.2"])
        while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == seen:
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(2 * pause)  # at any moment of a step, or within the writing of a checkpoint
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert not (folder / "done.pt").exists()
    subprocess.run([sys.executable, script, folder, "0", "0.2"], check=True)
    assert torch.equal(torch.load(folder / "done.pt", weights_only=True)["weights"], weights(expected))


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path, script: Path) -> None:
    """Started by ``accelerate launch`` on two CPUs, with every loss that compares images."""
    expected, result = run(tmp_path / "one", replace(CONFIG, checkpoint_steps=1), Head(0.0))
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    subprocess.run([*command, str(script), str(tmp_path / "two"), "0", "0", ""], check=True)
    done = torch.load(tmp_path / "two" / "done.pt", weights_only=True)
    torch.testing.assert_close(done["weights"], weights(expected), rtol=1e-4, atol=1e-5)
    assert done["srcc"] == pytest.approx(result.validation["srcc"], abs=0.01)
