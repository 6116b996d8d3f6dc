"""The learning rate over a run: linear warm-up, then a cosine down to zero, step by step."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def cosine_with_warmup(step: int, total: int, warmup: int = 0) -> float:
    """Factor of the learning rate at a step.

    The warm-up rises linearly, (step + 1) / (warmup + 1), and reaches 1 after ``warmup`` steps; a half
    cosine then falls to 0 at ``total`` (Loshchilov and Hutter, SGDR, 2017, without restarts). Without
    warm-up it is LoDa's schedule: ``CosineAnnealingLR`` of torch, stepped with every batch.

    Args:
        step: steps already taken, from 0.
        total: steps of the run.
        warmup: steps of the warm-up, fewer than ``total``.

    Returns:
        In [0, 1]; > 0 at every step that is taken, and 0 from ``total`` on.

    Raises:
        ValueError: ``step`` or ``warmup`` is negative, or the warm-up does not end before the run.
    """
    if not 0 <= warmup < total:
        raise ValueError(f"warm-up takes {warmup} of {total} steps, expected from 0 up and fewer than all")
    if step < 0:
        raise ValueError(f"step is {step}, expected 0 or more")
    if step >= total:
        return 0.0
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


def cosine_schedule(optimizer: Optimizer, total: int, warmup: int = 0) -> LambdaLR:
    """Scale the rate of every group of an optimizer by :func:`cosine_with_warmup`; step it with every batch.

    Raises:
        ValueError: see :func:`cosine_with_warmup`.
    """
    return LambdaLR(optimizer, lambda step: cosine_with_warmup(step, total, warmup))
