"""How a network is trained: every setting of the loop, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from foveal.lab.training.data import Augmentation
from foveal.lab.training.losses import LossWeights

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS = ("fp32", "bf16", "fp16")
LEAST_BATCH = 2
"""Losses that compare images need two of them."""
_LEAST: Mapping[str, int] = MappingProxyType(
    {
        "epochs": 1,
        "batch": LEAST_BATCH,
        "accumulate": 1,
        "patience": 0,
        "seed": 0,
        "workers": 1,
        "draws": 1,
        "checkpoint_steps": 1,
        "validation_batch": 1,
    }
)


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained.

    Attributes:
        epochs: passes over the training part; the schedule is laid out over all of them.
        batch: images a step, over all processes; the last, smaller batch of an epoch is left out.
        accumulate: micro-batches a step. Losses that compare images do so within a micro-batch.
        lr: learning rate at its peak (AdamW).
        group_lr: learning rate of single parameter groups, by their name.
        weight_decay: of matrices; vectors (biases, scales) are not decayed.
        warmup: share of all steps in which the rate rises.
        clip: longest gradient; 0 clips nothing.
        precision: ``fp32``, or ``bf16`` / ``fp16`` mixed with it.
        ema: decay of the moving average that is validated and kept; 0 keeps the weights themselves.
        patience: epochs without a better validation that end the run; 0 runs all epochs.
        select: figure on the validation part that decides which epoch is kept.
        seed: of initialisation, order, augmentation and dropout.
        workers: threads that decode.
        draws: sets of fragments for heads on cached features: each time an image comes up, one of them is
            taken by chance. Other models see new fragments every time.
        checkpoint_steps: steps between checkpoints, beside the one after each epoch.
        validation_batch: images a validation step.
        losses: what is minimised.
        augmentation: what is done to training images.
    """

    epochs: int = 10
    batch: int = 32
    accumulate: int = 1
    lr: float = 1e-3
    group_lr: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float = 1.0
    precision: Precision = "fp32"
    ema: float = 0.0
    patience: int = 0
    select: Literal["srcc", "plcc"] = "srcc"
    seed: int = 0
    workers: int = 1
    draws: int = 1
    checkpoint_steps: int = 200
    validation_batch: int = 32
    losses: LossWeights = field(default_factory=LossWeights)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {least} or more")
        self._check_numbers()
        for name, known in (("precision", PRECISIONS), ("select", ("srcc", "plcc"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected {', '.join(known)}")
        if self.batch % self.accumulate or self.batch // self.accumulate < LEAST_BATCH:
            raise ValueError(f"a batch of {self.batch} cannot be divided into {self.accumulate} equal ones")

    def _check_numbers(self) -> None:
        rates = {"lr": self.lr, **{f"group_lr.{name}": rate for name, rate in self.group_lr.items()}}
        for name, value in rates.items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, expected a number above 0")
        for name in ("weight_decay", "clip"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")
        for name in ("warmup", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 to below 1")
