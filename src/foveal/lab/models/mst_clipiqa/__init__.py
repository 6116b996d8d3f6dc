"""MST-CLIPIQA: two streams of vision-language encoders, gated fusion, prompt cross-attention.

>>> model = MstClipIqa(Backbones(coarse, fine, text), MstConfig(prompt=True), ("quality", "correspondence"))
...                                                                                    # doctest: +SKIP
"""

from foveal.lab.models.mst_clipiqa.authors import MstAuthors
from foveal.lab.models.mst_clipiqa.config import MstConfig
from foveal.lab.models.mst_clipiqa.fusion import AverageFusion, ConcatFusion, GatedFusion
from foveal.lab.models.mst_clipiqa.heads import LevelHead, PromptHead
from foveal.lab.models.mst_clipiqa.model import MstClipIqa, MstHead

__all__ = [
    "AverageFusion",
    "ConcatFusion",
    "GatedFusion",
    "LevelHead",
    "MstAuthors",
    "MstClipIqa",
    "MstConfig",
    "MstHead",
    "PromptHead",
]
