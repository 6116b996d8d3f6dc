"""A frozen vision tower for LLaVA that sees each place of an image twice: in the whole, and as a fragment.

The image is cut into 7 x 7 places. Of each, one token tells what a frozen trunk makes of it in the whole view
(224 x 224) beside what it makes of a fragment of 32 x 32 native pixels from there. The trunk is a ViT of
``transformers`` (experiments) or the shipped convolutional network's (nothing to download).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from foveal.imaging.views import GRID, SIDE
from foveal.lab.models.compact import CompactConfig, CompactNet, Trunk

PLACES = GRID * GRID
"""Tokens an image."""


class TwoViewConfig(PreTrainedConfig):  # type: ignore[misc]
    """What the tower is made of.

    Attributes:
        trunk: ``compact``, the shipped network's convolutional trunk, or ``vit``, one of ``transformers``.
        trunk_config: configuration of the trunk: fields of
            :class:`~foveal.lab.models.compact.CompactConfig`, or a ViT's own.
        layers: blocks of the ViT, counted from 1, or stages of the trunk, whose maps are read.
        mean, deviation: normalisation of pixels 0-255 for a ViT.
        hidden_size: features a token; what LLaVA's projector reads.
    """

    model_type = "foveal_two_view"

    trunk: str = "compact"
    trunk_config: dict[str, Any] | None = None
    layers: list[int] | None = None
    mean: float = 127.5
    deviation: float = 127.5
    hidden_size: int = 0

    def __post_init__(self, **kwargs: Any) -> None:
        """Fill in what the others imply."""
        self.trunk_config = dict(self.trunk_config or {})
        if self.trunk not in ("compact", "vit"):
            raise ValueError(f"trunk is {self.trunk!r}, expected 'compact' or 'vit'")
        self.layers = list(self.layers or ([3, 4] if self.trunk == "compact" else [4, 8, 12]))
        if self.trunk == "compact":
            widths = CompactConfig(**_tuples(self.trunk_config)).widths
            self.hidden_size = 2 * sum(widths[layer - 1] for layer in self.layers)
        else:
            self.hidden_size = 2 * len(self.layers) * int(self.trunk_config.get("hidden_size", 768))
        super().__post_init__(**kwargs)


class TwoViewTower(PreTrainedModel):  # type: ignore[misc]
    """Tokens of the 7 x 7 places of images.

    ``forward`` takes uint8 or float values 0-255, (batch, 3, 448, 224): the whole view above the fragments,
    and gives hidden states (batch, 49, ``hidden_size``); features of each layer have mean 0
    and variance 1, which is what the projector of a small model learns fastest from.
    """

    config_class = TwoViewConfig
    main_input_name = "pixel_values"
    base_model_prefix = "tower"
    # The trunk decides for itself; the convolutional one has no attention at all.
    _supports_sdpa = True

    def __init__(self, config: TwoViewConfig) -> None:
        super().__init__(config)
        self.trunk: nn.Module
        if config.trunk == "compact":
            self.trunk = Trunk(CompactConfig(**_tuples(config.trunk_config or {})))
        else:
            self.trunk = AutoModel.from_config(
                _vit_config(config.trunk_config or {}), add_pooling_layer=False
            )
        self.post_init()

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = True, **_: Any) -> BaseModelOutput:
        """See the class."""
        count = len(pixel_values)
        views = torch.cat([pixel_values[:, :, :SIDE], pixel_values[:, :, SIDE:]]).to(self.dtype)
        maps = self._compact(views) if self.config.trunk == "compact" else self._vit(views)
        places = torch.cat([functional.layer_norm(part, part.shape[-1:]) for part in maps], dim=-1)
        tokens = torch.cat([places[:count], places[count:]], dim=-1)
        return BaseModelOutput(last_hidden_state=tokens, hidden_states=(tokens,))

    def _compact(self, views: Tensor) -> list[Tensor]:
        """(2 x batch, 3, 224, 224) -> maps (2 x batch, 49, features) of the chosen stages."""
        images = CompactNet.normalise(views.permute(0, 2, 3, 1))
        maps = self.trunk(images)
        return [_places(maps[layer - 1]) for layer in self.config.layers]

    def _vit(self, views: Tensor) -> list[Tensor]:
        hidden = self.trunk(
            (views - self.config.mean) / self.config.deviation, output_hidden_states=True
        ).hidden_states
        side = int((hidden[0].shape[1] - 1) ** 0.5)
        return [
            _places(hidden[layer][:, 1:].transpose(1, 2).unflatten(2, (side, side)))
            for layer in self.config.layers
        ]


def _places(maps: Tensor) -> Tensor:
    """(batch, features, rows, columns) -> (batch, 49, features): means over each place."""
    return functional.adaptive_avg_pool2d(maps, GRID).flatten(2).transpose(1, 2)


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _vit_config(values: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(**{"model_type": "vit", **values})
