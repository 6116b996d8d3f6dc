"""The lab: everything that needs torch, to make the models that the ground floor runs.

>>> from foveal.lab import TrainableAssessor
>>> assessor = TrainableAssessor(backbone="vit-tiny-16").fit(ratings)          # doctest: +SKIP
>>> assessor.predict(["photo.jpg"])[0].quality                                 # doctest: +SKIP
>>> assessor.export("mine.foveal.safetensors")                                 # doctest: +SKIP
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from foveal.errors import MissingExtraError

if TYPE_CHECKING:
    from foveal.lab.backbones.load import load_backbone
    from foveal.lab.export_trained import export_model
    from foveal.lab.trainable import TrainableAssessor
    from foveal.lab.trained import TrainedModel, load_trained
    from foveal.lab.training.recipe import read_recipe
    from foveal.lab.training_run import train

_HOMES = {
    "TrainableAssessor": "foveal.lab.trainable",
    "TrainedModel": "foveal.lab.trained",
    "export_model": "foveal.lab.export_trained",
    "load_backbone": "foveal.lab.backbones.load",
    "load_trained": "foveal.lab.trained",
    "read_recipe": "foveal.lab.training.recipe",
    "train": "foveal.lab.training_run",
}

__all__ = [
    "TrainableAssessor",
    "TrainedModel",
    "export_model",
    "load_backbone",
    "load_trained",
    "read_recipe",
    "train",
]

for _needed in ("torch", "transformers"):
    if find_spec(_needed) is None:
        raise MissingExtraError("the lab", "lab")


def __getattr__(name: str) -> Any:
    """Find what is asked for; nothing heavy is imported before."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
