"""NumPy arrays as images: which are accepted, and what they mean."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveal.errors import InvalidArrayError
from foveal.imaging.colour import Background, from_16_bit, lay_on
from foveal.imaging.limits import Limits
from foveal.imaging.strips import in_strips
from foveal.imaging.views import Pixels

_ROUNDING = 1e-6
"""How far floats may lie outside 0-1: what single precision arithmetic leaves."""


def pixels_of_array(array: NDArray[Any], name: str, limits: Limits, background: Background) -> Pixels:
    """Pixels of an image held in an array.

    Args:
        array: (height, width) or (height, width, 1) grey, (height, width, 3) RGB, (height, width, 4) RGBA
            with straight alpha; uint8, uint16 (0-65535), bool, or floats in 0-1. All are taken as sRGB.
        name: name of the source for messages.
        limits: the number of pixels is checked.
        background: what transparent parts are laid on.

    Returns:
        uint8 (height, width, 3); for such input the same memory, not a copy.

    Raises:
        InvalidArrayError: another shape or type; NaN, infinities, or floats outside 0-1.
        ZeroSizedImageError: height or width is zero.
        TooManyPixelsError: more pixels than the limit.
    """
    array = np.asarray(array)
    _check_layout(array, name)
    height, width = array.shape[:2]
    limits.check_pixels(name, width, height)
    if array.dtype == np.uint8 and array.shape[2:] == (3,):
        return np.ascontiguousarray(array).view()

    def convert(top: int, bottom: int) -> Pixels:
        return _to_rgb(_to_uint8(array[top:bottom], name), background)

    return in_strips(height, width, convert)


def _check_layout(array: NDArray[Any], name: str) -> None:
    if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] not in {1, 3, 4}):
        reason = f"an array of shape {array.shape} is not an image"
        raise InvalidArrayError(name, reason, _shape_advice(array.shape))
    kind, size = array.dtype.kind, array.dtype.itemsize
    if not (kind in "bf" or (kind == "u" and size <= 2)):
        advice = "convert it to uint8 (0-255), uint16 (0-65535), bool, or floats in 0-1"
        raise InvalidArrayError(name, f"values of type {array.dtype} have no stated range", advice)


def _shape_advice(shape: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[0] in {1, 3, 4}:
        return "move the channels to the end: np.moveaxis(array, 0, -1)"
    if len(shape) == 4:
        return "give the images of a batch one by one"
    return "expected (height, width), or (height, width, channels) with 1, 3 or 4 channels"


def _to_uint8(samples: NDArray[Any], name: str) -> Pixels:
    if samples.dtype.kind == "b":
        return samples.astype(np.uint8) * np.uint8(255)
    if samples.dtype.kind == "u":
        return np.asarray(samples, np.uint8) if samples.dtype.itemsize == 1 else from_16_bit(samples)
    low, high = float(samples.min()), float(samples.max())
    if not np.isfinite([low, high]).all():  # min and max hand a NaN on
        raise InvalidArrayError(
            name, "holds NaN or infinite values", "replace them, with np.nan_to_num for example"
        )
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        advice = "divide by the largest possible value, or clip with np.clip(array, 0, 1)"
        raise InvalidArrayError(
            name, f"holds values from {low:.4g} to {high:.4g}, floats must lie in 0-1", advice
        )
    levels = np.clip(samples, 0, 1).astype(np.float32) * np.float32(255)
    rounded: Pixels = np.rint(levels).astype(np.uint8)
    return rounded


def _to_rgb(samples: Pixels, background: Background) -> Pixels:
    if samples.ndim == 2:
        samples = samples[:, :, None]
    if samples.shape[2] == 4:
        parts = samples[:, :, :3], samples[:, :, 3]
        colours, alpha = (Image.fromarray(np.ascontiguousarray(part)) for part in parts)
        return np.asarray(lay_on(colours, alpha, background))
    rgb: Pixels = samples if samples.shape[2] == 3 else samples.repeat(3, axis=2)
    return rgb
