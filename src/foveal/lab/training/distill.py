"""Distillation of a frozen vision transformer and of human ratings into the compact network.

Three teachers speak at once: the transformer's patch tokens (dense, 49 places a view: most of the signal),
its pooled features, and people, through mean opinion scores blended with the prediction of a head fitted on
the transformer's features by cross-validation, which takes the raters' noise away. Degraded series add what
ratings of single photographs do not teach: a damaged copy must score below its original.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from foveal.lab.models.compact import CompactNet, pool_maps
from foveal.lab.training.loss_log import LossLog
from foveal.lab.training.optimizers import Muon, split_parameters


@dataclass(frozen=True)
class DistillConfig:
    """One run. Steps count batches; a batch holds ``pairs`` whole views and as many fragment views."""

    steps: int = 6000
    decay_steps: int = 1500
    warmup_steps: int = 100
    small_steps: int = 3500
    small_side: int = 160
    rated: int = 17
    unrated: int = 3
    series: int = 4
    muon_lr: float = 0.02
    adam_lr: float = 2e-3
    weight_decay: float = 0.02
    token_weight: float = 1.0
    pooled_weight: float = 1.0
    quality_weight: float = 1.0
    rank_weight: float = 0.5
    rank_margin: float = 0.15
    log_every: int = 50
    checkpoint_every: int = 250
    seed: int = 1

    @property
    def pairs(self) -> int:
        """Images in a batch."""
        return self.rated + self.unrated + 3 * self.series

    def rate(self, step: int) -> float:
        """Learning rate factor: linear warm-up, a plateau, linear decay to zero."""
        return min(1.0, (step + 1) / self.warmup_steps, (self.steps - step) / self.decay_steps)


@dataclass(frozen=True)
class Bank:
    """Everything a run reads: memory-mapped views, targets, and which rows make a pair.

    Attributes:
        pixels: uint8 (views, 224, 224, 3).
        tokens: float16 (views, 7, 7, components), scaled to comparable variance.
        pooled: float32 (views, components), likewise.
        whole: rows of the whole views of each source.
        fragments: rows of the fragment views of each source.
        target: quality target on 1-5 of each source.
        rated: sources with human ratings; unrated: without.
        series: (clean source, mild pair, strong pair), a pair being (whole row, fragment row, target).
    """

    pixels: NDArray[np.uint8]
    tokens: NDArray[np.float16]
    pooled: NDArray[np.float32]
    whole: list[list[int]]
    fragments: list[list[int]]
    target: NDArray[np.float32]
    rated: NDArray[np.int64]
    unrated: NDArray[np.int64]
    series: list[tuple[int, tuple[int, int, float], tuple[int, int, float]]]


@dataclass(frozen=True)
class Batch:
    """Rows of one step: the last three ``series`` blocks are clean, mild and strong copies in that order."""

    whole: NDArray[np.int64]
    fragments: NDArray[np.int64]
    target: Tensor
    series: int


def draw_batch(bank: Bank, config: DistillConfig, generator: np.random.Generator) -> Batch:
    """Draw rated and unrated images and degraded series, with a random draw of each view."""
    picks = [bank.series[i] for i in generator.integers(0, len(bank.series), config.series)]
    sources = np.concatenate([
        generator.choice(bank.rated, config.rated, replace=False),
        generator.choice(bank.unrated, config.unrated, replace=False),
        np.array([pick[0] for pick in picks], dtype=np.int64),
    ])  # fmt: skip
    whole = [int(generator.choice(bank.whole[source])) for source in sources]
    fragments = [int(generator.choice(bank.fragments[source])) for source in sources]
    target = [float(bank.target[source]) for source in sources]
    for strength in (1, 2):
        for pick in picks:
            row_whole, row_fragments, score = pick[strength]
            whole.append(row_whole)
            fragments.append(row_fragments)
            target.append(score)
    return Batch(np.array(whole), np.array(fragments), torch.tensor(target), config.series)


class Student(nn.Module):
    """The network with the projections onto the teacher's features, which are thrown away afterwards."""

    def __init__(self, network: CompactNet, tokens: int, pooled: int) -> None:
        super().__init__()
        self.network = network
        widths = network.config.widths
        features = 2 * sum(widths[1:])
        self.to_tokens = nn.Conv2d(widths[2] + widths[3], tokens, 1)
        self.to_pooled = nn.Sequential(nn.BatchNorm1d(features), nn.Linear(features, pooled))

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """uint8 views (2 n, side, side, 3), whole first -> tokens (2 n, h, w, c), pooled (2 n, c), scores."""
        images = self.network.normalise(views).contiguous(memory_format=torch.channels_last)
        maps = self.network.trunk(images)
        deep = torch.cat([functional.avg_pool2d(maps[2], 2), maps[3]], dim=1)
        pooled = pool_maps(maps)
        half = len(views) // 2
        quality, _ = self.network.judge(pooled[:half], pooled[half:])
        return self.to_tokens(deep).permute(0, 2, 3, 1), self.to_pooled(pooled), quality


