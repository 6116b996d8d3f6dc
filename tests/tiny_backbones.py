"""Tiny random models of every family as ``transformers`` saves them, tokenizers trained on the spot."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SIZE, PATCH, WIDTH, DEPTH, SHARED, LENGTH = 32, 8, 32, 3, 24, 12

_TOWER = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": 4}
_IMAGE = {**_TOWER, "image_size": SIZE, "patch_size": PATCH}
_MLP = {"intermediate_size": 48}
_TEXTS = ["a photo with good quality", "a photo with bad quality", "a blurry cat, and a dog in the snow"]


@dataclass(frozen=True)
class TinyModel:
    """A model as transformers has it in memory, and the folder that it was saved to."""

    reference: Any
    folder: Path

    @property
    def vision(self) -> Any:
        """Its image encoder."""
        return getattr(self.reference, "vision_model", self.reference)

    @property
    def text(self) -> Any:
        """Its text encoder."""
        return getattr(self.reference, "text_model", self.reference)


def _train_tokenizer() -> Any:
    """A byte-level tokenizer with CLIP's special tokens; numbers of start and end are 0 and 1."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<pad>"}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(special.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", 0), ("<|endoftext|>", 1)],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def _train_siglip2_tokenizer() -> Any:
    """The class that transformers insists on for SigLIP 2 of any shape, with its own special tokens."""
    from tokenizers import Tokenizer, models, trainers
    from transformers import Siglip2Tokenizer

    special = ["<bos>", "<eos>", "<pad>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=150, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([text.replace(" ", "▁") for text in _TEXTS], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return Siglip2Tokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])


def _text_config() -> dict[str, Any]:
    return {
        **_TOWER,
        **_MLP,
        "vocab_size": 320,
        "max_position_embeddings": LENGTH,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }


def _build_clip(transformers: Any) -> Any:
    config = transformers.CLIPConfig(
        text_config=_text_config(), vision_config={**_IMAGE, **_MLP}, projection_dim=SHARED
    )
    return transformers.CLIPModel(config)


def _build_siglip(transformers: Any) -> Any:
    config = transformers.SiglipConfig(
        text_config={**_text_config(), "projection_size": SHARED}, vision_config={**_IMAGE, **_MLP}
    )
    return transformers.SiglipModel(config)


def _build_siglip2(transformers: Any) -> Any:
    vision = {**_TOWER, **_MLP, "patch_size": PATCH, "num_patches": (SIZE // PATCH) ** 2}
    config = transformers.Siglip2Config(
        text_config={**_text_config(), "projection_size": SHARED}, vision_config=vision
    )
    return transformers.Siglip2Model(config)


_BUILDERS: dict[str, Callable[[Any], Any]] = {
    "vit": lambda transformers: transformers.ViTModel(transformers.ViTConfig(**_IMAGE, **_MLP)),
    "dino": lambda transformers: transformers.ViTModel(
        transformers.ViTConfig(**_IMAGE, **_MLP), add_pooling_layer=False
    ),
    "vit-classifier": lambda transformers: transformers.ViTForImageClassification(
        transformers.ViTConfig(**_IMAGE, **_MLP, num_labels=5)
    ),
    "deit": lambda transformers: transformers.DeiTModel(transformers.DeiTConfig(**_IMAGE, **_MLP)),
    "dinov2": lambda transformers: transformers.Dinov2Model(transformers.Dinov2Config(**_IMAGE, mlp_ratio=2)),
    "dinov2-registers": lambda transformers: transformers.Dinov2WithRegistersModel(
        transformers.Dinov2WithRegistersConfig(**_IMAGE, mlp_ratio=2, num_register_tokens=3)
    ),
    "dinov3": lambda transformers: transformers.DINOv3ViTModel(
        transformers.DINOv3ViTConfig(**_IMAGE, **_MLP, num_register_tokens=4)
    ),
    "clip": _build_clip,
    "clip-vision": lambda transformers: transformers.CLIPVisionModel(
        transformers.CLIPVisionConfig(**_IMAGE, **_MLP)
    ),
    "clip-text": lambda transformers: transformers.CLIPTextModel(
        transformers.CLIPTextConfig(**_text_config())
    ),
    "siglip": _build_siglip,
    "siglip2": _build_siglip2,
}

PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": SIZE, "width": SIZE},
    "resample": 2,
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.25, 0.3],
}


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TinyModel]:
    """Makes and saves a tiny model of a family, once; every weight is random, norms and positions too."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    made: dict[str, TinyModel] = {}

    def build(family: str) -> TinyModel:
        folder = tmp_path_factory.mktemp(family)
        torch.manual_seed(list(_BUILDERS).index(family))
        model = _BUILDERS[family](transformers).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR), encoding="utf-8")
        if hasattr(model, "text_model") or family == "clip-text":
            train = _train_siglip2_tokenizer if family == "siglip2" else _train_tokenizer
            train().save_pretrained(folder)
        return TinyModel(model, folder)

    def make(family: str) -> TinyModel:
        if family not in made:
            # Whoever asks first may do so in inference mode: the weights must not stay marked by it.
            with torch.inference_mode(False), torch.random.fork_rng():
                made[family] = build(family)
        return made[family]

    return make
