"""Degradations of known kind and strength, to test that a score falls when an image gets worse.

Each takes uint8 (height, width, 3) and a severity in (0, 1], and returns the same shape. Strengths grow
roughly evenly to the eye: 0.2 is just visible on most photographs, 1 is ruinous.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from foveal.imaging.views import Pixels

Degradation = Callable[[Pixels, float], Pixels]


def jpeg(pixels: Pixels, severity: float) -> Pixels:
    """Compress as JPEG, from quality 80 down to 4, geometrically."""
    quality = round(80 * (4 / 80) ** severity)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=max(quality, 1))
    return np.asarray(Image.open(buffer).convert("RGB"))


def blur(pixels: Pixels, severity: float) -> Pixels:
    """Gaussian blur, up to a radius of 1.2 % of the geometric mean side (6 pixels at 512 x 512)."""
    radius = 0.012 * _typical_side(pixels) * severity**1.5
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def noise(pixels: Pixels, severity: float) -> Pixels:
    """Add Gaussian noise, independent per pixel and channel, up to a standard deviation of 64 levels."""
    generator = np.random.Generator(np.random.PCG64(pixels.shape[0] * 100_003 + pixels.shape[1]))
    grain = generator.standard_normal(pixels.shape, dtype=np.float32) * np.float32(64 * severity**1.5)
    return _to_uint8(pixels.astype(np.float32) + grain)


def downscale(pixels: Pixels, severity: float) -> Pixels:
    """Shrink by up to 8 x and enlarge back to the same size."""
    factor = 8.0**severity
    height, width = pixels.shape[:2]
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    shrunk = Image.fromarray(pixels).resize(small, Image.Resampling.BICUBIC)
    return np.asarray(shrunk.resize((width, height), Image.Resampling.BICUBIC))


def underexpose(pixels: Pixels, severity: float) -> Pixels:
    """Take up to 5 stops of light away, in linear light."""
    return _expose(pixels, -5.0 * severity)


def overexpose(pixels: Pixels, severity: float) -> Pixels:
    """Add up to 3.5 stops of light, in linear light; highlights clip."""
    return _expose(pixels, 3.5 * severity)


def lose_contrast(pixels: Pixels, severity: float) -> Pixels:
    """Draw all pixels towards the mean colour; at severity 1 a tenth of the contrast is left."""
    kept = np.float32(1.0 - 0.9 * severity)
    mean = pixels.mean(axis=(0, 1), dtype=np.float32)
    return _to_uint8(mean + (pixels.astype(np.float32) - mean) * kept)


DEGRADATIONS: dict[str, Degradation] = {
    "jpeg": jpeg,
    "blur": blur,
    "noise": noise,
    "downscale": downscale,
    "underexposure": underexpose,
    "overexposure": overexpose,
    "contrast-loss": lose_contrast,
}
"""Every degradation by name."""


def degrade(pixels: Pixels, kind: str, severity: float) -> Pixels:
    """Apply one degradation by name.

    Args:
        pixels: uint8 (height, width, 3).
        kind: a key of :data:`DEGRADATIONS`.
        severity: in [0, 1]; 0 returns the image unchanged.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: unknown kind, or severity out of range.
    """
    if kind not in DEGRADATIONS:
        raise ValueError(f"unknown degradation {kind!r}; there are {', '.join(DEGRADATIONS)}")
    if not 0.0 <= severity <= 1.0:
        raise ValueError(f"severity is {severity}, expected a number in [0, 1]")
    return DEGRADATIONS[kind](pixels, severity) if severity > 0 else pixels


def _expose(pixels: Pixels, stops: float) -> Pixels:
    """Scale linear light by 2**stops through a lookup table (sRGB transfer function, IEC 61966-2-1)."""
    encoded = np.arange(256, dtype=np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    scaled = np.clip(linear * 2.0**stops, 0, 1)
    curve = np.where(scaled <= 0.0031308, scaled * 12.92, 1.055 * scaled ** (1 / 2.4) - 0.055)
    exposed: Pixels = np.rint(curve * 255).astype(np.uint8)[pixels]
    return exposed


def _typical_side(pixels: Pixels) -> float:
    return float(np.sqrt(pixels.shape[0] * pixels.shape[1]))


def _to_uint8(values: NDArray[np.float32]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
