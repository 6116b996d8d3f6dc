"""The frozen vision transformer as a teacher: tokens of several layers, at the speed of int8 in OpenVINO."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foveal.errors import UnsupportedArchitectureError
from foveal.imaging.views import SIDE, Pixels
from foveal.lab.backbones import VisionBackbone, load_backbone
from foveal.lab.training.inference import OrderedInference
from foveal.runtime.openvino_engine import import_openvino

LAYERS = (2, 4, 6, 8, 10, 12)
"""Layers read, counted after the embedding: every second one of a ViT-Tiny."""


class _Tokens(nn.Module):
    """uint8 NHWC view -> float (batch, layers, tokens, width), normalisation included."""

    def __init__(self, backbone: VisionBackbone, layers: Sequence[int]) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = tuple(layers)

    def forward(self, views: Tensor) -> Tensor:
        return self.backbone.tokens(self.backbone.normalise(views), self.layers)


class TokenTeacher:
    """Tokens of a frozen ViT for a stream of views.

    Args:
        folder: a ViT in the layout of ``transformers``, see
            :func:`~foveal.lab.backbones.load_backbone`, or any other backbone with one token before the
            patches.
        layers: which hidden states to read; 0 is the embedding.
        calibration: views to quantise with (NNCF, transformer preset); None keeps fp32. With
            AVX-512 VNNI int8 is about 1.7 x faster; late CLS tokens move by 3 to 7 % of their variance,
            patch tokens by under 2 %.

    Raises:
        BackboneError: the folder cannot be loaded.
        UnsupportedArchitectureError: the tokens do not begin with one CLS token and the patches.
        ValueError: there is no such layer.
    """

    def __init__(
        self, folder: Path, layers: Sequence[int] = LAYERS, calibration: Sequence[Pixels] | None = None
    ) -> None:
        openvino = import_openvino()
        backbone = load_backbone(folder)
        if backbone.prefix_tokens != 1:
            raise UnsupportedArchitectureError(
                f"{folder}: a {backbone.card.family} has {backbone.prefix_tokens} tokens before its patches; "
                "the teacher must have one, its CLS token"
            )
        # The converter would wrap the backbone's own error into one of tracing.
        if not layers or not all(0 <= layer <= backbone.depth for layer in layers):
            raise ValueError(f"{folder}: has layers 0 to {backbone.depth}, not {list(layers)}")
        module = _Tokens(backbone, layers)
        example = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer's, about checks of sizes that are fixed here
            model: Any = openvino.convert_model(module, example_input=example)
        model.reshape([1, SIDE, SIDE, 3])
        if calibration is not None:
            import nncf

            data = nncf.Dataset([view[None] for view in calibration])
            model = nncf.quantize(
                model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(calibration)
            )
        self._infer = OrderedInference(model)
        self.layers = tuple(layers)

    def tokens(self, views: Iterable[Pixels]) -> Iterator[NDArray[np.float32]]:
        """Yield float32 (layers, 1 + patches, width) for each view, in order."""
        for (tokens,) in self._infer({0: view[None]} for view in views):
            yield tokens


def pool_tokens(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """CLS and mean patch token of each layer: (layers, 1 + patches, width) -> (layers, 2, width)."""
    return np.stack([tokens[:, 0], tokens[:, 1:].mean(axis=1)], axis=1)


def cell_tokens(tokens: NDArray[np.float32], grid: int = 7) -> NDArray[np.float32]:
    """Average patch tokens over a grid: (layers, 1 + patches, width) -> (grid, grid, layers * width)."""
    layers, count, width = tokens.shape
    side = round(float(np.sqrt(count - 1)))
    patches = tokens[:, 1:].reshape(layers, grid, side // grid, grid, side // grid, width)
    cells: NDArray[np.float32] = patches.mean(axis=(2, 4))
    return cells.transpose(1, 2, 0, 3).reshape(grid, grid, layers * width)
