"""Pictures as the two-view tower reads them, in the form that ``transformers`` processors call."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from foveal.imaging.views import Pixels, fragment_view, whole_view


class TwoViewImageProcessor(BaseImageProcessor):  # type: ignore[misc]
    """Whole view of each picture above its fragments: one tall picture of three channels.

    The same views as the shipped assessor's, cut by the same functions: the same picture gives the same
    values, whatever the batch.
    """

    model_input_names: ClassVar[list[str]] = ["pixel_values"]

    def __call__(self, images: Any, **_: Any) -> BatchFeature:
        """Cut the views.

        Args:
            images: pictures, uint8 (height, width, 3) arrays or PIL images; nested lists are flattened.

        Returns:
            ``pixel_values``: float32 (pictures, 3, 448, 224) of 0 to 255, a tensor.
        """
        import torch

        values = np.stack([two_views(_pixels(picture)) for picture in _flat(images)])
        return BatchFeature({"pixel_values": torch.from_numpy(values.astype(np.float32))})

    def fetch_images(self, images: Any) -> Any:
        """Nothing is fetched: pictures come as pixels."""
        return images


def two_views(pixels: Pixels) -> NDArray[np.uint8]:
    """uint8 (height, width, 3) -> uint8 (3, 448, 224): the whole view above the fragments."""
    both = np.concatenate([whole_view(pixels), fragment_view(pixels)])
    return np.ascontiguousarray(both.transpose(2, 0, 1))


def _pixels(picture: Any) -> Pixels:
    if isinstance(picture, np.ndarray):
        return picture
    return np.asarray(picture.convert("RGB"))


def _flat(images: Any) -> list[Any]:
    if isinstance(images, (list, tuple)):
        return [picture for part in images for picture in _flat(part)]
    return [images]
