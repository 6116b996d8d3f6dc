"""Blocking: steps on the grid of 8 x 8 pixels that strong JPEG compression leaves."""

from __future__ import annotations

import numpy as np

from foveal.attributes.filters import BLOCK, Plane
from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured


def blocking(planes: Planes) -> Measured:
    """How much larger luma steps are across block boundaries than within blocks.

    Range: about -1 to 4; 0 is none. Unit: ln of the ratio of mean absolute steps. Only a grid that starts at
    the image's corner is seen: cropping or resizing hides it.
    Source: Wang, Sheikh and Bovik, "No-reference perceptual quality assessment of JPEG compressed images",
    ICIP 2002: differences across block boundaries against activity within blocks.
    """
    right, down = (np.abs(step) for step in planes.steps)
    phases = _phase_means(right) + _phase_means(down.swapaxes(1, 2))
    return Measured(float(_ratio(phases.mean(axis=1))), _ratio(phases).astype(np.float32).reshape(3, 3))


def _phase_means(steps: Plane) -> Plane:
    """Mean step at each of the eight positions in a block: float32 (8, 9); the last is the boundary."""
    columns = steps.mean(axis=1)
    return np.stack([columns[:, phase::BLOCK].mean(axis=1) for phase in range(BLOCK)])


def _ratio(phases: Plane) -> Plane:
    ratio: Plane = np.log((phases[-1] + np.float32(0.2)) / (phases[:-1].mean(axis=0) + np.float32(0.2)))
    return ratio
