"""The compact two-view network: small enough to ship, trained from random initialisation.

One convolutional trunk reads both views of an image, the whole and the fragments, and pools its last stages
into a signature; a small head judges the two signatures together. Dense 3 x 3 convolutions, ReLU and batch
norm only: they fold into plain convolutions, quantise well and are what CPUs run fastest.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.assessment import HIGHEST, LOWEST


@dataclass(frozen=True)
class CompactConfig:
    """Shape of the network.

    Attributes:
        widths: channels of the four stages, at strides 4, 8, 16 and 32.
        depths: residual blocks of each stage.
        signature: length of a view's signature before the head.
        hidden: hidden units of the head.
    """

    widths: tuple[int, int, int, int] = (32, 72, 144, 288)
    depths: tuple[int, int, int, int] = (1, 2, 4, 2)
    signature: int = 192
    hidden: int = 96

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a recipe or a checkpoint."""
        return asdict(self)


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class Bottleneck(nn.Module):
    """Residual block (He et al. 2016): 1 x 1 to half the width, 3 x 3, 1 x 1 back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = _convolution(width, width // 2, 1)
        self.mix = _convolution(width // 2, width // 2, 3)
        self.expand = _convolution(width // 2, width, 1)
        # Zero: each block starts as the identity, which trains faster.
        for part in self.expand:
            if isinstance(part, nn.BatchNorm2d):
                nn.init.zeros_(part.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, width, height, width) -> the same shape."""
        inner = functional.relu(self.mix(functional.relu(self.reduce(maps))))
        return functional.relu(maps + self.expand(inner))


class Trunk(nn.Module):
    """Maps of four stages from normalised views."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        before = 3
        for number, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            entry = _convolution(before, width, 7, 4) if number == 0 else _convolution(before, width, 3, 2)
            stages.append(nn.Sequential(entry, nn.ReLU(), *(Bottleneck(width) for _ in range(depth))))
            before = width
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images (batch, 3, 224, 224) -> maps at strides 4, 8, 16 and 32."""
        maps = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return maps


def pool_maps(maps: list[Tensor]) -> Tensor:
    """Mean and standard deviation over the plane of the last three stages, concatenated: (batch, features).

    The deviation tells how unevenly a feature is spread: one sharp subject before a soft background differs
    from an image that is half sharp all over.
    """
    pooled = []
    for stage in maps[1:]:
        mean = stage.mean(dim=(2, 3))
        power = (stage * stage).mean(dim=(2, 3))
        pooled += [mean, torch.sqrt(functional.relu(power - mean * mean) + 1e-4)]
    return torch.cat(pooled, dim=1)


class CompactNet(nn.Module):
    """Quality and its uncertainty from two views.

    ``forward`` takes uint8 views as the ground floor cuts them and gives quality on 1-5 and a positive
    spread, the scale of the error that the network expects of itself.
    """

    def __init__(self, config: CompactConfig | None = None) -> None:
        super().__init__()
        self.config = config or CompactConfig()
        self.trunk = Trunk(self.config)
        pooled = 2 * sum(self.config.widths[1:])
        # The two views have different statistics: each has its own normalisation and projection.
        self.signatures = nn.ModuleDict({
            view: nn.Sequential(nn.BatchNorm1d(pooled), nn.Linear(pooled, self.config.signature), nn.ReLU())
            for view in ("whole", "fragments")
        })  # fmt: skip
        self.head = nn.Sequential(
            nn.Linear(2 * self.config.signature, self.config.hidden),
            nn.ReLU(),
            nn.Linear(self.config.hidden, 2),
        )

    @staticmethod
    def normalise(views: Tensor) -> Tensor:
        """uint8 (batch, 224, 224, 3) -> float (batch, 3, 224, 224), roughly in [-2, 2]."""
        return (views.permute(0, 3, 1, 2).float() - 114.0) / 64.0

    def judge(self, whole: Tensor, fragments: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features of the two views, (batch, features) each -> quality and spread, (batch,) each."""
        both = torch.cat([self.signatures["whole"](whole), self.signatures["fragments"](fragments)], dim=1)
        raw = self.head(both)
        middle, half = (HIGHEST + LOWEST) / 2, (HIGHEST - LOWEST) / 2
        return middle + half * torch.tanh(raw[:, 0] / 2), functional.softplus(raw[:, 1]) + 0.05

    def forward(self, whole: Tensor, fragments: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 views (batch, 224, 224, 3) each -> quality (batch,) in [1, 5] and spread (batch,) > 0."""
        count = whole.shape[0]
        pooled = pool_maps(self.trunk(self.normalise(torch.cat([whole, fragments]))))
        return self.judge(pooled[:count], pooled[count:])
