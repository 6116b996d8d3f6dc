"""The models that a recipe can name: one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from foveal.lab.models.base import Backbones, QualityModel
from foveal.lab.models.glia import GliaConfig, GliaNet
from foveal.lab.models.mst_clipiqa import MstClipIqa, MstConfig
from foveal.lab.models.probe import ProbeConfig, ProbeModel
from foveal.lab.models.regressor import Regressor, RegressorConfig
from foveal.lab.models.zero_shot import ClipIqa, ClipIqaConfig


@dataclass(frozen=True)
class ModelKind:
    """How to make a model.

    Attributes:
        config: dataclass of its choices.
        make: from backbones, choices and targets.
    """

    config: type[Any]
    make: Callable[[Backbones, Any, tuple[str, ...]], QualityModel]


MODELS: Mapping[str, ModelKind] = MappingProxyType(
    {
        "glia": ModelKind(GliaConfig, lambda on, config, targets: GliaNet(on.vision, config, targets)),
        "probe": ModelKind(ProbeConfig, lambda on, config, targets: ProbeModel(on.vision, config, targets)),
        "mst-clipiqa": ModelKind(MstConfig, MstClipIqa),
        "regressor": ModelKind(
            RegressorConfig, lambda on, config, targets: Regressor(on.vision, config, targets)
        ),
        "clip-iqa": ModelKind(ClipIqaConfig, ClipIqa),
    }
)
"""Names as they stand in a recipe's ``model.kind``."""
