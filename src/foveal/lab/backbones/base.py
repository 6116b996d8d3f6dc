"""What image and text encoders share: a frozen tower of blocks whose end can be set free for training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import nn

from foveal.errors import UnsupportedArchitectureError
from foveal.lab.backbones.card import BackboneCard

# Where releases of transformers keep the list of blocks of a tower.
_BLOCKS = ("encoder.layer", "encoder.layers", "model.layer", "layers", "layer")


class Backbone(nn.Module):
    """A frozen tower of transformer blocks.

    All parameters are frozen to begin with; gradients still flow through the blocks to whatever is put
    between them. The model always runs as at inference, whatever ``train()`` is called with: no dropout, and
    no random shift of rotary positions, which would differ from block to block. Only adapters that were put
    into it for training follow.

    Attributes:
        adapters: layers within the model that adapters were put around, see
            :func:`~foveal.lab.backbones.tuning.apply_tuning`.

    Args:
        model: model of ``transformers`` with the weights loaded.
        tower: name of the tower within it; a model without one is a tower itself.
        norm: name of the core's normalisation after the last block.
        card: identity and origin.
    """

    def __init__(self, model: nn.Module, tower: str, norm: str, card: BackboneCard) -> None:
        super().__init__()
        self.model = model
        self.card = card
        self._tower = tower
        self._norm = norm
        # A plain list: the model registers them already.
        self.adapters: list[nn.Module] = []
        self.freeze()
        self.train(self.training)

    @property
    def core(self) -> Any:
        """The tower as ``transformers`` builds it."""
        return find_tower(self.model, self._tower)

    @property
    def width(self) -> int:
        """Features a token."""
        return int(self.core.config.hidden_size)

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def blocks(self) -> nn.ModuleList:
        """The blocks, first to last."""
        return find_blocks(self.core)

    @property
    def final_norm(self) -> nn.Module:
        """The normalisation after the last block."""
        norm: nn.Module = getattr(self.core, self._norm)
        return norm

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights: float32 as loaded, see ``nn.Module.to``."""
        return next(self.model.parameters()).dtype

    def freeze(self) -> None:
        """Freeze every parameter."""
        self.model.requires_grad_(False)

    def unfreeze_last(self, count: int) -> None:
        """Set the last ``count`` blocks and the normalisation after them free, freeze all else.

        Args:
            count: 0 (all frozen) to ``depth``.

        Raises:
            ValueError: the model has fewer blocks.
        """
        if not 0 <= count <= self.depth:
            raise ValueError(f"{self.card.name} has {self.depth} blocks: cannot set the last {count} free")
        self.freeze()
        if count:
            for part in (*self.blocks[self.depth - count :], self.final_norm):
                part.requires_grad_(True)

    def trainable(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that are not frozen."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of wrapper and adapters; the model within keeps running as at inference."""
        super().train(mode)
        self.model.eval()
        for adapter in self.adapters:
            adapter.train(mode)
        return self


def find_tower(model: nn.Module, tower: str) -> nn.Module:
    """Find a tower within a model, which may be the model itself."""
    core: nn.Module = getattr(model, tower, model)
    return core


def find_blocks(core: nn.Module) -> nn.ModuleList:
    """Find the list of blocks of a tower.

    Raises:
        UnsupportedArchitectureError: this release of transformers keeps it somewhere unknown.
    """
    for path in _BLOCKS:
        try:
            found = core.get_submodule(path)
        except AttributeError:
            continue
        if isinstance(found, nn.ModuleList):
            return found
    raise UnsupportedArchitectureError(
        f"{type(core).__name__}: its blocks are not where they were in any known release of transformers; "
        "install one that the lab was tested with"
    )
