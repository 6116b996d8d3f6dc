"""Grids for activations: the 256 levels on which a layer's inputs cost its outputs the least error.

A few channels of large vision transformers reach hundreds in some tokens, where all others stay below ten
("massive activations", Sun et al. 2024). A range that holds them leaves the rest next to no levels, and one
that cuts them breaks the model. So what such a channel has beyond the range is passed by in floating point,
as in LLM.int8() (Dettmers et al. 2022); here it is the excess alone, of a channel or two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foveal.lab.compression.inner_run import InnerRun, Views

if TYPE_CHECKING:
    import onnx

Samples = NDArray[np.float32]
"""Vectors of an activation, float32 (vectors, channels)."""

STEPS = 255
MOST_OUTLIERS = 8
"""Channels that are passed by at most: each costs a little time."""
_WORTH = 0.5
# Noise of rounding averages out over tokens and images. What is cut off always has the same sign: it weighs
# more. Measured on a ViT-Tiny: 1 and 64 shift scores by half as much again.
_WEIGHT_OF_CUTS = 8.0
_CUTS = np.geomspace(1, 1 / 64, 73)


@dataclass(frozen=True)
class Grid:
    """Levels of an activation: value = (level - zero) * scale, level 0 to 255; signed: -127 to 127, zero 0.

    Attributes:
        scale: distance of two levels.
        zero: level of 0.0.
        signed: whether levels are int8, else uint8.
        outliers: channels whose excess beyond the grid is passed by.
    """

    scale: float
    zero: int = 0
    signed: bool = False
    outliers: tuple[int, ...] = ()

    @property
    def low(self) -> float:
        """Smallest value on it."""
        return ((-128 if self.signed else 0) - self.zero) * self.scale

    @property
    def high(self) -> float:
        """Largest value on it."""
        return ((127 if self.signed else 255) - self.zero) * self.scale

    def round(self, samples: Samples) -> Samples:
        """What is left of values, float32 (vectors, channels): on the grid, with the excess of outliers."""
        scale = np.float32(self.scale)
        levels = np.rint(samples / scale) + np.float32(self.zero)
        rounded = (np.clip(levels, *((-128, 127) if self.signed else (0, 255))) - self.zero) * scale
        if self.outliers:
            chosen = samples[:, self.outliers]
            rounded[:, self.outliers] += chosen - np.clip(chosen, self.low, self.high)
        return np.asarray(rounded, np.float32)


def fit_grid(
    samples: Samples,
    weight: NDArray[np.floating],
    *,
    signed: bool = False,
    most_outliers: int = MOST_OUTLIERS,
) -> Grid:
    """The grid with the least expected error: noise of rounding inside it, and what it cuts off.

    Args:
        samples: what the activation was on calibration images.
        weight: (channels,) how much an error in each channel costs; for the inputs of a linear layer the
            squared length of the weights that multiply it.
        signed: symmetric around 0, as engines want the inputs of attention.
        most_outliers: channels that may be passed by; each must halve the error.

    Raises:
        ValueError: there are no samples.
    """
    if not samples.size:
        raise ValueError("no samples of an activation: give calibration images")
    if not signed and _are_bytes(samples):
        return Grid(1.0, 128)
    outliers: tuple[int, ...] = ()
    low, high, loss = _best_range(samples, weight, signed=signed)
    reach = np.abs(samples).max(axis=0)
    while len(outliers) < min(most_outliers, samples.shape[1] - 1):
        reach[list(outliers)] = -1
        tried = (*outliers, int(reach.argmax()))
        inside = np.delete(samples, tried, axis=1)
        narrower = _best_range(inside, np.delete(weight, tried), signed=signed)
        if not narrower[2] < _WORTH * loss:
            break
        outliers, (low, high, loss) = tried, narrower
    if signed:
        return Grid(high / 127, 0, signed=True, outliers=tuple(sorted(outliers)))
    scale = (high - low) / STEPS
    return Grid(scale, round(-low / scale), outliers=tuple(sorted(outliers)))


def _are_bytes(samples: Samples) -> bool:
    """Whether they are pixels with the middle taken off: these fit 256 levels without any error."""
    return bool(samples.min() >= -128 and samples.max() <= 127 and (samples == np.rint(samples)).all())


def _best_range(
    samples: Samples, weight: NDArray[np.floating], *, signed: bool
) -> tuple[float, float, float]:
    """Lowest and highest value, 0 between them, and the expected error."""
    if signed:
        samples = np.abs(samples)
    order = np.argsort(samples, axis=None)
    values = samples.ravel()[order].astype(np.float64)
    costs = np.broadcast_to(weight, samples.shape).ravel()[order].astype(np.float64)
    total = costs.sum()
    highs = _CUTS * max(values[-1], 1e-6)
    lows = _CUTS * max(-values[0], 0.0)
    cut_above = _cut_off(values, costs, highs)
    cut_below = _cut_off(-values[::-1], costs[::-1], lows)
    width = 2 * highs if signed else highs
    noise = ((width[:, None] + lows) / STEPS) ** 2 / 12 * total
    losses = noise + _WEIGHT_OF_CUTS * (cut_above[:, None] + cut_below)
    above, below = np.unravel_index(losses.argmin(), losses.shape)
    return -float(lows[below]), float(highs[above]), float(losses[above, below])


def _cut_off(
    values: NDArray[np.float64], costs: NDArray[np.float64], cuts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted sum of squares of what values, ascending, have beyond each cut."""
    count = len(values) - np.searchsorted(values, cuts, side="right")
    of_costs, of_values, of_squares = (
        np.concatenate([[0.0], np.cumsum((costs * values**power)[::-1])])[count] for power in (0, 1, 2)
    )
    beyond: NDArray[np.float64] = of_squares - 2 * cuts * of_values + cuts**2 * of_costs
    return beyond.clip(min=0.0)


def sample_activations(
    model: onnx.ModelProto, axes: Mapping[str, int], images: Iterable[Views], rows: int = 48, seed: int = 0
) -> dict[str, Samples]:
    """Vectors of activations on calibration images.

    Args:
        model: the graph.
        axes: which axis of a tensor counts channels, by the tensor's name.
        images: calibration images, which must come from the training part.
        rows: vectors of each image and tensor, drawn by chance.
        seed: of that chance.

    Returns:
        (images * rows, channels) at most, by the tensor's name.

    Raises:
        ValueError: there are no images.
    """
    run = InnerRun(model, list(axes))
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[Samples]] = {name: [] for name in axes}
    for views in images:
        seen = run(views)
        for name, axis in axes.items():
            vectors = np.moveaxis(seen[name], axis, -1)
            vectors = vectors.reshape(-1, vectors.shape[-1])
            chosen = generator.permutation(len(vectors))[:rows]
            drawn[name].append(vectors[chosen].astype(np.float32))
    if not any(drawn.values()):
        raise ValueError("no calibration images: give some of the training part")
    return {name: np.concatenate(parts) for name, parts in drawn.items()}
