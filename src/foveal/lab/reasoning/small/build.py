"""Make a small vision-language model from random initialisation: LLaVA around the two-view tower."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

from foveal.imaging.views import CELL
from foveal.lab.models.compact import CompactConfig
from foveal.lab.reasoning.small import register
from foveal.lab.reasoning.small.image_processor import TwoViewImageProcessor
from foveal.lab.reasoning.small.shape import DecoderShape
from foveal.lab.reasoning.small.tokens import IMAGE, train_tokenizer
from foveal.lab.reasoning.small.tower import PLACES, TwoViewConfig, TwoViewTower
from foveal.lab.reasoning.vision_language import VisionLanguageModel

CHAT = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}" + IMAGE + "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}Assistant: {% endif %}"
)
"""Chat template: a turn a line."""


def build_small(
    tower: TwoViewTower, texts: Iterable[str], shape: DecoderShape | None = None, *, seed: int = 0
) -> VisionLanguageModel:
    """Make the model around a tower whose weights are there already; all else is random.

    Args:
        tower: the frozen eyes.
        texts: what the tokenizer is trained on: all that will be read and written.
        shape: size of the language model.
        seed: of the initialisation.
    """
    register()
    shape = shape or DecoderShape()
    tokenizer = train_tokenizer(texts, shape.vocabulary)
    config = LlavaConfig(
        vision_config=tower.config,
        text_config=_llama(shape, tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=PLACES,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.vision_tower.requires_grad_(False)
    processor = LlavaProcessor(
        image_processor=TwoViewImageProcessor(),
        tokenizer=tokenizer,
        patch_size=CELL,
        vision_feature_select_strategy="full",
        # LLaVA's processor counts places by the size of its picture, which here shows each place twice.
        num_additional_image_tokens=-PLACES,
        chat_template=CHAT,
        image_token=IMAGE,
    )
    return VisionLanguageModel(model, processor, name="foveal-small")


def vit_tower(folder: str, layers: tuple[int, ...] = (4, 8, 12)) -> TwoViewTower:
    """The tower with a pretrained ViT of ``transformers`` in a local folder as its trunk.

    Raises:
        BackboneError: the folder holds no such model.
    """
    from foveal.lab.backbones.load import load_backbone

    backbone = load_backbone(folder)
    mean, deviation = float(backbone.mean.mean()), float(backbone.std.mean())
    core: Any = backbone.core
    config = TwoViewConfig(
        trunk="vit", trunk_config=core.config.to_dict(), layers=list(layers), mean=mean, deviation=deviation
    )
    tower = TwoViewTower(config)
    tower.trunk.load_state_dict(core.state_dict(), strict=True)
    tower.eval().requires_grad_(False)
    return tower


def compact_tower(
    config: CompactConfig, weights: dict[str, torch.Tensor], layers: tuple[int, ...] = (3, 4)
) -> TwoViewTower:
    """The tower with the trunk of a :class:`~foveal.lab.models.compact.CompactNet`.

    Args:
        config: shape of the network.
        weights: the state of its trunk, such as :func:`~foveal.lab.reasoning.small.shipped.shipped_trunk`
            gives.
        layers: stages that are read, counted from 1.
    """
    shape = {"widths": list(config.widths), "depths": list(config.depths)}
    tower = TwoViewTower(TwoViewConfig(trunk="compact", trunk_config=shape, layers=list(layers)))
    tower.trunk.load_state_dict(weights, strict=True)
    tower.eval().requires_grad_(False)
    return tower


def _llama(shape: DecoderShape, tokenizer: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=1024,
        attention_dropout=shape.dropout,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
