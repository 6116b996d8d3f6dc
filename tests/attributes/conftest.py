"""Rendered pictures with sharp edges, shading and fine texture, and clean of noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def _scene(height: int = 384, width: int = 384, seed: int = 0) -> Pixels:
    """Coloured rectangles and discs on a shaded ground, some of them with fine texture."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[0:height, 0:width].astype(np.float64)
    tint = rng.uniform(90, 160, 3)
    picture = tint + 30 * (down / height)[..., None] + 20 * (right / width)[..., None]
    for index in range(24):
        y, x, size = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(20, 70)
        if index % 2:
            inside = (abs(down - y) < size * 0.6) & (abs(right - x) < size * 0.8)
        else:
            inside = (down - y) ** 2 + (right - x) ** 2 < size**2
        colour = rng.uniform(20, 235, 3)
        texture = 12 * rng.standard_normal((height, width, 1)) if index % 3 == 0 else 0.0
        picture = np.where(inside[..., None], colour + texture, picture)
    pixels: Pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return pixels


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., Pixels]:
    """Makes pictures: ``make_scene(height=384, width=384, seed=0)``, uint8 (height, width, 3)."""
    return _scene


@pytest.fixture(scope="session")
def scene() -> Pixels:
    """A picture of 384 x 384 pixels, in which the nine tiles fill the image: uint8 (384, 384, 3)."""
    picture = _scene()
    picture.flags.writeable = False
    return picture
