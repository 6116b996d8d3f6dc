"""The models that a recipe can name: one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from foveal.lab.backbones.vision import VisionBackbone
from foveal.lab.models.base import QualityModel
from foveal.lab.models.glia import GliaConfig, GliaNet
from foveal.lab.models.probe import ProbeConfig, ProbeModel


@dataclass(frozen=True)
class ModelKind:
    """How to make a model.

    Attributes:
        config: dataclass of its choices.
        make: from backbone, choices and targets.
    """

    config: type[Any]
    make: Callable[[VisionBackbone, Any, tuple[str, ...]], QualityModel]


MODELS: Mapping[str, ModelKind] = MappingProxyType(
    {
        "glia": ModelKind(GliaConfig, GliaNet),
        "probe": ModelKind(ProbeConfig, ProbeModel),
    }
)
"""Names as they stand in a recipe's ``model.kind``."""
