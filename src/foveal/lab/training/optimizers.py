"""Muon: momentum whose update is orthogonalised, for the matrices and kernels of a network.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. In short trainings of small
convolutional networks it needs clearly fewer steps than Adam. ``torch.optim.Muon`` takes matrices only; this
one flattens convolution kernels to (outputs, inputs x height x width).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

# Coefficients of the quintic Newton-Schulz iteration given by the authors: steep at zero, so that five
# steps bring all singular values above 0.2 % of the matrix's norm into [0.68, 1.21]; smaller ones fall short.
_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrix, approximately: same singular vectors, singular values near 1."""
    a, b, c = _QUINTIC
    wide: Tensor = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


class Muon(Optimizer):
    """Muon for parameters of two dimensions or more.

    Args:
        params: matrices or convolution kernels.
        lr: size of a step. The spectral norm of a step is about ``lr``, times the square root of rows over
            columns where a matrix is taller than wide.
        momentum: decay of the Nesterov momentum.
        weight_decay: decoupled, times ``lr``.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        direction = torch.lerp(gradient, state["momentum"], group["momentum"])
        flat = orthogonalise(direction.reshape(len(direction), -1))
        scale = max(1.0, flat.shape[0] / flat.shape[1]) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(flat.reshape(parameter.shape), alpha=-group["lr"] * scale)


def split_parameters(module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Kernels of convolutions (for Muon) and everything else (for AdamW)."""
    kernels: list[Tensor] = [layer.weight for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    known = {id(kernel) for kernel in kernels}
    return kernels, [parameter for parameter in module.parameters() if id(parameter) not in known]
