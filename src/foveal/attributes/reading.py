"""What a meter gives, and what a reader of it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from foveal.attributes.planes import Planes

Places = NDArray[np.float32]
"""Float32 (3, 3): one number for each place of the image, rows first."""


class Measured(NamedTuple):
    """A meter's result.

    Attributes:
        value: finite; its unit and range are said by the meter.
        local: the same for each of the nine places; None if places mean nothing to it.
    """

    value: float
    local: Places | None = None


Meter = Callable[[Planes], Measured]
"""Pure: the same planes give the same numbers."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something that can be seen in an image, and how it is put in words.

    Attributes:
        name: an identifier.
        degrees: five phrases, from least to most.
        thresholds: four values, not falling: how many of them a value reaches is its degree.
        unit: what the number is.
        merit: 1 if more of it looks better to most people, -1 if less does, 0 if that depends.
        local: whether readings differ between places of an image.
        source: where the meter comes from.
        meter: measures it.
        seen_from: least value at which there is any of it to be seen, for what many images lack; the first
            degree then means that there is none.
    """

    name: str
    degrees: tuple[str, str, str, str, str]
    thresholds: tuple[float, float, float, float]
    unit: str
    merit: int
    local: bool
    source: str
    meter: Meter
    seen_from: float | None = None

    def degree(self, value: float) -> int:
        """Degree of a value: an integer in 0-4, an index of ``degrees``."""
        return sum(value >= threshold for threshold in self.thresholds)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One attribute of one image.

    Attributes:
        value: in the attribute's unit.
        degree: 0 (least) to 4 (most).
        phrase: the degree in words.
        local: the value at each of nine places, float32 (3, 3), read-only; None if places mean nothing to it.
        place: where it stands out, such as "strongest in the centre"; None if it is much the same everywhere,
            or if there is none of it.
    """

    value: float
    degree: int
    phrase: str
    local: Places | None
    place: str | None
