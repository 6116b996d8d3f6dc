"""Pictures of a ratings table for the models: decoded when they are needed, looked at once."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from foveal.errors import ImageError
from foveal.imaging.decode import decode
from foveal.imaging.views import Pixels
from foveal.lab.reasoning.question import Picture, StoredFeatures
from foveal.lab.reasoning.reasoner import Reasoner
from foveal.lab.reasoning.vision_language import VisionLanguageModel

_QUALITY = 80


class Reading:
    """Decodes named files; one that cannot be read is left out and noted.

    Attributes:
        failed: by name, why a file could not be read.
    """

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}

    def read(self, files: Sequence[tuple[str, Path]]) -> list[Pixels]:
        """Pixels of those files that can be read, in their order."""
        found = []
        for name, path in files:
            try:
                found.append(decode(path).pixels)
            except ImageError as error:
                self.failed[name] = str(error)
        return found


@torch.no_grad()
def looked_at(reasoner: Reasoner, pictures: Sequence[Pixels]) -> list[Picture]:
    """Pictures in the form that is cheapest to ask about many times.

    What the tower of a small model of this package sees is kept, as its dozens of questions about a picture
    need not run the tower again; other models get the pixels.
    """
    from foveal.lab.reasoning.small.tower import TwoViewTower

    model: VisionLanguageModel = getattr(reasoner, "describer", reasoner.judging)
    core: Any = model.model.get_base_model() if hasattr(model.model, "get_base_model") else model.model
    tower = getattr(getattr(core, "model", None), "vision_tower", None)
    if not isinstance(tower, TwoViewTower):
        return list(pictures)
    values = model.processor.image_processor(list(pictures))["pixel_values"]
    tokens = tower(values.to(model.device)).last_hidden_state.float().cpu().numpy()
    return [StoredFeatures(row) for row in tokens]


def thumbnail(path: Path, side: int = 260) -> str:
    """A small copy of an image as the address of an ``img`` element: the page needs no file beside it."""
    picture = Image.fromarray(decode(path).pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