def read_batch(
    bank: Bank, batch: Batch, side: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Views and targets of a batch; at a smaller side, an aligned window of both."""
    rows = np.concatenate([batch.whole, batch.fragments])
    order = np.argsort(rows)
    back = np.argsort(order)
    views = bank.pixels[rows[order]][back]
    tokens = bank.tokens[rows[order]][back].astype(np.float32)
    pooled = bank.pooled[rows]
    cells = side // 32
    top, left = generator.integers(0, 8 - cells, 2)
    views = views[:, 32 * top : 32 * (top + cells), 32 * left : 32 * (left + cells)]
    tokens = tokens[:, top : top + cells, left : left + cells]
    if generator.random() < 0.5:
        views, tokens = views[:, :, ::-1], tokens[:, :, ::-1]
    return (
        torch.from_numpy(np.ascontiguousarray(views)),
        torch.from_numpy(np.ascontiguousarray(tokens)),
        torch.from_numpy(pooled),
    )


def losses(
    outputs: tuple[Tensor, Tensor, Tensor],
    targets: tuple[Tensor, Tensor, Tensor],
    config: DistillConfig,
    series: int,
) -> dict[str, Tensor]:
    """The four terms, unweighted: tokens, pooled, quality, rank."""
    tokens, pooled, quality = outputs
    parts = {
        "tokens": functional.mse_loss(tokens, targets[0]),
        "pooled": functional.mse_loss(pooled, targets[1]),
        "quality": functional.smooth_l1_loss(quality, targets[2], beta=0.5),
    }
    clean, mild, strong = torch.split(quality[-3 * series :], series)
    parts["rank"] = (
        functional.relu(mild - clean + config.rank_margin).mean()
        + functional.relu(strong - mild + config.rank_margin).mean()
    )
    return parts


def distill(
    network: CompactNet, bank: Bank, config: DistillConfig, folder: Path, *, compiled: bool = True
) -> CompactNet:
    """Train, with a checkpoint every few hundred steps from which a killed run goes on.

    Args:
        network: from random initialisation.
        bank: views and targets.
        config: the run.
        folder: for ``checkpoint.pt``, ``log.csv`` and ``config.json``.
        compiled: use ``torch.compile`` (needs a C++ compiler).

    Returns:
        The trained network, in evaluation mode.
    """
    torch.manual_seed(config.seed)
    student = Student(network, bank.tokens.shape[-1], bank.pooled.shape[-1])
    for kernel in student.parameters():
        if kernel.ndim == 4:
            kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)
    kernels, others = split_parameters(student)
    muon = Muon(kernels, lr=config.muon_lr, weight_decay=config.weight_decay)
    adam = torch.optim.AdamW(others, lr=config.adam_lr, weight_decay=config.weight_decay)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps(asdict(config) | {"network": network.config.to_dict()}, indent=1)
    )
    first = _resume(folder, student, muon, adam)
    run = torch.compile(student) if compiled else student
    log = LossLog(folder / "log.csv", config.log_every, first)
    for step, (views, targets, series) in enumerate(_batches(bank, config, first), start=first):
        for optimizer, rate in ((muon, config.muon_lr), (adam, config.adam_lr)):
            for group in optimizer.param_groups:
                group["lr"] = rate * config.rate(step)
        parts = losses(run(views), targets, config, series)
        total = (
            config.token_weight * parts["tokens"]
            + config.pooled_weight * parts["pooled"]
            + config.quality_weight * parts["quality"]
            + config.rank_weight * parts["rank"]
        )
        _descend(total, step, (muon, adam))
        log.add(step + 1, parts)
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            _save(folder, step + 1, student, muon, adam)
    return network.eval()


def load_network(folder: Path, network: CompactNet) -> None:
    """Fill a network with the weights of the last checkpoint in ``folder``."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)["student"]
    prefix = "network."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})


def _batches(
    bank: Bank, config: DistillConfig, first: int
) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor, Tensor], int]]:
    """Batches from step ``first`` on; each depends on the seed and its own number alone."""
    for step in range(first, config.steps):
        generator = np.random.default_rng([config.seed, step])
        batch = draw_batch(bank, config, generator)
        side = config.small_side if step < config.small_steps else bank.pixels.shape[1]
        views, tokens, pooled = read_batch(bank, batch, side, generator)
        yield views, (tokens, pooled, batch.target), batch.series


def _save(folder: Path, step: int, student: nn.Module, muon: Muon, adam: torch.optim.Optimizer) -> None:
    state = {
        "step": step,
        "student": student.state_dict(),
        "muon": muon.state_dict(),
        "adam": adam.state_dict(),
    }
    torch.save(state, folder / "checkpoint.tmp")
    (folder / "checkpoint.tmp").replace(folder / "checkpoint.pt")


def _resume(folder: Path, student: nn.Module, muon: Muon, adam: torch.optim.Optimizer) -> int:
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    student.load_state_dict(state["student"])
    muon.load_state_dict(state["muon"])
    adam.load_state_dict(state["adam"])
    return int(state["step"])


def _descend(total: Tensor, step: int, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Take one step down a finite loss."""
    if not math.isfinite(float(total.detach())):
        raise FloatingPointError(f"the loss is {float(total.detach())} at step {step}")
    torch.autograd.backward(total)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
