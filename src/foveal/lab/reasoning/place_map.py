"""Local quality: what each place of an image, seen as a token of the frozen tower, is worth on its own.

Nobody rated places. A small network judges each token alone, and the mean over an image's places is fitted
to the rating of the whole: what recurs in poor images is so told from what recurs in good ones. The idea of
patch-based assessors (Bosse et al., "Deep neural networks for no-reference and full-reference image quality
assessment", IEEE TIP 27(1), 2018: the mean over patches is fitted to the score).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from foveal.assessment import HIGHEST, LOWEST
from foveal.errors import RatingsError

_MIDDLE, _HALF = (HIGHEST + LOWEST) / 2, (HIGHEST - LOWEST) / 2


@dataclass(frozen=True)
class PlaceMapConfig:
    """How the network is made and trained.

    Attributes:
        hidden: units of its one hidden layer.
        dropout: of tokens' features, and of hidden units.
        epochs: passes over the images.
        batch: images a step.
        rate: highest learning rate of AdamW; it falls to zero as a cosine.
        weight_decay: of AdamW.
        seed: of initialisation, order and dropout.
    """

    hidden: int = 64
    dropout: float = 0.2
    epochs: int = 12
    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.hidden, self.epochs, self.batch) < 1 or self.rate <= 0 or self.weight_decay < 0:
            raise ValueError(
                "hidden, epochs and batch must be 1 or more, rate above 0, weight_decay 0 or more"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, expected 0 to below 1")


class PlaceMap(nn.Module):
    """Quality of each place on 1-5, from its token alone."""

    def __init__(self, features: int, hidden: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(features, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )

    @property
    def features(self) -> int:
        """Length of a token."""
        first: Any = self.network[1]
        return int(first.in_features)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., features) -> (...), on 1-5."""
        return _MIDDLE + _HALF * torch.tanh(self.network(tokens)[..., 0] / 2)


def fit_place_map(tokens: NDArray[Any], mos: ArrayLike, config: PlaceMapConfig | None = None) -> PlaceMap:
    """Fit the mean over places to ratings.

    Args:
        tokens: (images, places, features) of the tower, before the projector, of any float type; may lie on
            disk.
        mos: (images,) on 1-5, higher is better.
        config: how.

    Returns:
        The network, in evaluation mode.

    Raises:
        RatingsError: fewer than two images, other shapes, or ratings that leave the scale.
    """
    config = config or PlaceMapConfig()
    ratings = np.asarray(mos, np.float32)
    if tokens.ndim != 3 or ratings.shape != tokens.shape[:1] or len(ratings) < 2:
        raise RatingsError(
            f"tokens {tokens.shape} and ratings {ratings.shape}: expected (images, places, features) and "
            "(images,), of two images or more"
        )
    if not ((ratings >= LOWEST) & (ratings <= HIGHEST)).all():
        raise RatingsError(f"ratings leave the scale from {LOWEST:g} to {HIGHEST:g}; map them to it first")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = PlaceMap(tokens.shape[2], config.hidden, config.dropout)
        # Begins at the mean rating: a bounded output takes long to get there from the middle.
        last: Any = network.network[-1]
        share = np.clip((float(ratings.mean()) - _MIDDLE) / _HALF, -0.99, 0.99)
        nn.init.constant_(last.bias, float(2 * np.arctanh(share)))
        _train(network, tokens, torch.from_numpy(ratings), config)
    return network.eval()


def _train(network: PlaceMap, tokens: NDArray[Any], ratings: Tensor, config: PlaceMapConfig) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), config.rate, weight_decay=config.weight_decay)
    steps = config.epochs * -(-len(ratings) // config.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    network.train()
    for epoch in range(config.epochs):
        order = np.random.default_rng((config.seed, epoch)).permutation(len(ratings))
        for start in range(0, len(order), config.batch):
            # Sorted, so that tokens on disk are read in one direction.
            rows = np.sort(order[start : start + config.batch])
            places = network(torch.from_numpy(np.asarray(tokens[rows], np.float32)))
            loss = ((places.mean(dim=1) - ratings[rows]) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
