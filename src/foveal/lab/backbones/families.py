"""What differs between the families of vision transformers: how each one embeds, normalises and pools.

Everything here calls the modules of ``transformers`` themselves, in the order of the model's own ``forward``,
so that stepping through the blocks gives its hidden states.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

VISION_TOWER = "vision_model"
TEXT_TOWER = "text_model"
"""Names of the towers within a model, where it is not a tower itself."""

# The model, or the tower of a two-tower model, as transformers builds it; its attributes are not typed.
Core = Any


@dataclass(frozen=True)
class VisionFamily:
    """How to step through one family.

    Attributes:
        model_class: class of ``transformers`` that holds the image encoder.
        norm: name of the normalisation after the last block.
        embed: (core, pixels, whether to interpolate the positions) -> tokens before the first block.
        pool: (core, normalised tokens) -> one vector an image; None if this model has no pooling head.
        prefix_tokens: number of tokens before the patches, from the configuration.
        rotary: whether every block needs rotary position embeddings.
        joint: whether pooled vectors live in a space shared with text, after ``projection`` if there is one.
        projection: name of the linear layer into that space, a sibling of the core.
    """

    model_class: str
    norm: str
    embed: Callable[[Core, Tensor, bool], Tensor]
    pool: Callable[[Core, Tensor], Tensor | None]
    prefix_tokens: Callable[[Any], int]
    rotary: bool = False
    joint: bool = False
    projection: str | None = None


@dataclass(frozen=True)
class TextFamily:
    """How to read one family of text encoders.

    Attributes:
        model_class: class of ``transformers`` that holds the text encoder.
        projection: name of the linear layer into the space shared with images.
        sigmoid: whether it follows SigLIP: texts in lower case, padded to full length without a mask, pooled
            at the last position, and the projection belongs to the tower. CLIP pools at the end-of-text token
            and projects outside of the tower.
    """

    model_class: str
    projection: str
    sigmoid: bool = False


def _embed_absolute(core: Core, pixels: Tensor, interpolate: bool) -> Tensor:
    tokens: Tensor = core.embeddings(pixels, interpolate_pos_encoding=interpolate)
    return tokens


def _embed_clip(core: Core, pixels: Tensor, interpolate: bool) -> Tensor:
    tokens: Tensor = core.pre_layrnorm(_embed_absolute(core, pixels, interpolate))
    return tokens


def _embed_elastic(core: Core, pixels: Tensor, interpolate: bool) -> Tensor:
    # DINOv2 interpolates by itself where it has to, DINOv3 has no absolute positions.
    tokens: Tensor = core.embeddings(pixels)
    return tokens


def _embed_naflex(core: Core, pixels: Tensor, interpolate: bool) -> Tensor:
    # SigLIP 2 for any shape takes flattened patches, (row, column, channel) within each, and fits the
    # positions to the grid by itself.
    batch, channels, height, width = pixels.shape
    side = core.config.patch_size
    rows, columns = height // side, width // side
    patches = pixels.reshape(batch, channels, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
    shapes = torch.tensor([[rows, columns]] * batch, device=pixels.device)
    tokens: Tensor = core.embeddings(patches.reshape(batch, rows * columns, -1), shapes)
    return tokens


def _pool_first(core: Core, tokens: Tensor) -> Tensor:
    return tokens[:, 0]


def _pool_vit(core: Core, tokens: Tensor) -> Tensor:
    # Classifiers and self-supervised weights come without the pooler: then it is the CLS token itself.
    pooled: Tensor = tokens[:, 0] if core.pooler is None else core.pooler(tokens)
    return pooled


def _pool_attention(core: Core, tokens: Tensor) -> Tensor | None:
    pooled: Tensor | None = core.head(tokens) if core.use_head else None
    return pooled


def _one(config: Any) -> int:
    return 1


def _two(config: Any) -> int:
    return 2


def _none(config: Any) -> int:
    return 0


def _one_and_registers(config: Any) -> int:
    return 1 + int(config.num_register_tokens)


_CLIP = VisionFamily(
    "CLIPVisionModelWithProjection",
    "post_layernorm",
    _embed_clip,
    _pool_first,
    _one,
    joint=True,
    projection="visual_projection",
)
_SIGLIP = VisionFamily(
    "SiglipVisionModel", "post_layernorm", _embed_absolute, _pool_attention, _none, joint=True
)
_SIGLIP2 = VisionFamily(
    "Siglip2VisionModel", "post_layernorm", _embed_naflex, _pool_attention, _none, joint=True
)

VISION_FAMILIES: dict[str, VisionFamily] = {
    "vit": VisionFamily("ViTModel", "layernorm", _embed_absolute, _pool_vit, _one),
    "deit": VisionFamily("DeiTModel", "layernorm", _embed_absolute, _pool_vit, _two),
    "dinov2": VisionFamily("Dinov2Model", "layernorm", _embed_elastic, _pool_first, _one),
    "dinov2_with_registers": VisionFamily(
        "Dinov2WithRegistersModel", "layernorm", _embed_elastic, _pool_first, _one_and_registers
    ),
    "dinov3_vit": VisionFamily(
        "DINOv3ViTModel", "norm", _embed_elastic, _pool_first, _one_and_registers, rotary=True
    ),
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "siglip2": _SIGLIP2,
    "siglip2_vision_model": _SIGLIP2,
}
"""Image encoders by ``model_type``. DINO's weights are a ``vit``; SigLIP 2 of fixed size is a ``siglip``."""

_CLIP_TEXT = TextFamily("CLIPTextModelWithProjection", "text_projection")
_SIGLIP_TEXT = TextFamily("SiglipTextModel", "head", sigmoid=True)
_SIGLIP2_TEXT = TextFamily("Siglip2TextModel", "head", sigmoid=True)

TEXT_FAMILIES: dict[str, TextFamily] = {
    "clip": _CLIP_TEXT,
    "clip_text_model": _CLIP_TEXT,
    "siglip": _SIGLIP_TEXT,
    "siglip_text_model": _SIGLIP_TEXT,
    "siglip2": _SIGLIP2_TEXT,
    "siglip2_text_model": _SIGLIP2_TEXT,
}
"""Text encoders by ``model_type``."""
