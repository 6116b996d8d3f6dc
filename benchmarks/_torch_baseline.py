"""The network of the compact assessor in torch, eager and fp32, as people run such networks.

The shipped file holds a graph, no torch module. So the architecture is built anew with random weights: the
same layers on the same shapes, hence the same arithmetic and the same time.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from _race import Contestant, taken
from foveal.imaging.decode import decode
from foveal.imaging.views import SIDE, Pixels, content_offsets, fragment_view, whole_view
from foveal.lab.models.compact import CompactConfig, CompactNet
from foveal.lab.training.compact_export import PooledTrunk
from foveal.lab.training.head import Head, HeadConfig

NETWORK, END_TO_END = "torch eager fp32, network only", "torch eager fp32, end to end"
Views = tuple[Pixels, Pixels]
"""Whole and fragments of one image."""


class Network(nn.Module):
    """Trunk and head of the shipped assessor as they are before folding and quantisation."""

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        super().__init__()
        shape = recipe["network"]
        config = CompactConfig(widths=tuple(shape["widths"]), depths=tuple(shape["depths"]))
        self.trunk = PooledTrunk(CompactNet(config)).eval()
        blank = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
        with torch.inference_mode():
            pooled, _ = self.trunk(blank, blank)
        self.head = Head(pooled.shape[1], HeadConfig(**recipe.get("head", {}))).eval()

    def forward(self, whole: Tensor, fragments: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 views (batch, 224, 224, 3) each -> quality and spread, (batch,) each."""
        quality, spread = self.head(*self.trunk(whole, fragments))
        return quality, spread


def build(recipe: Path) -> Network:
    """The network whose shape stands in a recipe, with random weights, in evaluation mode."""
    torch.manual_seed(0)
    return Network(tomllib.loads(recipe.read_text(encoding="utf-8"))).eval()


def same_convolutions(network: nn.Module, weights: Mapping[str, NDArray[Any]]) -> bool:
    """Whether an artifact's convolution kernels have exactly the shapes of the network's."""
    ours = Counter(tuple(part.weight.shape) for part in network.modules() if isinstance(part, nn.Conv2d))
    return ours == Counter(weight.shape for weight in weights.values() if weight.ndim == 4)


def contestants(
    network: nn.Module, files: Sequence[str], batches: Sequence[int], threads: int
) -> list[Contestant]:
    """For each size of batch: the network alone on views cut before, and the whole way from the file."""
    torch.set_num_threads(threads)
    views = [_cut(decode(file).pixels) for file in files]

    def network_only(batch: int) -> Contestant:
        def judge(count: int) -> None:
            judge_all(network, taken(views, count), batch)

        return Contestant(batched(NETWORK, batch), threads, judge, batch)

    def end_to_end(batch: int) -> Contestant:
        def judge(count: int) -> None:
            judge_all(network, map(_open_and_cut, taken(files, count)), batch)

        return Contestant(batched(END_TO_END, batch), threads, judge, batch)

    return [make(batch) for make in (network_only, end_to_end) for batch in batches]


def batched(name: str, batch: int) -> str:
    """What the table calls a contestant with batches of this size."""
    return f"{name}, " + ("one at a time" if batch == 1 else f"batches of {batch}")


def judge_all(network: nn.Module, views: Iterator[Views], batch: int) -> list[float]:
    """Quality of all images, batch by batch."""
    scores: list[float] = []
    while chunk := list(islice(views, batch)):
        whole, fragments = (torch.from_numpy(np.stack(side)) for side in zip(*chunk, strict=True))
        with torch.inference_mode():
            quality, _ = network(whole, fragments)
        scores += quality.tolist()
    return scores


def _open_and_cut(file: str) -> Views:
    """As people write it: Pillow and then the views, in the process that runs the network."""
    with Image.open(file) as picture:
        return _cut(np.asarray(picture.convert("RGB")))


def _cut(pixels: Pixels) -> Views:
    whole = whole_view(pixels)
    return whole, fragment_view(pixels, content_offsets(whole))
