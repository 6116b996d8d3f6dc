"""How a backbone wants its pictures: read from its own processor file, never guessed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foveal.errors import IncompleteBackboneError
from foveal.imaging.views import Pixels
from foveal.lab.backbones.json_file import read_json

Size = tuple[int, int]
"""Height and width in pixels."""

# What a processor of transformers does where its file is silent.
_BILINEAR_BY_DEFAULT = ("ViT", "DINOv3", "Siglip2")
_SHORT_SIDE_BY_DEFAULT = ("CLIP", "Bit", "Siglip")


@dataclass(frozen=True)
class Preprocessing:
    """Size and normalisation of a backbone's input.

    Attributes:
        mean: of each channel, for values on 0-1.
        std: of each channel, for values on 0-1.
        resize: (height, width) to stretch to, or the length of the shorter side, shape kept.
        crop: (height, width) cut from the middle afterwards: the size of the input.
        resample: filter of the resize, numbered as in Pillow.
        rescale: what a pixel on 0-255 is multiplied with before the normalisation.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Size | int
    crop: Size
    resample: int = Image.Resampling.BICUBIC
    rescale: float = 1 / 255

    def view(self, pixels: Pixels) -> Pixels:
        """Resize and crop an image as the model's makers do; uint8 (height, width, 3) -> ``crop``."""
        height, width = pixels.shape[:2]
        if isinstance(self.resize, int):
            short = min(height, width)
            height, width = (int(self.resize * side / short) for side in (height, width))
        else:
            height, width = self.resize
        picture = Image.fromarray(pixels).resize((width, height), Image.Resampling(self.resample))
        top, left = (height - self.crop[0]) // 2, (width - self.crop[1]) // 2
        cut: Pixels = np.asarray(picture)[top : top + self.crop[0], left : left + self.crop[1]]
        return np.ascontiguousarray(cut)


def read_preprocessing(folder: Path, native: Size) -> Preprocessing:
    """Read ``preprocessor_config.json``, or the part on images of ``processor_config.json``.

    Args:
        folder: of the model.
        native: (height, width) that the model was trained on, for a processor that does not resize.

    Raises:
        IncompleteBackboneError: there is no such file, or it lacks mean or deviation, or makes no sense.
    """
    path, content = _read_processor(folder)
    try:
        return _parse(content, native)
    except (KeyError, TypeError, ValueError) as error:
        raise IncompleteBackboneError(
            f"{path}: not understood ({type(error).__name__}: {error}); it must give size, image_mean and "
            "image_std as the processors of transformers write them"
        ) from error


def _read_processor(folder: Path) -> tuple[Path, dict[str, Any]]:
    # The newer file holds image processor and tokenizer in one, and wins, as in transformers.
    purpose = "it says how the model's pictures are normalised, which must not be guessed"
    combined = folder / "processor_config.json"
    if combined.is_file():
        content = read_json(combined, purpose).get("image_processor")
        if isinstance(content, dict):
            return combined, content
    path = folder / "preprocessor_config.json"
    return path, read_json(path, purpose)


def _parse(content: dict[str, Any], native: Size) -> Preprocessing:
    kind = str(content.get("image_processor_type") or content.get("feature_extractor_type") or "")
    resize = _parse_resize(content, kind, native)
    crop = (resize, resize) if isinstance(resize, int) else resize
    if content.get("do_center_crop") and content.get("crop_size"):
        crop = _parse_pair(content["crop_size"])
    shortest = (resize, resize) if isinstance(resize, int) else resize
    if crop[0] > shortest[0] or crop[1] > shortest[1]:
        raise ValueError(f"the crop {crop} is larger than the resized image {shortest}")
    normalised = content.get("do_normalize", True)
    default = Image.Resampling.BILINEAR if kind.startswith(_BILINEAR_BY_DEFAULT) else Image.Resampling.BICUBIC
    return Preprocessing(
        mean=_three(content["image_mean"]) if normalised else (0.0, 0.0, 0.0),
        std=_three(content["image_std"]) if normalised else (1.0, 1.0, 1.0),
        resize=resize,
        crop=crop,
        resample=Image.Resampling(default if content.get("resample") is None else content["resample"]),
        rescale=float(content.get("rescale_factor", 1 / 255)) if content.get("do_rescale", True) else 1.0,
    )


def _parse_resize(content: dict[str, Any], kind: str, native: Size) -> Size | int:
    if "max_num_patches" in content:
        # A processor for any shape: the square with the same number of patches.
        side = math.isqrt(int(content["max_num_patches"])) * int(content["patch_size"])
        return side, side
    size = content.get("size")
    if size is None or not content.get("do_resize", True):
        return native
    if isinstance(size, dict) and "shortest_edge" in size:
        return _positive(size["shortest_edge"])
    if isinstance(size, int) and kind.startswith(_SHORT_SIDE_BY_DEFAULT):
        return _positive(size)
    return _parse_pair(size)


def _parse_pair(size: dict[str, int] | int) -> Size:
    if isinstance(size, int):
        return _positive(size), _positive(size)
    return _positive(size["height"]), _positive(size["width"])


def _positive(value: int) -> int:
    if int(value) < 1:
        raise ValueError(f"a size of {value} pixels")
    return int(value)


def _three(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
