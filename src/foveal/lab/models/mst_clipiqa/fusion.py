"""Two streams become one vector: gated feature fusion, and what it is compared with.

Every fusion takes the streams as separate arguments, (batch, features) each, and gives (batch, width). Maps
of single streams begin as the identity: an untrained model sees what its encoders saw.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.lab.models.mst_clipiqa.config import FusionKind


class GatedFusion(nn.Module):
    """z = g * phi_c(f_c) + (1 - g) * phi_f(f_f), g = sigmoid(W_g relu(W_h [f_c; f_f] + b_h) + b_g).

    "Gated Feature Fusion" of MST-CLIPIQA: for each dimension the gate takes a share of either stream.

    Args:
        coarse: features of the coarse stream.
        fine: features of the fine stream.
        width: features of the fused vector.
        hidden: hidden features of the gate.
    """

    def __init__(self, coarse: int, fine: int, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(coarse + fine, hidden)
        self.gate = nn.Linear(hidden, width)
        self.coarse = _identity(coarse, width)
        self.fine = _identity(fine, width)

    def weigh(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """The gate, (batch, width) in (0, 1): how much of each dimension comes from the coarse stream."""
        inner = functional.relu(self.hidden(torch.cat([coarse, fine], dim=-1)))
        return torch.sigmoid(self.gate(inner))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Fuse (batch, coarse) and (batch, fine) -> (batch, width)."""
        gate = self.weigh(coarse, fine)
        fused: Tensor = gate * self.coarse(coarse) + (1 - gate) * self.fine(fine)
        return fused


class AverageFusion(nn.Module):
    """z = (phi_c(f_c) + phi_f(f_f)) / 2: the gated fusion whose gate is 1/2 throughout.

    Args:
        coarse: features of the coarse stream.
        fine: features of the fine stream.
        width: features of the fused vector.
    """

    def __init__(self, coarse: int, fine: int, width: int) -> None:
        super().__init__()
        self.coarse = _identity(coarse, width)
        self.fine = _identity(fine, width)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Fuse (batch, coarse) and (batch, fine) -> (batch, width)."""
        fused: Tensor = (self.coarse(coarse) + self.fine(fine)) / 2
        return fused


class ConcatFusion(nn.Module):
    """z = W_o relu(W_h [f_c; f_f] + b_h) + b_o: the gate's network, whose output is the fused vector itself.

    Args:
        coarse: features of the coarse stream.
        fine: features of the fine stream.
        width: features of the fused vector.
        hidden: hidden features.
    """

    def __init__(self, coarse: int, fine: int, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(coarse + fine, hidden)
        self.out = nn.Linear(hidden, width)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Fuse (batch, coarse) and (batch, fine) -> (batch, width)."""
        fused: Tensor = self.out(functional.relu(self.hidden(torch.cat([coarse, fine], dim=-1))))
        return fused


def make_fusion(kind: FusionKind, streams: Sequence[int], width: int, hidden: int) -> nn.Module:
    """Make a fusion.

    Args:
        kind: which one.
        streams: features of each stream: coarse and fine, or those of the one that is looked at.
        width: features of the fused vector.
        hidden: hidden features, of a fusion that has some.
    """
    if kind == "gate":
        return GatedFusion(streams[0], streams[1], width, hidden)
    if kind == "average":
        return AverageFusion(streams[0], streams[1], width)
    if kind == "concat":
        return ConcatFusion(streams[0], streams[1], width, hidden)
    return _identity(streams[0], width)


def _identity(features: int, width: int) -> nn.Linear:
    """An affine map that begins as the identity; it cuts or fills with zeros where widths differ."""
    layer = nn.Linear(features, width)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
