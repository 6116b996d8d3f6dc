"""Batches of cached features, for heads on a frozen backbone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foveal.artifact.card import ViewSpec
from foveal.imaging.views import GRID, SIDE, Pixels, content_offsets, fragment_view
from foveal.lab.models.base import QualityModel
from foveal.lab.training.config import Precision
from foveal.lab.training.data import Augmentation, Batch, BatchSource, PromptRows
from foveal.lab.training.features import FeatureCache, ViewKey, backbone_fingerprint
from foveal.lab.training.judging import autocast
from foveal.lab.training.prompts import encoded
from foveal.ratings.table import Ratings

_BATCH = 32


class FeatureRows(BatchSource):
    """Rated images as features of their views, in memory.

    Args:
        features: (n, d) of each draw of each view, by the view's name.
        rated: float32 (n, targets), NaN where a score is missing.
        seed: of order and draws.
        prompts: as features, for heads that read them.
    """

    def __init__(
        self,
        features: Mapping[str, Sequence[Tensor]],
        rated: Tensor,
        seed: int = 0,
        prompts: PromptRows | None = None,
    ) -> None:
        super().__init__(rated, seed, prompts)
        self.features = {name: list(draws) for name, draws in features.items()}

    def batches(
        self,
        positions: Sequence[NDArray[np.int64]],
        *,
        augmentation: Augmentation | None = None,
        epoch: int = 0,
        draw: int = 0,
        workers: int = 1,
    ) -> Iterator[Batch]:
        """Take rows; with augmentation one of the draws by chance, else ``draw`` or the last one there is."""
        for chosen in positions:
            rows = torch.from_numpy(chosen)
            views = {}
            for name, draws in self.features.items():
                if augmentation is None or len(draws) == 1:
                    views[name] = draws[min(draw, len(draws) - 1)][rows]
                else:
                    taken = [draws[self._draw(int(row), epoch, len(draws))][int(row)] for row in chosen]
                    views[name] = torch.stack(taken)
            yield self.batch(views, rows)

    def _draw(self, row: int, epoch: int, count: int) -> int:
        return int(np.random.SeedSequence([self.seed, epoch, row]).generate_state(1)[0] % count)


def read_features(
    model: QualityModel,
    ratings: Ratings,
    cache: str | os.PathLike[str],
    *,
    draws: int = 1,
    seed: int = 0,
    precision: Precision = "fp32",
    progress: Callable[[int, int], None] | None = None,
) -> FeatureRows:
    """Features of rated images, from the cache or computed.

    Args:
        model: with a frozen head; its device computes.
        ratings: the images.
        cache: the file; it may hold features of many extractors.
        draws: sets of fragments.
        seed: of order and draws.
        precision: of the backbone.
        progress: called with views computed, and views to compute in all.

    Raises:
        ImageError: an image cannot be decoded.
        FeatureCacheError: the cache cannot be used.
    """
    features: dict[str, list[Tensor]] = {}
    prompts = encoded(model, ratings)
    fingerprints = {id(encoder): backbone_fingerprint(encoder) for encoder in _encoders(model)}
    for name, spec in model.views.items():
        keys = [_AssessorView(spec.kind, spec.side, draw) for draw in _draws(spec, draws)]
        weights = fingerprints[id(model.encoder(name))]
        with FeatureCache(cache, f"{weights}; {model.extractor(name)}; {precision}") as store:
            values = store.features_of(
                ratings.images,
                keys,
                _compute(model, name, precision),
                batch=_BATCH,
                progress=progress,
            )
        features[name] = [torch.from_numpy(values[:, index]) for index in range(len(keys))]
    columns = [ratings.quality(target) for target in model.targets]
    return FeatureRows(
        features, torch.from_numpy(np.stack(columns, axis=1).astype(np.float32)), seed, prompts
    )


@dataclass(frozen=True, order=True)
class _AssessorView(ViewKey):
    """A view as an assessor cuts it: 7 x 7 fragments whatever the side, where others are of 32 pixels."""

    def __post_init__(self) -> None:
        """Leave the check to :class:`ViewSpec`, whose fields these are."""

    def __str__(self) -> str:
        own_grid = self.kind == "fragments" and self.side != SIDE
        return f"{super().__str__()}:{GRID}" if own_grid else super().__str__()

    def cut(self, pixels: Pixels, whole: Pixels) -> Pixels:
        if self.kind != "fragments":
            return super().cut(pixels, whole)
        return fragment_view(pixels, content_offsets(whole, draw=self.draw), cell=self.side // GRID)


def _draws(spec: ViewSpec, draws: int) -> Sequence[int]:
    """Only fragments are drawn: there is one whole view, and one crop from the centre."""
    return range(spec.draw, spec.draw + draws) if spec.kind == "fragments" else (0,)


def _encoders(model: QualityModel) -> Iterator[nn.Module]:
    yield from {id(encoder): encoder for encoder in map(model.encoder, model.views)}.values()


def _compute(
    model: QualityModel, name: str, precision: Precision
) -> Callable[[list[Pixels]], NDArray[np.float16]]:
    device = next(model.parameters()).device

    def compute(views: list[Pixels]) -> NDArray[np.float16]:
        with torch.inference_mode(), autocast(device, precision):
            encoded = model.encode(name, torch.from_numpy(np.stack(views)).to(device))
        half: NDArray[np.float16] = encoded.to(torch.float16).cpu().numpy()
        return half

    return compute
