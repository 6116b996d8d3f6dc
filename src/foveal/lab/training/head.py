"""The head of the compact network, fitted on the features that its (quantised) trunk really gives.

The trunk is frozen by now, so its features are computed once and a head trains in seconds. Fitting after
quantisation lets the head absorb what int8 has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from foveal.assessment import HIGHEST, LOWEST
from foveal.lab.training.losses import plcc_loss

Features = NDArray[np.float32]
_LEAST_SPREAD = 0.05


@dataclass(frozen=True)
class HeadConfig:
    """How the head is shaped and trained."""

    signature: int = 128
    hidden: int = 64
    dropout: float = 0.3
    epochs: int = 40
    batch: int = 192
    series: int = 48
    lr: float = 2e-3
    weight_decay: float = 0.05
    correlation_weight: float = 0.3
    rank_weight: float = 0.5
    rank_margin: float = 0.15
    seed: int = 0


@dataclass(frozen=True)
class HeadData:
    """What a head learns from.

    Attributes:
        features: float32 (views, d), pooled features of every view.
        pairs: per rated image, rows of whole and of fragment views, int (n, draws) each.
        quality: float32 (n,), rated quality on 1-5.
        series: int (m, 3, 2): rows (whole, fragments) of the clean, mild and strong copy.
    """

    features: Features
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]]
    quality: Features
    series: NDArray[np.int64]


class Head(nn.Module):
    """Pooled features of both views -> quality on 1-5 and spread > 0.

    Each view is normalised and projected to a signature of its own, as their statistics differ.
    """

    def __init__(self, features: int, config: HeadConfig) -> None:
        super().__init__()
        self.features = features
        self.whole = self._signature(features, config)
        self.fragments = self._signature(features, config)
        self.judge = nn.Sequential(
            nn.Linear(2 * config.signature, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 2)
        )

    @staticmethod
    def _signature(features: int, config: HeadConfig) -> nn.Sequential:
        # Dropout comes before the projection: it works like noise on features that will differ after int8.
        return nn.Sequential(
            nn.BatchNorm1d(features),
            nn.Dropout(config.dropout),
            nn.Linear(features, config.signature),
            nn.ReLU(),
        )

    def forward(self, whole: Tensor, fragments: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, d) each -> quality (batch,) and spread (batch,)."""
        raw = self.judge(torch.cat([self.whole(whole), self.fragments(fragments)], dim=1))
        middle, half = (HIGHEST + LOWEST) / 2, (HIGHEST - LOWEST) / 2
        return middle + half * torch.tanh(raw[:, 0] / 2), functional.softplus(raw[:, 1]) + _LEAST_SPREAD


def fit_head(data: HeadData, config: HeadConfig) -> Head:
    """Fit quality by squared error, correlation and the order of degraded series, spread by Laplace loss.

    Args:
        data: features, ratings and series of the training part.
        config: the recipe.

    Returns:
        The head in evaluation mode.
    """
    torch.manual_seed(config.seed)
    generator = np.random.default_rng(config.seed)
    head = Head(data.features.shape[1], config)
    optimizer = torch.optim.AdamW(head.parameters(), config.lr, weight_decay=config.weight_decay)
    steps = max(1, config.epochs * len(data.quality) // config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps)
    for _ in range(steps):
        rated = generator.integers(0, len(data.quality), config.batch)
        series = data.series[generator.integers(0, len(data.series), config.series)]
        whole = np.concatenate([_draw(data.pairs[0][rated], generator), *series[:, :, 0].T])
        fragments = np.concatenate([_draw(data.pairs[1][rated], generator), *series[:, :, 1].T])
        quality, spread = head(_tensor(data.features, whole), _tensor(data.features, fragments))
        loss = _loss(quality, spread, torch.from_numpy(data.quality[rated]), config)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return head.eval()


def judge_features(
    head: Head, features: Features, rows: Sequence[Sequence[int]]
) -> tuple[Features, Features]:
    """Quality and spread, (n,) each, from rows (whole, fragments) of ``features``."""
    pairs = np.asarray(rows)
    with torch.inference_mode():
        quality, spread = head(_tensor(features, pairs[:, 0]), _tensor(features, pairs[:, 1]))
    return quality.numpy(), spread.numpy()


def _loss(quality: Tensor, spread: Tensor, rated: Tensor, config: HeadConfig) -> Tensor:
    count = len(rated)
    predicted = quality[:count]
    clean, mild, strong = torch.split(quality[count:], config.series)
    order = functional.relu(mild - clean + config.rank_margin) + functional.relu(
        strong - mild + config.rank_margin
    )
    # The spread learns from errors that it may not influence.
    error = (predicted.detach() - rated).abs()
    laplace = torch.log(spread[:count]) + error / spread[:count]
    return (
        functional.mse_loss(predicted, rated)
        + config.correlation_weight * plcc_loss(predicted, rated)
        + config.rank_weight * order.mean()
        + 0.1 * laplace.mean()
    )


def _draw(rows: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """One of the draws of each image at random."""
    drawn: NDArray[np.int64] = rows[np.arange(len(rows)), generator.integers(0, rows.shape[1], len(rows))]
    return drawn


def _tensor(features: Features, rows: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(features[rows])
