"""Does the verdict stay the same when asked again? Three definitions of instability.

The two-stage paper (arXiv 2512.09555) reports instability falling from 22.00 % to 12.39 %, without a formula
in what is public, so all definitions that are in use are measured:

a. share of images whose verdict differs across K sampled answers;
b. mean share of pairs of answers to one image that disagree;
c. share of images whose likeliest level at one of the last n layers differs from that of the output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.evaluation.significance import Estimate
from foveal.lab.reasoning.diagnosis.intervals import mean_interval, shown
from foveal.lab.reasoning.levels import Floats

LAST_LAYERS = 2
"""Layers before the output that (c) looks at: the paper's example flips at layer 30 of 32."""


@dataclass(frozen=True, eq=False)
class Stability:
    """Instability of one reasoner, each with a bootstrap interval over images. 0 is steady, 1 never the same.

    Attributes:
        images: how many.
        samples: answers to each.
        last_layers: n of (c).
        differing: (a) of drawn verdicts.
        disagreement: (b) of drawn verdicts.
        differing_likeliest: (a) of the likeliest level after each sampled description, so that only the
            description is drawn.
        disagreement_likeliest: (b) of these.
        late_flips: (c).
        by_image: float64 (images,) behind each of the five, by its name, for paired comparisons.
    """

    images: int
    samples: int
    last_layers: int
    differing: Estimate
    disagreement: Estimate
    differing_likeliest: Estimate
    disagreement_likeliest: Estimate
    late_flips: Estimate
    by_image: dict[str, Floats]

    def to_dict(self) -> dict[str, Any]:
        """All figures; those of single images are left to tables."""
        return {
            "images": self.images,
            "samples": self.samples,
            "last_layers": self.last_layers,
            **{name: shown(getattr(self, name)) for name in self.by_image},
        }


def differing(verdicts: ArrayLike) -> Floats:
    """(a): 1 for each image whose answers are not all the same, else 0.

    Args:
        verdicts: (images, samples) level numbers.

    Returns:
        float64 (images,).
    """
    levels = _checked(verdicts)
    return np.asarray((levels != levels[:, :1]).any(axis=1), np.float64)


def disagreement(verdicts: ArrayLike) -> Floats:
    """(b): share of the pairs of an image's answers that differ.

    Args:
        verdicts: (images, samples) level numbers.

    Returns:
        float64 (images,), 0 to 1.
    """
    levels = _checked(verdicts)
    first, second = np.triu_indices(levels.shape[1], 1)
    return np.asarray((levels[:, first] != levels[:, second]).mean(axis=1), np.float64)


def late_flips(by_layer: ArrayLike, last: int = LAST_LAYERS) -> Floats:
    """(c): 1 for each image whose likeliest level at one of the last layers is not that of the output.

    Args:
        by_layer: (images, layers) level numbers; the last column is the output.
        last: how many layers before the output are looked at; all there are, if fewer.

    Returns:
        float64 (images,).
    """
    levels = np.asarray(by_layer)
    if levels.ndim != 2 or levels.shape[1] < 2:
        raise ValueError(f"levels by layer have shape {levels.shape}, expected (images, 2 layers or more)")
    if last < 1:
        raise ValueError(f"last is {last}, expected at least 1 layer")
    before = levels[:, -1 - last : -1] if last < levels.shape[1] else levels[:, :-1]
    return np.asarray((before != levels[:, -1:]).any(axis=1), np.float64)


def measure_stability(
    drawn: ArrayLike,
    likeliest: ArrayLike,
    by_layer: ArrayLike,
    *,
    last: int = LAST_LAYERS,
    seed: int = 0,
) -> Stability:
    """All definitions, with 95 % intervals.

    Args:
        drawn: (images, samples) levels of the drawn verdicts.
        likeliest: (images, samples) likeliest levels after the same descriptions.
        by_layer: (images, layers) likeliest level at each layer for one description an image.
        last: n of (c).
        seed: of the bootstrap.

    Raises:
        ValueError: shapes do not fit, or there are fewer than two answers.
    """
    levels = _checked(drawn)
    by_image = {
        "differing": differing(levels),
        "disagreement": disagreement(levels),
        "differing_likeliest": differing(likeliest),
        "disagreement_likeliest": disagreement(likeliest),
        "late_flips": late_flips(by_layer, last),
    }
    if len({len(column) for column in by_image.values()}) > 1:
        raise ValueError(
            f"{ {name: len(column) for name, column in by_image.items()} }: images must be equal"
        )
    estimates = {name: mean_interval(column, seed=seed) for name, column in by_image.items()}
    return Stability(
        images=levels.shape[0],
        samples=levels.shape[1],
        last_layers=min(last, np.asarray(by_layer).shape[1] - 1),
        by_image=by_image,
        **estimates,
    )


def _checked(verdicts: ArrayLike) -> NDArray[np.int64]:
    levels = np.asarray(verdicts)
    if levels.ndim != 2 or levels.shape[1] < 2 or not len(levels):
        raise ValueError(f"verdicts have shape {levels.shape}, expected (images, 2 samples or more)")
    return np.asarray(levels, np.int64)
