"""Probes: a linear layer or a small network on features of a frozen ViT, the floor for anything trained.

A frozen vision transformer keeps what is seen of distortions in its middle layers; CLS and mean patch token
of several layers and views, read by an MLP with dropout, come far (docs/results.md). As nothing before the
probe is trained, its features are computed once and kept on disk, and it trains in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.artifact.card import VIEW_KINDS, ViewSpec
from foveal.lab.backbones.vision import VisionBackbone
from foveal.lab.models.base import Judgement, JudgementHead, QualityModel


@dataclass(frozen=True)
class ProbeConfig:
    """What a probe reads, and how it is shaped.

    Attributes:
        layers: whose tokens are read, counted from 1; empty for every second one.
        views: kinds of views: ``whole``, ``fragments``, ``crop``.
        hidden: width of the hidden layer; 0 makes a linear probe.
        dropout: on features and hidden layer, in training.
    """

    layers: tuple[int, ...] = ()
    views: tuple[str, ...] = ("whole", "fragments")
    hidden: int = 192
    dropout: float = 0.4

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "views", tuple(self.views))
        if any(layer < 1 for layer in self.layers):
            raise ValueError(f"layers are {list(self.layers)}, expected numbers of blocks from 1 on")
        if not self.views or len(set(self.views)) < len(self.views) or set(self.views) - set(VIEW_KINDS):
            raise ValueError(
                f"views are {list(self.views)}, expected some of {', '.join(VIEW_KINDS)}, each once"
            )
        if self.hidden < 0:
            raise ValueError(f"hidden is {self.hidden}, expected 0 or more")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, expected 0 to below 1")


class ProbeModel(QualityModel):
    """A probe on one frozen backbone.

    Args:
        backbone: frozen.
        config: what is read, and by what.
        targets: columns of the judgement.

    Raises:
        ValueError: the backbone has fewer layers, or does not take square pictures.
    """

    def __init__(
        self,
        backbone: VisionBackbone,
        config: ProbeConfig | None = None,
        targets: tuple[str, ...] = ("quality",),
    ) -> None:
        super().__init__()
        self.config = config or ProbeConfig()
        self.targets = targets
        self.backbone = backbone
        self.layers = self.config.layers or tuple(range(2, backbone.depth + 1, 2))
        if max(self.layers) > backbone.depth:
            raise ValueError(f"{backbone.card.name} has {backbone.depth} layers, not {max(self.layers)}")
        height, width = backbone.native_size
        if height != width:
            raise ValueError(f"{backbone.card.name} takes {height} x {width} pixels: views are square")
        self.views = {kind: ViewSpec(kind, width) for kind in self.config.views}
        self.probe = Probe(len(self.views) * self.feature_width, self.config, len(targets))

    @property
    def feature_width(self) -> int:
        """Features of one view."""
        return 2 * len(self.layers) * self.backbone.width

    def frozen_head(self) -> nn.Module | None:
        """The probe, unless the backbone is trained with it."""
        return None if any(True for _ in self.backbone.trainable()) else self.probe

    def standardise(self, features: Mapping[str, Sequence[Tensor]]) -> None:
        """Take mean and deviation of each feature from the training part."""
        draws = [torch.cat(list(features[name])).double() for name in self.views]
        self.probe.mean.copy_(torch.cat([rows.mean(dim=0) for rows in draws]))
        self.probe.deviation.copy_(torch.cat([rows.std(dim=0) for rows in draws]).clamp_min(1e-6))

    def encoder(self, name: str) -> VisionBackbone:
        """The one backbone, for every view."""
        return self.backbone

    def extractor(self, name: str) -> str:
        """What, beside the backbone's weights, decides on the features."""
        return f"layers {','.join(map(str, self.layers))}; CLS and mean patch token"

    def encode(self, name: str, view: Tensor) -> Tensor:
        """Features of one view: uint8 (batch, side, side, 3) -> (batch, :attr:`feature_width`)."""
        states = self.backbone.tokens(self.backbone.normalise(view), self.layers)
        return pool_layers(states, self.backbone.prefix_tokens).flatten(1)

    def forward(self, views: Mapping[str, Tensor]) -> Judgement:
        """Judge a batch: uint8 (batch, side, side, 3) of each view by name."""
        judgement: Judgement = self.probe(self.encode_views(views))
        return judgement


class Probe(nn.Module):
    """The trained part: standardised features of all views -> judgement.

    Args:
        features: of all views together.
        config: its shape.
        targets: columns of the judgement.
    """

    def __init__(self, features: int, config: ProbeConfig, targets: int = 1) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(features, config.hidden) if config.hidden else None
        self.head = JudgementHead(config.hidden or features, targets)
        if self.hidden is None:
            # A linear probe of many features starts from the mean score, not from noise.
            nn.init.zeros_(self.head.quality.weight)

    def forward(self, features: Mapping[str, Tensor]) -> Judgement:
        """Judge from features (batch, d) of each view, in the order of the views."""
        # Cached features are float16, which autocast on CPUs will not join.
        joined = torch.cat([view.float() for view in features.values()], dim=1)
        inner = self.dropout((joined - self.mean) / self.deviation)
        if self.hidden is not None:
            inner = self.dropout(functional.gelu(self.hidden(inner)))
        judgement: Judgement = self.head(inner)
        return judgement


def pool_layers(states: Tensor, prefix: int) -> Tensor:
    """CLS and mean patch token: (batch, layers, tokens, width) -> (batch, layers, 2, width).

    Without a CLS token (SigLIP) the mean patch token stands in for it.
    """
    patches = states[:, :, prefix:].mean(dim=2)
    first = states[:, :, 0] if prefix else patches
    return torch.stack([first, patches], dim=2)
