"""What an assessor says of one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 1.0, 5.0
"""Ends of the quality scale: bad and excellent of ITU-T P.910's absolute category rating."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where people's mean opinion lies with the stated coverage.

    Attributes:
        low: lower end on the 1-5 scale.
        high: upper end on the 1-5 scale.
        coverage: share of images whose mean opinion score lies inside, as calibrated.
    """

    low: float
    high: float
    coverage: float


@dataclass(frozen=True, slots=True)
class Assessment:
    """The judgement of one image. Quality and all aspects lie on the 1-5 scale; higher is better.

    Attributes:
        quality: predicted mean opinion score, 1 (bad) to 5 (excellent).
        interval: prediction interval around it (split conformal).
        model: name and version of the assessor, ``name@version``.
        source: name of the image, where it has one.
        aspects: further scores by name, where the assessor gives them (authenticity, correspondence ...).
        quality_map: local quality, float32 (rows, columns) on the same scale, where the assessor gives it.
        warnings: what the reader should know before trusting the score.
    """

    quality: float
    interval: Interval
    model: str
    source: str | None = None
    aspects: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    quality_map: NDArray[np.float32] | None = None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "source": self.source,
            "quality": self.quality,
            "interval": [self.interval.low, self.interval.high],
            "coverage": self.interval.coverage,
            "aspects": dict(self.aspects),
            "quality_map": None if self.quality_map is None else self.quality_map.tolist(),
            "warnings": list(self.warnings),
            "model": self.model,
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that could not be judged: its row in a batch.

    Attributes:
        source: name of the image.
        error: what went wrong; an :class:`foveal.errors.ImageError`.
    """

    source: str
    error: Exception
