"""Impressions: how fine structure and the whole strike an observer, learnt from ratings, never from the image's own.

No formula measures them. A small network predicts the rating from what a frozen trunk sees of the fragments
alone (*rendering*), another from what it sees of the whole alone (*scene*), as DOVER's technical and
aesthetic branches do (Wu et al., ICCV 2023). Predictions for training images are cross-fitted: each image is
described by networks that have not seen its rating, so that no description gives its own rating away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from foveal.explanation.wordings import IMPRESSIONS

CUTS = (0.1, 0.3, 0.7, 0.9)
"""Quantiles of the training images between the degrees."""

_EPOCHS, _BATCH, _RATE, _DECAY = 16, 128, 1e-3, 0.05
_HIDDEN, _INPUT_DROPOUT, _DROPOUT = 256, 0.2, 0.5


@dataclass(frozen=True, eq=False)
class Impressions:
    """Degrees of the impressions, and what they come from.

    Attributes:
        fitted: cross-fitted predictions for the training images, float64 (impressions, images), on 1-5.
        others: predictions for further images, the mean of all networks, (impressions, further images).
        cuts: values between the degrees, (impressions, 4).
    """

    fitted: NDArray[np.float64]
    others: NDArray[np.float64]
    cuts: NDArray[np.float64]

    def degrees(self, values: NDArray[np.float64]) -> list[dict[str, int]]:
        """Degree, 0 to 4, of each impression of each image: (impressions, images) -> a list of images."""
        table = [np.searchsorted(cuts, row, side="right") for cuts, row in zip(self.cuts, values, strict=True)]
        return [
            {name: int(row[image]) for name, row in zip(IMPRESSIONS, table, strict=True)}
            for image in range(values.shape[1])
        ]


def fit_impressions(
    train: NDArray[np.float32],
    mos: ArrayLike,
    others: NDArray[np.float32],
    *,
    groups: ArrayLike | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Impressions:
    """Learn both impressions.

    Args:
        train: pooled features of the training images, (images, 2, features): of the fragments, of the whole.
        mos: their ratings on 1-5.
        others: pooled features of further images, (further, 2, features).
        groups: images that belong together stay in one fold, (images,); by default each is on its own.
        folds: of the cross-fitting.
        seed: of folds, initialisation and order.

    Raises:
        ValueError: fewer groups than folds.
    """
    ratings = np.asarray(mos, np.float64)
    fold = _folds(len(ratings), groups, folds, seed)
    fitted = np.zeros((len(IMPRESSIONS), len(train)))
    further = np.zeros((len(IMPRESSIONS), len(others)))
    for number in range(len(IMPRESSIONS)):
        mean, deviation = train[:, number].mean(axis=0), train[:, number].std(axis=0) + 1e-3
        inside, outside = (
            torch.from_numpy((part[:, number] - mean) / deviation).float() for part in (train, others)
        )
        for left_out in range(folds):
            learnt, held = np.flatnonzero(fold != left_out), np.flatnonzero(fold == left_out)
            network = _fit(inside[learnt], ratings[learnt], seed + left_out)
            fitted[number, held] = _predict(network, inside[held])
            further[number] += _predict(network, outside) / folds
    return Impressions(fitted, further, np.quantile(fitted, CUTS, axis=1).T)


def pool_tokens(tokens: NDArray[np.float16]) -> NDArray[np.float32]:
    """Tokens of the two-view tower, (49, features of whole and fragments) -> (2, features), fragments first.

    Mean and standard deviation over the places.
    """
    half = tokens.shape[1] // 2
    parts = []
    for view in (tokens[:, half:], tokens[:, :half]):
        values = view.astype(np.float32)
        parts.append(np.concatenate([values.mean(axis=0), values.std(axis=0)]))
    return np.stack(parts)


def _folds(count: int, groups: ArrayLike | None, folds: int, seed: int) -> NDArray[np.int64]:
    labels = np.arange(count) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    distinct = int(labels.max()) + 1 if count else 0
    if distinct < folds:
        raise ValueError(f"{distinct} groups of images cannot be put into {folds} folds")
    drawn = np.random.default_rng(seed).permutation(distinct) % folds
    chosen: NDArray[np.int64] = drawn[labels]
    return chosen


def _fit(features: Tensor, ratings: NDArray[np.float64], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Dropout(_INPUT_DROPOUT),
            nn.Linear(features.shape[1], _HIDDEN),
            nn.GELU(),
            nn.Dropout(_DROPOUT),
            nn.Linear(_HIDDEN, 1),
        )
        # Begins at the mean rating: the rest is what differs from it.
        nn.init.constant_(network[-1].bias, float(ratings.mean()))
        target = torch.from_numpy(ratings).float()
        steps = -(-len(target) // _BATCH)
        optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_EPOCHS * steps)
        for _ in range(_EPOCHS):
            for chosen in torch.randperm(len(target)).split(_BATCH):
                loss = ((network(features[chosen])[:, 0] - target[chosen]) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return network.eval()


@torch.no_grad()
def _predict(network: nn.Module, features: Tensor) -> NDArray[np.float64]:
    return np.asarray(network(features)[:, 0].double().numpy())


