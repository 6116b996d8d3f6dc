"""Impressions: how fine structure and the whole strike people, learnt from ratings of other images.

No formula measures them. Small networks predict the rating, each from a part of what a frozen trunk sees:
*rendering* from the fragments alone, *scene* from the whole alone, as DOVER's technical and aesthetic
branches do (Wu et al., ICCV 2023); *centre* and *surroundings* from both views of these places. Predictions
for training images are cross-fitted: each image is described by networks that have not seen its rating, so
that no description gives its own rating away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from foveal.explanation.wordings import IMPRESSIONS
from foveal.imaging.views import GRID

_CENTRE = slice(2, 5)
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
        copied: predictions for degraded copies of training images, by networks that have not seen the image's
            rating, and never above the image's own, (impressions, copies).
        cuts: values between the degrees, (impressions, 4).
    """

    fitted: NDArray[np.float64]
    others: NDArray[np.float64]
    copied: NDArray[np.float64]
    cuts: NDArray[np.float64]

    def degrees(self, values: NDArray[np.float64]) -> list[dict[str, int]]:
        """Degree, 0 to 4, of each impression of each image: (impressions, images) -> a list of images."""
        table = [
            np.searchsorted(cuts, row, side="right") for cuts, row in zip(self.cuts, values, strict=True)
        ]
        return [
            {name: int(row[image]) for name, row in zip(IMPRESSIONS, table, strict=True)}
            for image in range(values.shape[1])
        ]


def fit_impressions(
    train: NDArray[np.float32],
    mos: ArrayLike,
    others: NDArray[np.float32],
    *,
    copies: NDArray[np.float32] | None = None,
    sources: ArrayLike = (),
    groups: ArrayLike | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Impressions:
    """Learn the impressions.

    Args:
        train: what each impression looks at in the training images, (images, impressions, features).
        mos: their ratings on 1-5.
        others: pooled features of further images, (further, impressions, features).
        copies: pooled features of degraded copies of training images, (copies, impressions, features).
        sources: number of the training image that each is a copy of, (copies,).
        groups: images that belong together stay in one fold, (images,); by default each is on its own.
        folds: of the cross-fitting.
        seed: of folds, initialisation and order.

    Raises:
        ValueError: fewer groups than folds, or another number of impressions.
    """
    if train.ndim != 3 or train.shape[1] != len(IMPRESSIONS):
        raise ValueError(
            f"features have shape {train.shape}, expected (images, {len(IMPRESSIONS)}, features)"
        )
    ratings = np.asarray(mos, np.float64)
    fold = _folds(len(ratings), groups, folds, seed)
    fitted = np.zeros((len(IMPRESSIONS), len(train)))
    further = np.zeros((len(IMPRESSIONS), len(others)))
    origin = np.asarray(sources, np.int64)
    degraded = np.zeros((0, *train.shape[1:]), np.float32) if copies is None else copies
    copied = np.zeros((len(IMPRESSIONS), len(degraded)))
    for number in range(len(IMPRESSIONS)):
        mean, deviation = train[:, number].mean(axis=0), train[:, number].std(axis=0) + 1e-3
        inside, outside, beside = (
            torch.from_numpy((part[:, number] - mean) / deviation).float()
            for part in (train, others, degraded)
        )
        for left_out in range(folds):
            learnt, held = np.flatnonzero(fold != left_out), np.flatnonzero(fold == left_out)
            network = _fit(inside[learnt], ratings[learnt], seed + left_out)
            fitted[number, held] = _predict(network, inside[held])
            further[number] += _predict(network, outside) / folds
            of_held = np.flatnonzero(fold[origin] == left_out)
            copied[number, of_held] = _predict(network, beside[of_held])
    # A degraded copy is known to be no better than its original.
    copied = np.minimum(copied, fitted[:, origin])
    return Impressions(fitted, further, copied, np.quantile(fitted, CUTS, axis=1).T)


def pool_tokens(tokens: NDArray[np.float16]) -> NDArray[np.float32]:
    """What each impression looks at, from tokens of the two-view tower.

    Args:
        tokens: (49, features), the whole's in the first half, the fragments' in the second.

    Returns:
        float32 (impressions, features), in the order of ``IMPRESSIONS``: mean and deviation over all places
        of the fragments, and of the whole; means of both over the nine central places, and over the others.
    """
    values = tokens.astype(np.float32)
    half = values.shape[1] // 2
    views = [
        np.concatenate([view.mean(axis=0), view.std(axis=0)]) for view in (values[:, half:], values[:, :half])
    ]
    central = np.zeros((GRID, GRID), bool)
    central[_CENTRE, _CENTRE] = True
    places = [values[inside].mean(axis=0) for inside in (central.ravel(), ~central.ravel())]
    return np.stack([*views, *places])


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
        judging = nn.Linear(_HIDDEN, 1)
        network = nn.Sequential(
            nn.Dropout(_INPUT_DROPOUT),
            nn.Linear(features.shape[1], _HIDDEN),
            nn.GELU(),
            nn.Dropout(_DROPOUT),
            judging,
        )
        # Begins at the mean rating: the rest is what differs from it.
        nn.init.constant_(judging.bias, float(ratings.mean()))
        target = torch.from_numpy(ratings).float()
        steps = -(-len(target) // _BATCH)
        optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_EPOCHS * steps)
        for _ in range(_EPOCHS):
            for chosen in torch.split(torch.randperm(len(target)), _BATCH):
                loss = ((network(features[chosen])[:, 0] - target[chosen]) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return network.eval()


@torch.no_grad()
def _predict(network: nn.Module, features: Tensor) -> NDArray[np.float64]:
    return np.asarray(network(features)[:, 0].double().numpy())
