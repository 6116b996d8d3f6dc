"""Frozen vision transformers and text encoders by name or folder, behind one small interface.

>>> backbone = load_backbone("path/to/vit")                   # doctest: +SKIP
>>> pixels = backbone.normalise(views)                        # uint8 (batch, height, width, 3)
>>> tokens = backbone.embed(pixels)
>>> for index in range(backbone.depth):                       # an adapter may change tokens here
...     tokens = backbone.run_block(index, tokens)
>>> pooled = backbone.pool(backbone.finish(tokens))

Folders are read offline. Only a name of the table in ``known.py`` or an explicit Hub id touches the network.
Weights come from safetensors alone, and no code of a model's repository is ever run.
"""

from foveal.lab.backbones.card import BackboneCard
from foveal.lab.backbones.known import KNOWN, KnownBackbone
from foveal.lab.backbones.load import load_backbone, load_text_backbone
from foveal.lab.backbones.preprocessing import Preprocessing
from foveal.lab.backbones.text import TextBackbone, TextBatch, TextFeatures
from foveal.lab.backbones.vision import VisionBackbone

__all__ = [
    "KNOWN",
    "BackboneCard",
    "KnownBackbone",
    "Preprocessing",
    "TextBackbone",
    "TextBatch",
    "TextFeatures",
    "VisionBackbone",
    "load_backbone",
    "load_text_backbone",
]
