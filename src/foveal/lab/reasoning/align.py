"""Alignment: the projector of a small model learns to show what descriptions tell, before any word is learnt.

A language model made from nothing has to learn words and eyes at once, and its projector then learns what
matters through untrained layers. Here the projector alone, with a linear head that is thrown away, learns the
degrees of all attributes from the mean of its tokens. The idea is that of LLaVA's first stage, which trains
only the projector (Liu et al., "Visual Instruction Tuning", NeurIPS 2023, section 4.2), without its language
model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from foveal.lab.reasoning.question import StoredFeatures
from foveal.lab.reasoning.stages import DescribedImages
from foveal.lab.reasoning.vision_language import VisionLanguageModel


@dataclass(frozen=True)
class Alignment:
    """How the projector is aligned.

    Attributes:
        epochs: passes over the images; 0 leaves the projector as it is.
        batch: images a step.
        rate: highest learning rate of AdamW; it falls to zero as a cosine.
        weight_decay: of AdamW.
        dropout: of features, the same ones at all places of an image.
    """

    epochs: int = 6
    batch: int = 128
    rate: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch < 1 or self.rate <= 0 or self.weight_decay < 0:
            raise ValueError("epochs and weight_decay must be 0 or more, batch 1 or more, rate above 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, expected 0 to below 1")


def align_projector(
    model: VisionLanguageModel,
    images: DescribedImages,
    config: Alignment,
    *,
    seed: int = 0,
    tell: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> None:
    """Train the projector of a small model, in place.

    Args:
        model: small, made here.
        images: described; their pictures are stored features.
        config: how.
        seed: of the head, the order and dropout.
        tell: called with step, number of steps and loss (mean squared error of standardised degrees).

    Raises:
        ValueError: a picture is not stored features.
    """
    targets = _standardised(images)
    steps = config.epochs * -(-len(images) // config.batch)
    if not steps:
        return
    projector = model.projector
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(projector.linear_2.out_features, targets.shape[1])
        optimizer = torch.optim.AdamW(
            [*projector.parameters(), *head.parameters()], config.rate, weight_decay=config.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.rate, total_steps=steps, pct_start=0.1
        )
        step = 0
        for _ in range(config.epochs):
            for chosen in torch.split(torch.randperm(len(images)), config.batch):
                seen = _features(images, chosen)
                mask = nn.functional.dropout(torch.ones(len(seen), 1, seen.shape[2]), config.dropout)
                loss = ((head(projector(seen * mask).mean(dim=1)) - targets[chosen]) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                step += 1
                tell(step, steps, float(loss.detach()))


def _standardised(images: DescribedImages) -> Tensor:
    """float32 (images, attributes), each attribute's degrees with mean 0 and deviation 1."""
    degrees = np.array([list(row.values()) for row in images.degrees], np.float32)
    deviation = degrees.std(axis=0)
    return torch.from_numpy((degrees - degrees.mean(axis=0)) / np.where(deviation > 0, deviation, 1))


def _features(images: DescribedImages, chosen: Tensor) -> Tensor:
    pictures = [images.picture(image) for image in chosen.tolist()]
    stored = [picture.tokens for picture in pictures if isinstance(picture, StoredFeatures)]
    if len(stored) < len(pictures):
        raise ValueError("only models that are shown stored features can be aligned")
    return torch.from_numpy(np.stack(stored).astype(np.float32))
