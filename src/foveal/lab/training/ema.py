"""An exponential moving average of the weights that are trained: often better than the last step's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """Average of the trainable parameters of a module over its steps (Polyak and Juditsky, 1992).

    Frozen parameters are not copied: beside a frozen backbone the average is as small as the head. Kept in
    float32, as a half-precision average would lose steps smaller than its last digit. Buffers, such as the
    statistics of a batch normalisation, stay the module's own.

    Args:
        module: what is trained; its parameters that require a gradient now are averaged from here on.
        decay: share of the old average at each step, in [0, 1); about 1 / (1 - decay) steps are averaged.

    Raises:
        ValueError: ``decay`` is out of range, or no parameter is trainable.
    """

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}, expected a number in [0, 1)")
        trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not trainable:
            raise ValueError(f"{type(module).__name__} has no trainable parameter to average")
        self.decay = decay
        self._parameters = trainable
        self._average = {name: p.detach().float().clone() for name, p in trainable.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Count the present weights in.

        Args:
            step: steps taken before this one, from 0. The decay is min(decay, (1 + step) / (10 + step)), as
                in TensorFlow's ExponentialMovingAverage, so that early weights are soon forgotten.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, average in self._average.items():
            average.lerp_(self._parameters[name].detach().to(average), 1 - decay)

    @contextmanager
    def swapped(self, module: nn.Module) -> Iterator[None]:
        """Put the averaged weights into a module while the context lasts; then its own come back bit for bit.

        What is done to these weights within is lost. They come back after exceptions too.

        Args:
            module: the averaged one, or another with the same parameters.

        Raises:
            ValueError: a parameter is missing or has another shape.
        """
        parameters = dict(module.named_parameters())
        targets = {name: parameters[name] for name in self._average if name in parameters}
        _check_shapes(self._average, targets)
        own = {name: target.detach().clone() for name, target in targets.items()}
        try:
            _copy(self._average, targets)
            yield
        finally:
            _copy(own, targets)

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the averages, float32, by name of the parameter: plain tensors, to be saved anyhow."""
        return {name: average.clone() for name, average in self._average.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from saved averages.

        Raises:
            ValueError: names or shapes are not those of the trainable parameters.
        """
        unknown = sorted(state.keys() - self._average.keys())
        if unknown:
            raise ValueError(f"{unknown[0]} is averaged in the saved state, but it is not trainable here")
        _check_shapes(self._average, state)
        _copy(state, self._average)


def _check_shapes(average: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
    for name, tensor in average.items():
        if name not in others:
            raise ValueError(f"{name} is averaged, but missing here; give what belongs to the same module")
        if others[name].shape != tensor.shape:
            here, expected = tuple(others[name].shape), tuple(tensor.shape)
            raise ValueError(f"{name} has shape {here}, its average {expected}; give the same module")


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
