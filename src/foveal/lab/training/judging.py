"""What a network says of many images, as an assessor would: nothing is drawn by chance."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from foveal.lab.models.base import Judgement
from foveal.lab.training.config import Precision
from foveal.lab.training.data import BatchSource

Floats = NDArray[np.float64]

Progress = Callable[[int, int, str], None]
"""Told of each step: steps done, steps in all, what to show."""


def judge(
    network: nn.Module,
    source: BatchSource,
    *,
    batch: int = 32,
    draws: int = 1,
    workers: int = 1,
    precision: Precision = "fp32",
    progress: Progress | None = None,
) -> tuple[Floats, Floats]:
    """Judge all images of a source as an assessor does: nothing is drawn by chance.

    Args:
        network: from views to a :class:`Judgement`; left in evaluation mode.
        source: the images.
        batch: images a step; it does not matter to the scores.
        draws: sets of fragments over which quality and spread are averaged.
        workers: threads that decode.
        precision: as in training.
        progress: told of each step.

    Returns:
        Quality and spread, float64 (n, targets) each.
    """
    network.eval()
    device = next(network.parameters()).device
    positions = np.array_split(np.arange(len(source)), math.ceil(len(source) / batch))
    sums: list[tuple[Floats, Floats]] = []
    done = 0
    for draw in range(draws):
        rows: list[Judgement] = []
        for cut in source.batches(positions, draw=draw, workers=workers):
            with torch.inference_mode(), autocast(device, precision):
                judged = network(cut.to(device).views)
            rows.append(Judgement(judged.quality.float().cpu(), judged.spread.float().cpu()))
            done += 1
            if progress is not None:
                progress(done, draws * len(positions), "judging")
        sums.append(
            (
                torch.cat([row.quality for row in rows]).double().numpy(),
                torch.cat([row.spread for row in rows]).double().numpy(),
            )
        )
    return np.mean([quality for quality, _ in sums], axis=0), np.mean([spread for _, spread in sums], axis=0)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Mixed precision as in training; does nothing for ``fp32``."""
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, kind, enabled=precision != "fp32")
