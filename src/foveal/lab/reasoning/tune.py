"""Tune a vision-language model on records: the same loop for every stage and every model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from foveal.lab.reasoning.adapt import Adaptation, adapt, trainable
from foveal.lab.reasoning.levels import Q_ALIGN, LevelSet
from foveal.lab.reasoning.records import IGNORED, Record, TrainingBatch, make_batch
from foveal.lab.reasoning.vision_language import VisionLanguageModel

Epoch = Callable[[int], Sequence[Record]]
"""Records of an epoch by its number: phrasings, and samples of generated texts, may differ between them."""


@dataclass(frozen=True)
class Tuning:
    """How a stage is trained.

    Attributes:
        epochs: passes over the records.
        batch: records a step.
        rate: highest learning rate; it rises over ``warmup`` of the steps and falls to zero as a cosine.
        warmup: share of the steps.
        weight_decay: of AdamW, on matrices only.
        clip: largest norm of the gradient.
        verdict_weight: how many tokens of a description the verdict's word counts for.
        bfloat16: whether products are computed in bfloat16, weights staying in float32: twice as fast where
            the processor knows it.
        seed: of the order and of dropout.
        adaptation: what is trained.
    """

    epochs: int = 6
    batch: int = 64
    rate: float = 2e-3
    warmup: float = 0.05
    weight_decay: float = 0.05
    clip: float = 1.0
    verdict_weight: float = 1.0
    bfloat16: bool = False
    seed: int = 0
    adaptation: Adaptation = field(default_factory=Adaptation)

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch) < 1 or min(self.rate, self.clip, self.verdict_weight) <= 0:
            raise ValueError("epochs, batch, rate, clip and verdict_weight must be above 0")
        if not 0 <= self.warmup < 1 or self.weight_decay < 0:
            raise ValueError("warmup must be 0 to below 1, weight_decay 0 or more")


@dataclass(frozen=True)
class Tuned:
    """A tuned model.

    Attributes:
        model: in evaluation mode; wrapped by ``peft`` if LoRA was used.
        losses: mean loss of each epoch.
        seconds: that training took.
    """

    model: VisionLanguageModel
    losses: tuple[float, ...]
    seconds: float


def tune(
    model: VisionLanguageModel,
    epoch: Epoch,
    tuning: Tuning,
    *,
    levels: LevelSet = Q_ALIGN,
    tell: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> Tuned:
    """Train on records.

    Args:
        model: changed in place.
        epoch: gives the records of each epoch; always the same number of them.
        tuning: how.
        levels: words of the verdict, for records that share it.
        tell: called with step, number of steps and loss.

    Raises:
        ValueError: there are no records.
        FloatingPointError: the loss is not finite.
    """
    records = epoch(0)
    if not records:
        raise ValueError("there are no records to train on")
    began = time.monotonic()
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(tuning.seed)
        adapted = adapt(model, tuning.adaptation)
        steps = tuning.epochs * math.ceil(len(records) / tuning.batch)
        optimizer = _optimizer(adapted, tuning)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: _rate(step, steps, tuning.warmup)
        )
        adapted.model.train()
        losses, step = [], 0
        for number in range(tuning.epochs):
            records = epoch(number) if number else records
            order = np.random.default_rng((tuning.seed, number)).permutation(len(records))
            total = 0.0
            for start in range(0, len(order), tuning.batch):
                chosen = [records[place] for place in order[start : start + tuning.batch]]
                loss = _step(adapted, chosen, levels, tuning, optimizer)
                schedule.step()
                step += 1
                total += loss * len(chosen)
                tell(step, steps, loss)
            losses.append(total / len(order))
        adapted.model.eval()
    return Tuned(adapted, tuple(losses), time.monotonic() - began)


def batch_loss(
    model: VisionLanguageModel, batch: TrainingBatch, levels: LevelSet, verdict_weight: float = 1.0
) -> Tensor:
    """Mean cross-entropy over the learnt tokens; a shared verdict is learnt as a distribution.

    Args:
        model: it.
        batch: from :func:`~foveal.lab.reasoning.records.make_batch`.
        levels: words of the verdict.
        verdict_weight: how many tokens a shared verdict counts for.
    """
    ahead = batch.labels[:, 1:]
    learnt = ahead != IGNORED
    # Logits of pictures' tokens would fill gigabytes with a large vocabulary: only these columns are wanted.
    wanted = learnt.any(dim=0)
    wanted[batch.places.to(wanted.device) - 1] = True
    columns = torch.nonzero(wanted)[:, 0]
    logits = model.model(**batch.inputs, logits_to_keep=columns).logits.float()
    learnt, ahead = learnt[:, columns], ahead[:, columns]
    tokens = functional.cross_entropy(logits[learnt], ahead[learnt], reduction="sum")
    count = learnt.sum().float()
    if len(batch.rows):
        rows, places = batch.rows.to(columns.device), batch.places.to(columns.device)
        place = logits[rows, torch.searchsorted(columns, places - 1)]
        chosen = functional.log_softmax(place, dim=-1)[:, list(levels.tokens(model.tokenizer))]
        tokens = tokens - verdict_weight * (batch.weights.to(chosen) * chosen).sum()
        count = count + verdict_weight * len(batch.rows)
    return tokens / count


def _step(
    model: VisionLanguageModel,
    records: Sequence[Record],
    levels: LevelSet,
    tuning: Tuning,
    optimizer: torch.optim.Optimizer,
) -> float:
    with torch.autocast(model.device.type, torch.bfloat16, enabled=tuning.bfloat16):
        batch = make_batch(model, records, levels)
        loss = batch_loss(model, batch, levels, tuning.verdict_weight)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss became {value}: lower the learning rate")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(trainable(model), tuning.clip)
    optimizer.step()
    return value


def _optimizer(model: VisionLanguageModel, tuning: Tuning) -> torch.optim.Optimizer:
    parameters = trainable(model)
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": tuning.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=tuning.rate, betas=(0.9, 0.98)
    )


def _rate(step: int, steps: int, warmup: float) -> float:
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
