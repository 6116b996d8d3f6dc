"""Judging images with a trained model, without exporting it first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.assessment import HIGHEST, LOWEST, Assessment, Interval
from foveal.assessor import cut_views
from foveal.imaging.decode import decode, name_of
from foveal.imaging.views import Pixels
from foveal.lab.trained import TrainedModel

_BATCH = 16


def assess(model: TrainedModel, images: Iterable[Any], *, draws: int = 1) -> list[Assessment]:
    """Judge images; scores are those of the exported artifact, but for rounding.

    Args:
        model: trained; its device computes.
        images: whatever :class:`foveal.assessor.Assessor` takes: paths, bytes, arrays, PIL images.
        draws: sets of fragments whose judgements, and maps of local quality, are averaged.

    Returns:
        One assessment an image: quality with its interval, further targets as aspects, and a map of local
        quality (7 x 7) if the model gives one.

    Raises:
        ImageError: an image cannot be decoded.
        ValueError: draws is below 1.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}, expected 1 or more")
    model.eval()
    waiting = iter(images)
    rows: list[Assessment] = []
    while batch := list(islice(waiting, _BATCH)):
        pixels = [decode(image).pixels for image in batch]
        judged = [_judge(model, pixels, draw) for draw in range(draws)]
        columns = [np.mean(column, axis=0) for column in zip(*judged, strict=True)]
        rows += [
            _assessment(model, name_of(image), row)
            for image, row in zip(batch, zip(*columns, strict=True), strict=True)
        ]
    return rows


def _judge(model: TrainedModel, images: list[Pixels], draw: int) -> tuple[NDArray[np.float32], ...]:
    """Quality and spread, (images, targets) each, and the map if there is one."""
    network = model.network
    device = next(model.parameters()).device
    with torch.inference_mode():
        views = {name: view.to(device) for name, view in _views(model, images, draw).items()}
        columns: tuple[Tensor, ...]
        if network.has_map:
            judgement, cells = network.local_quality(views)
            columns = judgement.quality, judgement.spread, cells
        else:
            judgement = network(views)
            columns = judgement.quality, judgement.spread
    return tuple(column.float().cpu().numpy() for column in columns)


def _views(model: TrainedModel, images: list[Pixels], draw: int) -> Mapping[str, Tensor]:
    cuts = [cut_views(pixels, model.network.views, draw=draw) for pixels in images]
    return {name: torch.from_numpy(np.stack([cut[name] for cut in cuts])) for name in model.network.views}


def _assessment(model: TrainedModel, source: str, row: tuple[NDArray[np.float32], ...]) -> Assessment:
    scores, spread, *maps = row
    record = model.record
    calibration = record.calibration[record.targets[0]]
    centre, reach = _clip(scores[0]), calibration.factor * float(spread[0])
    return Assessment(
        centre,
        Interval(_clip(centre - reach), _clip(centre + reach), calibration.coverage),
        f"{record.card.name}@{record.card.version}",
        source=source,
        aspects=dict(_aspects(record.targets, scores)),
        quality_map=np.clip(maps[0], LOWEST, HIGHEST) if maps else None,
    )


def _aspects(targets: tuple[str, ...], scores: NDArray[np.float32]) -> Iterator[tuple[str, float]]:
    for target, score in zip(targets[1:], scores[1:], strict=True):
        yield target, _clip(score)


def _clip(value: float) -> float:
    return min(max(float(value), LOWEST), HIGHEST)
