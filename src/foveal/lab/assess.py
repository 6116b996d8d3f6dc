"""Judging images with a trained model, without exporting it first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import islice, zip_longest
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.artifact.card import PROMPT_IDS, PROMPT_MASK
from foveal.assessment import HIGHEST, LOWEST, Assessment, Interval
from foveal.assessor import cut_views
from foveal.errors import InvalidPromptError, MissingPromptError
from foveal.imaging.decode import decode, name_of
from foveal.imaging.views import Pixels
from foveal.lab.models.base import QualityModel
from foveal.lab.trained import TrainedModel
from foveal.lab.training.prompts import tokens_of

_BATCH = 16
_END: Any = object()


def assess(
    model: TrainedModel,
    images: Iterable[Any],
    *,
    draws: int = 1,
    prompts: Iterable[str | None] | str | None = None,
) -> list[Assessment]:
    """Judge images; scores are those of the exported artifact, but for rounding.

    Args:
        model: trained; its device computes.
        images: whatever :class:`foveal.assessor.Assessor` takes: paths, bytes, arrays, PIL images.
        draws: sets of fragments whose judgements, and maps of local quality, are averaged.
        prompts: text that each image was made from, for models that read it: one for all images, or one for
            each. An empty one leaves out the aspects that need it, with a warning.

    Returns:
        One assessment an image: quality with its interval, further targets as aspects, and a map of local
        quality (7 x 7) if the model gives one.

    Raises:
        ImageError: an image cannot be decoded; or has no prompt, and an aspect needs one; or a prompt is not
            text.
        ValueError: draws is below 1, prompts and images differ in number, or the model reads no prompts.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}, expected 1 or more")
    model.eval()
    if prompts is not None and model.network.text is None:
        raise ValueError(f"{model.record.card.name} reads no prompts: leave them out")
    waiting = _pairs(images, prompts)
    rows: list[Assessment] = []
    while batch := list(islice(waiting, _BATCH)):
        names = [name_of(image) for image, _ in batch]
        texts = _prompts(model.network, names, [prompt for _, prompt in batch])
        pixels = [decode(image).pixels for image, _ in batch]
        judged = [_judge(model, pixels, draw, texts) for draw in range(draws)]
        columns = [np.mean(column, axis=0) for column in zip(*judged, strict=True)]
        there = texts.get(PROMPT_MASK, torch.ones(len(batch), 1)).any(dim=1).tolist()
        rows += [
            _assessment(model, name, row, prompted=prompted)
            for name, row, prompted in zip(names, zip(*columns, strict=True), there, strict=True)
        ]
    return rows


def _pairs(
    images: Iterable[Any], prompts: Iterable[str | None] | str | None
) -> Iterator[tuple[Any, str | None]]:
    """Put each image beside its prompt; lazy, but counts what can be counted at once."""
    if prompts is None or isinstance(prompts, str):
        return ((image, prompts) for image in images)
    if isinstance(images, Sized) and isinstance(prompts, Sized) and len(images) != len(prompts):
        raise ValueError(f"there are {len(prompts)} prompts for {len(images)} images; give one for each")
    return _counted(images, prompts)


def _counted(images: Iterable[Any], prompts: Iterable[str | None]) -> Iterator[tuple[Any, str | None]]:
    for image, prompt in zip_longest(images, prompts, fillvalue=_END):
        if image is _END or prompt is _END:
            more, fewer = ("prompts", "images") if image is _END else ("images", "prompts")
            raise ValueError(f"there are more {more} than {fewer}; give one prompt for each image")
        yield image, prompt


def _prompts(network: QualityModel, names: list[str], prompts: list[str | None]) -> dict[str, Tensor]:
    """What the network is fed with of the prompts."""
    if network.text is None:
        return {}
    for name, prompt in zip(names, prompts, strict=True):
        if prompt is None and network.needs_prompt:
            raise MissingPromptError(
                name,
                f"no prompt, and {', '.join(network.needs_prompt)} cannot be judged without",
                "give prompts; an empty one leaves that out",
            )
        if not isinstance(prompt, str | None):
            raise InvalidPromptError(name, f"its prompt is {str(prompt)[:40]!r}, expected text")
    batch = tokens_of(network.text, [prompt or "" for prompt in prompts])
    return {PROMPT_IDS: batch.ids, PROMPT_MASK: batch.mask}


def _judge(
    model: TrainedModel, images: list[Pixels], draw: int, prompts: Mapping[str, Tensor]
) -> tuple[NDArray[np.float32], ...]:
    """Quality and spread, (images, targets) each, and the map if there is one."""
    network = model.network
    device = next(model.parameters()).device
    with torch.inference_mode():
        views = {name: view.to(device) for name, view in {**_views(model, images, draw), **prompts}.items()}
        columns: tuple[Tensor, ...]
        if network.has_map:
            judgement, cells = network.local_quality(views)
            columns = judgement.quality, judgement.spread, cells
        else:
            judgement = network(views)
            columns = judgement.quality, judgement.spread
    return tuple(column.float().cpu().numpy() for column in columns)


def _views(model: TrainedModel, images: list[Pixels], draw: int) -> dict[str, Tensor]:
    cuts = [cut_views(pixels, model.network.views, draw=draw) for pixels in images]
    return {name: torch.from_numpy(np.stack([cut[name] for cut in cuts])) for name in model.network.views}


def _assessment(
    model: TrainedModel, source: str, row: tuple[NDArray[np.float32], ...], *, prompted: bool
) -> Assessment:
    scores, spread, *maps = row
    record = model.record
    calibration = record.calibration[record.targets[0]]
    left_out = () if prompted else model.network.needs_prompt
    centre, reach = _clip(scores[0]), calibration.factor * float(spread[0])
    return Assessment(
        centre,
        Interval(_clip(centre - reach), _clip(centre + reach), calibration.coverage),
        f"{record.card.name}@{record.card.version}",
        source=source,
        aspects={name: score for name, score in _aspects(record.targets, scores) if name not in left_out},
        quality_map=np.clip(maps[0], LOWEST, HIGHEST) if maps else None,
        warnings=(f"no score for {', '.join(left_out)}: that takes a prompt",) if left_out else (),
    )


def _aspects(targets: tuple[str, ...], scores: NDArray[np.float32]) -> Iterator[tuple[str, float]]:
    for target, score in zip(targets[1:], scores[1:], strict=True):
        yield target, _clip(score)


def _clip(value: float) -> float:
    return min(max(float(value), LOWEST), HIGHEST)
