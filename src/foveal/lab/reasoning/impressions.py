"""Impressions: how fine structure and the whole strike people, learnt from ratings of other images.

No formula measures them. Small networks predict the rating, each from a part of what a frozen trunk sees:
*rendering* from the fragments alone, *scene* from the whole alone, as DOVER's technical and aesthetic
branches do (Wu et al., ICCV 2023); *centre* and *surroundings* from both views of these places. Predictions
for training images are cross-fitted: each image is described by networks that have not seen its rating, so
that no description gives its own rating away.

What only another trunk sees, the model cannot tell: its descriptions would be guesses, drawn anew each time.
Such impressions are learnt a second time, by the model's own eyes: what of them these can see. There, too, no
network that describes an image may have its rating from anywhere: see :func:`fit_apart`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from foveal.explanation.wordings import IMPRESSIONS
from foveal.imaging.views import GRID

_CENTRE = slice(2, 5)
CUTS = (2.2, 2.6, 3.0, 3.4, 3.6, 3.8, 4.0, 4.2)
"""Between the degrees, on 1-5. What lies in the middle level of verdicts, 2.6 to 3.4, takes no side."""
NETWORKS = 3
"""For each fold and impression. Their mean counts: what one says by chance, no describer could tell."""

_EPOCHS, _BATCH, _RATE, _DECAY = 16, 128, 1e-3, 0.05
_HIDDEN, _INPUT_DROPOUT, _DROPOUT = 256, 0.2, 0.5


@dataclass(frozen=True, eq=False)
class Impressions:
    """What networks that were taught by ratings make of images.

    Attributes:
        fitted: cross-fitted predictions for the training images, float64 (impressions, images), on 1-5.
        others: predictions for further images, the mean of all networks, (impressions, further images).
        copied: predictions for degraded copies of training images, by networks that have not seen the image's
            rating, and never above the image's own, (impressions, copies).
    """

    fitted: NDArray[np.float64]
    others: NDArray[np.float64]
    copied: NDArray[np.float64]


def degrees_of_impressions(values: NDArray[np.float64]) -> list[dict[str, int]]:
    """Degree of each impression of each image: (impressions, images) on 1-5 -> a list of images."""
    table = np.searchsorted(CUTS, values, side="right")
    return [dict(zip(IMPRESSIONS, column, strict=True)) for column in table.T.tolist()]


def fit_impressions(
    train: NDArray[np.float32],
    mos: ArrayLike,
    others: NDArray[np.float32],
    *,
    copies: NDArray[np.float32] | None = None,
    sources: ArrayLike = (),
    groups: ArrayLike | None = None,
    folds: int = 5,
    networks: int = NETWORKS,
    seed: int = 0,
) -> Impressions:
    """Learn the impressions.

    Args:
        train: what each impression looks at in the training images, (images, impressions, features).
        mos: their ratings on 1-5, (images,); or what other eyes made of them, (folds, impressions, images),
            the first axis being the fold that is left out: see :func:`fit_apart`.
        others: pooled features of further images, (further, impressions, features).
        copies: pooled features of degraded copies of training images, (copies, impressions, features).
        sources: number of the training image that each is a copy of, (copies,).
        groups: images that belong together stay in one fold, (images,); by default each is on its own.
        folds: of the cross-fitting.
        networks: for each fold and impression.
        seed: of folds, initialisation and order.

    Raises:
        ValueError: fewer groups than folds, or another number of impressions.
    """
    if train.ndim != 3 or train.shape[1] != len(IMPRESSIONS):
        raise ValueError(
            f"features have shape {train.shape}, expected (images, {len(IMPRESSIONS)}, features)"
        )
    ratings = np.broadcast_to(np.asarray(mos, np.float64), (folds, len(IMPRESSIONS), len(train)))
    fold = _folds(len(train), groups, folds, seed)
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
            of_held = np.flatnonzero(fold[origin] == left_out)
            for again in range(networks):
                target = ratings[left_out, number, learnt]
                network = _fit(inside[learnt], target, seed + left_out + folds * again)
                fitted[number, held] += _predict(network, inside[held]) / networks
                further[number] += _predict(network, outside) / (folds * networks)
                copied[number, of_held] += _predict(network, beside[of_held]) / networks
    # A degraded copy is known to be no better than its original.
    copied = np.minimum(copied, fitted[:, origin])
    return Impressions(fitted, further, copied)


def fit_apart(
    train: NDArray[np.float32],
    mos: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    folds: int = 5,
    networks: int = NETWORKS,
    seed: int = 0,
) -> NDArray[np.float64]:
    """What to learn impressions from a second time: for each fold, predictions that know nothing of it.

    Cross-fitted predictions will not do: those for the other folds come from networks that have seen this
    fold's ratings, and a second network could learn them back. So networks are fitted without two folds each,
    and predict the one where the other is left out. Folds are those of :func:`fit_impressions`.

    Args:
        train: what each impression looks at in the training images, (images, impressions, features).
        mos: their ratings on 1-5, (images,).
        groups: images that belong together stay in one fold, (images,).
        folds: of the cross-fitting; 3 or more.
        networks: for each pair of folds and impression.
        seed: of folds, initialisation and order.

    Returns:
        float64 (folds, impressions, images): first axis the fold that is left out. Its own images have NaN.

    Raises:
        ValueError: fewer than 3 folds, or fewer groups than folds.
    """
    if folds < 3:
        raise ValueError(f"folds is {folds}: to leave two out, three or more are needed")
    ratings = np.asarray(mos, np.float64)
    fold = _folds(len(train), groups, folds, seed)
    found = np.full((folds, len(IMPRESSIONS), len(train)), np.nan)
    for number in range(len(IMPRESSIONS)):
        mean, deviation = train[:, number].mean(axis=0), train[:, number].std(axis=0) + 1e-3
        inside = torch.from_numpy((train[:, number] - mean) / deviation).float()
        for first, second in combinations(range(folds), 2):
            learnt = np.flatnonzero((fold != first) & (fold != second))
            total = np.zeros(len(train))
            for again in range(networks):
                network = _fit(
                    inside[learnt], ratings[learnt], seed + first + folds * (second + folds * again)
                )
                total += _predict(network, inside) / networks
            for out, told in ((first, second), (second, first)):
                found[out, number, fold == told] = total[fold == told]
    return found


def kept(
    folder: Path, made_of: Sequence[object], fit: Callable[[], dict[str, NDArray[np.float64]]]
) -> dict[str, NDArray[np.float64]]:
    """Predictions of an earlier run, or fitted and kept.

    Args:
        folder: where they are kept, a file for each combination of what they are made of.
        made_of: all that they depend on: texts, numbers, arrays and sequences of these.
        fit: makes them.
    """
    digest = hashlib.sha256(f"{NETWORKS} {_EPOCHS} {_BATCH} {_RATE} {_DECAY} {_HIDDEN}".encode())
    for part in made_of:
        digest.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    file = folder / f"{digest.hexdigest()[:24]}.safetensors"
    if file.exists():
        stored: dict[str, NDArray[np.float64]] = load_file(file)
        return stored
    fitted = fit()
    folder.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    save_file({name: np.ascontiguousarray(value) for name, value in fitted.items()}, part)
    part.replace(file)
    return fitted


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
