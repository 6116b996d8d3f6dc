"""The small vision-language assessor: LLaVA's own classes around a frozen tower of two views."""

from __future__ import annotations


def register() -> None:
    """Make the tower and its image processor known to ``transformers``' automatic classes; once is enough."""
    from transformers import AutoConfig, AutoImageProcessor, AutoModel

    from foveal.lab.reasoning.small.image_processor import TwoViewImageProcessor
    from foveal.lab.reasoning.small.tower import TwoViewConfig, TwoViewTower

    AutoConfig.register(TwoViewConfig.model_type, TwoViewConfig, exist_ok=True)
    AutoModel.register(TwoViewConfig, TwoViewTower, exist_ok=True)
    AutoImageProcessor.register(
        TwoViewConfig, image_processor_classes={"pil": TwoViewImageProcessor}, exist_ok=True
    )
