"""A frozen vision transformer that can be stepped through block by block."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foveal.errors import MissingPartError, UnsupportedArchitectureError
from foveal.lab.backbones.base import Backbone
from foveal.lab.backbones.card import BackboneCard
from foveal.lab.backbones.families import VISION_TOWER, VisionFamily
from foveal.lab.backbones.preprocessing import Preprocessing, Size

Grid = tuple[int, int]
"""Rows and columns of patches."""


class VisionBackbone(Backbone):
    """Tokens of every layer, pooled and projected embeddings of a pretrained vision transformer.

    ``embed``, ``run_block`` and ``finish`` are the steps of the model's own forward pass. Tokens are
    (batch, ``prefix_tokens`` + patches, ``width``): CLS and registers first (none in SigLIP), then the
    patches row by row. Pixels are normalised floats (batch, 3, height, width) of the native size, or of any
    other size that is a multiple of the patch: positions are then interpolated as the model's makers do.

    Args:
        model: model of ``transformers`` with the weights loaded.
        family: how to step through it.
        preprocessing: how it wants its pictures.
        card: identity and origin.

    Raises:
        UnsupportedArchitectureError: patches are not square.
    """

    def __init__(
        self, model: nn.Module, family: VisionFamily, preprocessing: Preprocessing, card: BackboneCard
    ) -> None:
        super().__init__(model, VISION_TOWER, family.norm, card)
        self._family = family
        self._mask_argument = "attention_mask" in inspect.signature(self.blocks[0].forward).parameters
        self.preprocessing = preprocessing
        self.patch = read_patch(self.core.config)
        self.native_size = read_native_size(self.core.config)
        self.prefix_tokens = family.prefix_tokens(self.core.config)
        self.mean: Tensor
        self.std: Tensor
        for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            column = torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) / preprocessing.rescale
            self.register_buffer(name, column.float(), persistent=False)

    def normalise(self, views: Tensor | NDArray[np.uint8]) -> Tensor:
        """Normalise pictures with the model's own mean and deviation.

        Args:
            views: uint8 (batch, height, width, 3).

        Returns:
            float32 (batch, 3, height, width) on the device of the model.

        Raises:
            ValueError: another shape.
        """
        batch = torch.as_tensor(views, device=self.mean.device)
        if batch.ndim != 4 or batch.shape[-1] != 3:
            raise ValueError(f"views must be (batch, height, width, 3), not {tuple(batch.shape)}")
        return (batch.permute(0, 3, 1, 2).float() - self.mean) / self.std

    def embed(self, pixels: Tensor) -> Tensor:
        """Turn pixels into the tokens that enter the first block.

        Raises:
            ValueError: the size is neither the native one nor a multiple of the patch.
        """
        height, width = pixels.shape[-2:]
        native = (height, width) == self.native_size
        if not native and (height % self.patch or width % self.patch):
            raise ValueError(
                f"{self.card.name} takes {self.native_size[0]} x {self.native_size[1]} pixels or multiples "
                f"of its patch of {self.patch}, not {height} x {width}"
            )
        return self._family.embed(self.core, pixels.to(self.dtype), not native)

    def run_block(self, index: int, tokens: Tensor, grid: Grid | None = None) -> Tensor:
        """Run one block.

        Args:
            index: 0 to ``depth - 1``.
            tokens: as they come from :meth:`embed` or the block before, changed or not.
            grid: rows and columns of patches; only families with rotary positions look at it, and only for
                pictures that are not square.

        Raises:
            ValueError: no square grid has so many patches, and ``grid`` was not given.
        """
        arguments: dict[str, Any] = {"attention_mask": None} if self._mask_argument else {}
        if self._family.rotary:
            arguments["position_embeddings"] = self._rotary(tokens, grid)
        output: Tensor = self.blocks[index](tokens, **arguments)
        return output

    def finish(self, tokens: Tensor) -> Tensor:
        """Apply the normalisation after the last block to every token.

        (CLIP itself normalises only the CLS token, and calls the tokens before that its last hidden state.)
        """
        normalised: Tensor = self.final_norm(tokens)
        return normalised

    def pool(self, finished: Tensor) -> Tensor:
        """Reduce finished tokens to one vector an image: CLS, pooler or attention-pooling head.

        Returns:
            (batch, width of the pooler).

        Raises:
            MissingPartError: a SigLIP without its head.
        """
        pooled = self._family.pool(self.core, finished)
        if pooled is None:
            raise MissingPartError(f"{self.card.name}: has no pooling head; average its patch tokens instead")
        return pooled

    def project(self, pooled: Tensor) -> Tensor:
        """Map pooled vectors into the space shared with the text encoder (CLIP's ``image_embeds``).

        SigLIP's pooled vectors live there already.

        Raises:
            MissingPartError: the model was not trained with text, or the projection is not in the folder.
        """
        if not self._family.joint:
            raise MissingPartError(f"{self.card.name}: a {self.card.family} shares no space with text")
        if self._family.projection is None:
            return pooled
        projection = getattr(self.model, self._family.projection)
        if projection is None:
            raise MissingPartError(f"{self.card.name}: the folder holds no {self._family.projection}")
        projected: Tensor = projection(pooled)
        return projected

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels to finished tokens: (batch, 3, height, width) -> (batch, tokens, width)."""
        return self.finish(self.tokens(pixels, (self.depth,))[:, 0])

    def tokens(self, pixels: Tensor, layers: Sequence[int] | None = None) -> Tensor:
        """Read the hidden states of several layers, before the final normalisation.

        Args:
            pixels: normalised, (batch, 3, height, width).
            layers: 0 for the embedding, ``i`` for the output of the ``i``-th block; by default all of them.
                Blocks behind the last one asked for are not run.

        Returns:
            (batch, layers, tokens, width).

        Raises:
            ValueError: there is no such layer, or none is asked for.
        """
        wanted = tuple(range(self.depth + 1)) if layers is None else tuple(layers)
        if not wanted or not all(0 <= layer <= self.depth for layer in wanted):
            raise ValueError(f"{self.card.name} has layers 0 to {self.depth}, not {list(wanted)}")
        states = [self.embed(pixels)]
        grid = pixels.shape[-2] // self.patch, pixels.shape[-1] // self.patch
        for index in range(max(wanted)):
            states.append(self.run_block(index, states[-1], grid))
        return torch.stack([states[layer] for layer in wanted], dim=1)

    def pooled(self, pixels: Tensor) -> Tensor:
        """Pixels to one vector an image, as the model itself pools: (batch, width)."""
        return self.pool(self(pixels))

    def projected(self, pixels: Tensor) -> Tensor:
        """Pixels to embeddings in the space shared with text, not scaled to length 1."""
        return self.project(self.pooled(pixels))

    def _rotary(self, tokens: Tensor, grid: Grid | None) -> Any:
        patches = tokens.shape[1] - self.prefix_tokens
        rows, columns = grid or (math.isqrt(patches),) * 2
        if rows * columns != patches:
            raise ValueError(
                f"{patches} patches do not fill a grid of {rows} x {columns}; give run_block the grid"
            )
        # The model looks at the shape, type and device of the pixels only.
        shape = (1, 1, rows * self.patch, columns * self.patch)
        pixels = torch.empty((), dtype=self.dtype, device=tokens.device).expand(shape)
        return self.core.rope_embeddings(pixels)


def read_patch(config: Any) -> int:
    """Read the side of a patch from a configuration.

    Raises:
        UnsupportedArchitectureError: patches are not square.
    """
    height, width = _pair(config.patch_size)
    if height != width:
        raise UnsupportedArchitectureError(f"patches of {height} x {width} pixels are not square")
    return height


def read_native_size(config: Any) -> Size:
    """Read height and width that a model was trained on from its configuration."""
    if not hasattr(config, "image_size"):
        # SigLIP 2 for any shape: the grid that its positions are stored for.
        side = math.isqrt(int(config.num_patches)) * read_patch(config)
        return side, side
    return _pair(config.image_size)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, second = value
    return int(first), int(second)
