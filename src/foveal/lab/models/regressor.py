"""CLIPIQA and DINOIQA: a small regressor on one vector of a vision transformer.

Paper: "Towards Efficient Vision Transformers for Perceptual Quality Assessment of Diffusion-Generated
Images", section 2.1 (Eq. 1-3) and section 3. CLIPIQA keeps CLIP frozen; DINOIQA trains DINO's last block and
final normalisation together with the regressor, which here is a backbone tuned with
``TuningMode("last", blocks=1)``. What is ours: a spread beside the quality, whose gradient stops before the
regressor, so that intervals can be calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.artifact.card import VIEW_KINDS, ViewSpec
from foveal.errors import MissingPartError
from foveal.lab.backbones.vision import VisionBackbone
from foveal.lab.models.base import Judgement, JudgementHead, QualityModel

ViewKind = Literal["whole", "fragments", "crop"]


@dataclass(frozen=True)
class RegressorConfig:
    """What the regressor reads, and how wide it is.

    Attributes:
        view: what the backbone sees: ``whole`` as in the paper, ``fragments`` or ``crop``.
        hidden: width of the hidden layer.
        dropout: on the vector and the hidden layer, in training; the paper has none.
    """

    view: ViewKind = "whole"
    hidden: int = 256
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.view not in VIEW_KINDS:
            raise ValueError(f"view is {self.view!r}, expected {', '.join(VIEW_KINDS)}")
        if self.hidden < 1:
            raise ValueError(f"hidden is {self.hidden}, expected 1 or more")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, expected 0 to below 1")


@dataclass(frozen=True)
class Pooling:
    """How a backbone gives one vector an image.

    Attributes:
        kind: ``projected``, the pooled vector in the space shared with text, of backbones that have one;
            ``cls``, the CLS token after the final normalisation; ``patches``, the mean patch token, of those
            without either.
        width: features of the vector.
    """

    kind: Literal["projected", "cls", "patches"]
    width: int

    def read(self, backbone: VisionBackbone, pixels: Tensor) -> Tensor:
        """Normalised pixels (batch, 3, height, width) -> (batch, :attr:`width`)."""
        finished = backbone(pixels)
        if self.kind == "projected":
            return backbone.project(backbone.pool(finished))
        first: Tensor = finished[:, 0] if self.kind == "cls" else finished.mean(dim=1)
        return first


def find_pooling(backbone: VisionBackbone) -> Pooling:
    """Find out how a backbone gives one vector an image: in the space of text if there is one."""
    tokens = torch.zeros(
        1, backbone.prefix_tokens + 1, backbone.width, device=backbone.device, dtype=backbone.dtype
    )
    try:
        with torch.no_grad():
            projected = backbone.project(backbone.pool(tokens))
    except MissingPartError:
        return Pooling("cls" if backbone.prefix_tokens else "patches", backbone.width)
    return Pooling("projected", projected.shape[-1])


class RegressorHead(nn.Module):
    """Linear - ReLU - Linear (section 3 of the paper), and the spread beside the last layer.

    Args:
        view: name of the input.
        features: of the vector.
        config: width and dropout.
        targets: columns of the judgement.
    """

    def __init__(self, view: str, features: int, config: RegressorConfig, targets: int = 1) -> None:
        super().__init__()
        self.view = view
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(features, config.hidden)
        self.head = JudgementHead(config.hidden, targets)

    def forward(self, features: Mapping[str, Tensor]) -> Judgement:
        """Judge from the vectors (batch, features) of the one view."""
        # Cached features are float16, which autocast on CPUs will not join.
        inner = self.dropout(features[self.view].float())
        inner = self.dropout(functional.relu(self.hidden(inner)))
        judgement: Judgement = self.head(inner)
        return judgement


class Regressor(QualityModel):
    """A regressor on one backbone: CLIPIQA if that is frozen, DINOIQA if its last block is trained.

    Args:
        backbone: frozen or tuned.
        config: what is read, and by what.
        targets: columns of the judgement.

    Raises:
        ValueError: the backbone does not take square pictures, or its pictures cannot be made of fragments.
    """

    def __init__(
        self,
        backbone: VisionBackbone,
        config: RegressorConfig | None = None,
        targets: tuple[str, ...] = ("quality",),
    ) -> None:
        super().__init__()
        self.config = config or RegressorConfig()
        self.targets = targets
        self.backbone = backbone
        self.pooling = find_pooling(backbone)
        view = self.config.view
        self.views = {view: native_view(backbone, view)}
        self.regressor = RegressorHead(view, self.pooling.width, self.config, len(targets))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``head``, and ``backbone`` where some of it is trained."""
        groups = {"head": list(self.regressor.parameters())}
        if backbone := list(self.backbone.trainable()):
            groups["backbone"] = backbone
        return groups

    def frozen_head(self) -> nn.Module | None:
        """The regressor, unless the backbone is trained with it."""
        return None if any(True for _ in self.backbone.trainable()) else self.regressor

    def encoder(self, name: str) -> VisionBackbone:
        """The one backbone."""
        return self.backbone

    def extractor(self, name: str) -> str:
        """What, beside the backbone's weights, decides on the features."""
        return f"pooled: {self.pooling.kind}"

    def encode(self, name: str, view: Tensor) -> Tensor:
        """The vector of each image: uint8 (batch, side, side, 3) -> (batch, d)."""
        return self.pooling.read(self.backbone, self.backbone.normalise(view))

    def forward(self, views: Mapping[str, Tensor]) -> Judgement:
        """Judge a batch: uint8 (batch, side, side, 3) of the one view."""
        judgement: Judgement = self.regressor(self.encode_views(views))
        return judgement


def native_view(backbone: VisionBackbone, kind: ViewKind) -> ViewSpec:
    """The view of a kind in the size that a backbone was trained on.

    Raises:
        ValueError: that size is not square, or no grid of fragments fits into it.
    """
    height, width = backbone.native_size
    if height != width:
        raise ValueError(f"{backbone.card.name} takes {height} x {width} pixels: views are square")
    try:
        return ViewSpec(kind, width)
    except ValueError as error:
        raise ValueError(f"{backbone.card.name} takes {height} x {width} pixels: {error}") from error
