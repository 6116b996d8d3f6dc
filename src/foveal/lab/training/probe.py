"""A probe on frozen features: a small network from the teacher's pooled tokens of both views to quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from foveal.lab.training.losses import plcc_loss

Features = NDArray[np.float32]


@dataclass(frozen=True)
class ProbeConfig:
    """How a probe is trained: AdamW, one cycle, dropout in place of early stopping."""

    hidden: int = 192
    dropout: float = 0.4
    epochs: int = 25
    batch: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.05
    correlation_weight: float = 0.3


def fit_probe(
    pairs: Sequence[tuple[Features, Features]], quality: Features, config: ProbeConfig, seed: int
) -> nn.Module:
    """Fit quality on 1-5 from features of both views.

    Args:
        pairs: draws of (whole, fragments) features, each float32 (n, d), standardised; a batch takes a draw
            of each image at random.
        quality: float32 (n,).
        config: the recipe.
        seed: of initialisation and order.

    Returns:
        A module from (batch, 2 d) to (batch,), in evaluation mode.
    """
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    width = pairs[0][0].shape[1]
    output = nn.Linear(config.hidden, 1)
    nn.init.constant_(output.bias, float(quality.mean()))
    probe = nn.Sequential(
        nn.Dropout(config.dropout), nn.Linear(2 * width, config.hidden), nn.GELU(),
        nn.Dropout(config.dropout), output, nn.Flatten(0),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(probe.parameters(), config.lr, weight_decay=config.weight_decay)
    steps = max(1, config.epochs * len(quality) // config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps)
    for _ in range(steps):
        rows = generator.integers(0, len(quality), config.batch)
        whole, fragments = pairs[int(generator.integers(0, len(pairs)))]
        predicted = probe(torch.from_numpy(np.concatenate([whole[rows], fragments[rows]], axis=1)))
        rated = torch.from_numpy(quality[rows])
        loss = functional.mse_loss(predicted, rated)
        loss = loss + config.correlation_weight * plcc_loss(predicted, rated)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return probe.eval()


def predict(probe: nn.Module, whole: Features, fragments: Features) -> Features:
    """Quality (n,) from features of both views, float32 (n, d) each."""
    with torch.inference_mode():
        inputs = torch.from_numpy(np.concatenate([whole, fragments], axis=1))
        result: Features = probe(inputs).numpy()
    return result
