"""Which hidden units leave a block, and how the others make up for them.

With C the covariance of the consumer's inputs, taking out inputs S and letting the rest adapt changes the
consumer's outputs by tr(W_S ([C^-1]_SS)^-1 W_S^T) on average, squared (Optimal Brain Surgeon, Hassibi and
Stork 1993, for one input; SparseGPT and its kin for many). A mean that leaves goes into the bias; without a
bias C is the second moment about zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from foveal.lab.compression.moments import Moments

Array = NDArray[np.float64]

_BATCHES = 64
"""Units leave in so many steps at least; what those of one step do to each other's worth is not looked at."""
_CONSTANT = 1e-6
"""Share of an input's power; where the variance is less it is rounding, and the input is a constant."""


@dataclass(frozen=True)
class Spread:
    """Variation of a consumer's inputs.

    Attributes:
        deviation: float64 (inputs,); 0 of those that are constant.
        correlation: float64 (inputs, inputs), with a ridge on its diagonal.
        mean: float64 (inputs,); 0 where there is no bias to take it.
    """

    deviation: Array
    correlation: Array
    mean: Array


@dataclass(frozen=True)
class Order:
    """In which order units leave, and what that costs.

    Attributes:
        chunks: numbers of the units that leave together, int (chunks, units of a chunk).
        errors: mean squared change of the consumer's outputs, summed over them, when a chunk and all before
            it have left and the rest has made up for it; float64 (chunks,).
    """

    chunks: NDArray[np.intp]
    errors: Array


def spread_of(moments: Moments, *, bias: bool, ridge: float) -> Spread:
    """What is known of a consumer's inputs, in units of their own deviations.

    Args:
        moments: of its inputs.
        bias: whether it has a bias that can take what is constant.
        ridge: how little correlations are trusted: added to their diagonal of ones, > 0.
    """
    mean = moments.mean if bias else np.zeros_like(moments.mean)
    covariance = moments.second - np.outer(mean, mean)
    power, variance = np.diag(moments.second), np.diag(covariance)
    alive = variance > _CONSTANT * power
    deviation = np.sqrt(np.where(alive, variance, 0.0))
    inverse = np.where(alive, 1 / np.where(alive, deviation, 1.0), 0.0)
    correlation = covariance * np.outer(inverse, inverse)
    return Spread(deviation, correlation + ridge * np.eye(len(mean)), mean)


def order_by_error(weights: Array, spread: Spread, units: int, chunk: int = 1) -> Order:
    """Let those units leave first whose loss the others can make up for best, one chunk after the other.

    Args:
        weights: of the consumer, (outputs, inputs).
        spread: of its inputs.
        units: hidden units; each has ``inputs / units`` inputs, side by side.
        chunk: units that leave together; the last ``chunk`` or more units stay.
    """
    return _leave(weights, spread, units, chunk, None)


def order_by_worth(weights: Array, spread: Spread, worth: Array, chunk: int = 1) -> Order:
    """Let units of little worth leave first; see :func:`order_by_error`.

    Args:
        weights: of the consumer, (outputs, inputs).
        spread: of its inputs.
        worth: of each unit, (units,).
        chunk: units that leave together.
    """
    return _leave(weights, spread, len(worth), chunk, np.argsort(worth, kind="stable"))


def _leave(weights: Array, spread: Spread, units: int, chunk: int, given: NDArray[np.intp] | None) -> Order:
    inverse: Array = np.linalg.inv(spread.correlation).astype(np.float64)
    rest = weights * spread.deviation
    present = np.arange(units)
    chunks, errors, total = [], [], 0.0
    at_once = min(chunk, 1 + units // _BATCHES)
    for number in range((units - 1) // chunk):
        leaving: list[int] = []
        while len(leaving) < chunk:
            count = min(at_once, chunk - len(leaving))
            if given is None:
                places = np.argsort(_losses(rest, inverse, len(present)), kind="stable")[:count]
            else:
                start = number * chunk + len(leaving)
                places = np.flatnonzero(np.isin(present, given[start : start + count]))
            leaving += present[places].tolist()
            rest, inverse, error = _without(rest, inverse, places, len(present))
            present = np.delete(present, places)
            total += error
        chunks.append(leaving)
        errors.append(total)
    return Order(np.array(chunks, np.intp).reshape(-1, chunk), np.array(errors))


def _losses(rest: Array, inverse: Array, units: int) -> Array:
    """What each unit would cost if it were the next to leave: (units,)."""
    width = len(inverse) // units
    own = np.arange(units)
    blocks = inverse.reshape(units, width, units, width)[own, :, own]
    columns = rest.reshape(-1, units, width).transpose(1, 2, 0)
    if width == 1:
        return np.asarray(np.square(columns[:, 0]).sum(axis=1) / blocks[:, 0, 0])
    return np.asarray((columns * np.linalg.solve(blocks, columns)).sum(axis=(1, 2)))


def _without(rest: Array, inverse: Array, places: NDArray[np.intp], units: int) -> tuple[Array, Array, float]:
    """Take units out, in coordinates where inputs have deviation 1; give their joint cost too."""
    gone = inputs_of_units(places, len(inverse) // units)
    stay = np.delete(np.arange(len(inverse)), gone)
    across = inverse[np.ix_(gone, stay)]
    solved = scipy.linalg.solve(
        inverse[np.ix_(gone, gone)], np.hstack([across, rest[:, gone].T]), assume_a="pos"
    )
    moved, cost = solved[:, : len(stay)], solved[:, len(stay) :]
    return (
        rest[:, stay] - rest[:, gone] @ moved,
        inverse[np.ix_(stay, stay)] - across.T @ moved,
        float((rest[:, gone].T * cost).sum()),
    )


def inputs_of_units(units: NDArray[np.intp], width: int) -> NDArray[np.intp]:
    """Numbers of the inputs or outputs that belong to units of ``width`` each."""
    return np.asarray((np.asarray(units)[:, None] * width + np.arange(width)).ravel())


def made_up(weights: Array, spread: Spread, kept: NDArray[np.intp]) -> tuple[Array, Array]:
    """Weights of the inputs that stay, moved so that outputs change least, and what to add to the bias.

    The ridge holds weights to where they were; weights of inputs on which those that leave have no
    bearing stay as they are to the last bit.

    Args:
        weights: (outputs, inputs).
        spread: of the inputs.
        kept: inputs that stay.

    Returns:
        (outputs, inputs that stay), and (outputs,).
    """
    gone = np.delete(np.arange(weights.shape[1]), kept)
    scaled = weights[:, gone] * spread.deviation[gone]
    known = spread.correlation[np.ix_(kept, kept)]
    across = spread.correlation[np.ix_(kept, gone)]
    moved = scipy.linalg.solve(known, across @ scaled.T, assume_a="pos").T
    deviation = spread.deviation[kept]
    change = moved / np.where(deviation > 0, deviation, np.inf)
    return weights[:, kept] + change, weights[:, gone] @ spread.mean[gone] - change @ spread.mean[kept]
