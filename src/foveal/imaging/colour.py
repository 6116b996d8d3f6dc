"""Any Pillow mode to 8-bit sRGB: depth, palette, profile and transparency."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from foveal.errors import CorruptImageError
from foveal.imaging.profiles import ProfileError, to_srgb
from foveal.imaging.views import Pixels

Background = tuple[int, int, int]
"""sRGB colour, 0-255, on which transparent images are laid."""

_FROM_16_BIT = np.rint(np.arange(65536) / 257).astype(np.uint8)
_WITH_ALPHA = {"RGBA", "RGBa", "LA", "La", "PA"}
_DEEP_MODES = {"I", "F", "I;16", "I;16L", "I;16B", "I;16N"}


@dataclass(frozen=True, slots=True)
class Converter:
    """Turns pieces of one picture into sRGB. Made once a picture, by :func:`converter_for`.

    Attributes:
        to_8_bit: for modes of more than 8 bits a sample: samples to grey levels.
        mode: mode in which the transform takes the colours, or None to take them as sRGB.
        transform: from the embedded profile; None where none is needed.
        background: what transparent parts are laid on.
        warnings: what was found on the way.
    """

    to_8_bit: Callable[[NDArray[np.generic]], Pixels] | None
    mode: str | None
    transform: ImageCms.ImageCmsTransform | None
    background: Background
    warnings: tuple[str, ...]

    def __call__(self, piece: Image.Image) -> Image.Image:
        """Convert a piece of the picture.

        Returns:
            An RGB image of the same size: the piece itself where nothing is to be done.
        """
        colours, alpha = self._split(piece)
        if self.transform is not None:
            colours = colours if colours.mode == self.mode else colours.convert(self.mode)
            colours = _apply(self.transform, colours)
        elif colours.mode != "RGB":
            colours = colours.convert("RGB")
        return colours if alpha is None else lay_on(colours, alpha, self.background)

    def _split(self, piece: Image.Image) -> tuple[Image.Image, Image.Image | None]:
        """Colours in L, RGB, CMYK or a mode that Pillow converts to RGB, and the alpha channel, if any."""
        if self.to_8_bit is not None:
            samples = np.asarray(piece)
            alpha = None
            if (clear := piece.info.get("transparency")) is not None:
                alpha = Image.fromarray(np.where(samples == clear, 0, 255).astype(np.uint8))
            return Image.fromarray(self.to_8_bit(samples)), alpha
        if piece.mode in _WITH_ALPHA or "transparency" in piece.info:
            piece = piece.convert("LA" if piece.mode in {"1", "L", "LA", "La"} else "RGBA")
            colours = Image.merge("RGB", piece.split()[:3]) if piece.mode == "RGBA" else piece.getchannel("L")
            return colours, piece.getchannel("A")
        return piece, None


def converter_for(picture: Image.Image, name: str, background: Background) -> Converter:
    """Look once at a loaded picture and settle how all its pieces are to be converted.

    Args:
        picture: loaded, any mode.
        name: name of the source for messages.
        background: what transparent parts are laid on.

    Returns:
        The converter; its ``warnings`` tell of a broken profile, of CMYK without one, of stretched values.
    """
    warnings: list[str] = []
    to_8_bit = _depth(picture, name, warnings) if picture.mode in _DEEP_MODES else None
    mode, transform = _profile(picture, warnings)
    if picture.mode == "CMYK" and transform is None:
        warnings.append("CMYK without a usable colour profile: its colours are approximate")
    if _is_transparent(picture):
        warnings.append(f"transparent parts were laid on the colour {background}")
    return Converter(to_8_bit, mode, transform, background, tuple(warnings))


def lay_on(colours: Image.Image, alpha: Image.Image, background: Background) -> Image.Image:
    """Composite an RGB image with its L alpha channel over one colour."""
    canvas = Image.new("RGB", colours.size, background)
    canvas.paste(colours, mask=alpha)
    return canvas


def from_16_bit(samples: NDArray[np.generic]) -> Pixels:
    """Integers 0-65535 to 0-255, rounded."""
    levels: Pixels = _FROM_16_BIT[samples]
    return levels


def _profile(
    picture: Image.Image, warnings: list[str]
) -> tuple[str | None, ImageCms.ImageCmsTransform | None]:
    profile = picture.info.get("icc_profile")
    if not profile or not isinstance(profile, bytes):
        return None, None
    grey = picture.mode in _DEEP_MODES | {"1", "L", "LA", "La"}
    try:
        return to_srgb(profile, "L" if grey else "CMYK" if picture.mode == "CMYK" else "RGB")
    except ProfileError as error:
        warnings.append(f"the embedded colour profile {error}: it was ignored")
        return None, None


def _is_transparent(picture: Image.Image) -> bool:
    """Whether any pixel lets the background through."""
    if picture.mode in _DEEP_MODES:
        return "transparency" in picture.info
    if picture.mode not in {"RGBA", "LA"}:
        if picture.mode not in _WITH_ALPHA and "transparency" not in picture.info:
            return False
        picture = picture.convert("LA" if picture.mode in {"1", "L", "La"} else "RGBA")
    return picture.getextrema()[-1] != (255, 255)


def _apply(transform: ImageCms.ImageCmsTransform, colours: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(colours, transform)
    return colours if converted is None else converted


def _depth(picture: Image.Image, name: str, warnings: list[str]) -> Callable[[NDArray[np.generic]], Pixels]:
    """How samples of more than 8 bits become grey levels: by their type's range, or by their own."""
    if picture.mode not in {"I", "F"}:
        return from_16_bit
    low, high = (float(end) for end in picture.getextrema() if isinstance(end, int | float))
    if picture.mode == "I" and low >= 0 and high <= 65535:
        return from_16_bit
    if picture.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    else:
        warnings.append(f"values from {low:.6g} to {high:.6g}: stretched over the range from black to white")
    scale = 255 / (high - low) if high > low else 0.0

    def stretch(samples: NDArray[np.generic]) -> Pixels:
        values = np.asarray(samples, np.float64)
        if not np.isfinite(values).all():
            raise CorruptImageError(
                name, "holds NaN or infinite values", "replace them, then write the file again"
            )
        return np.rint(np.clip((values - low) * scale, 0, 255)).astype(np.uint8)

    return stretch
