"""A tiny CLIP of ``transformers``' own classes, trained on the spot on rendered scenes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rendered import NOISIEST, Scene, all_scenes, render
from torch import Tensor
from torch.nn import functional

from foveal.imaging.views import whole_view

SIDE, PATCH, WIDTH, LENGTH = 60, 12, 64, 10
PICTURES = 24
"""Renderings of a scene that training chooses from."""
STEPS = 300
"""Batches of training."""
_SCENES = 192
_RATE = 4e-3
_PLACES = 0.5
_MEAN, _STD = 0.45, 0.25
_SPECIAL = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<pad>"}


def train_clip(folder: Path, scenes: Sequence[Scene], seed: int = 0, steps: int = STEPS) -> None:
    """Train image and text encoder on scenes alone, and save them as ``transformers`` does.

    A batch holds a picture of each of many scenes: a prompt is the right one for one of them, and wrong by
    one word only for others.

    Args:
        folder: where to.
        scenes: what is shown; no other combination of words is.
        seed: of weights and pictures.
        steps: batches.
    """
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    tokenizer, model = make_tokenizer(), _make_model()
    pictures = torch.from_numpy(np.stack([_pictures(scene, generator) for scene in scenes]))
    texts = tokenizer([scene.prompt for scene in scenes], padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, betas=(0.9, 0.98), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps, pct_start=0.15)
    own = torch.arange(_SCENES)
    for _ in range(steps):
        chosen = torch.from_numpy(generator.permutation(len(scenes))[:_SCENES])
        shown = pictures[chosen, torch.from_numpy(generator.integers(0, PICTURES, _SCENES))]
        said = {name: column[chosen] for name, column in texts.items()}
        cosines = _embed_images(model, shown) @ _embed_texts(model, said).T
        logits = model.logit_scale.exp() * cosines
        loss = functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    save(folder, model, tokenizer)


def save(folder: Path, model: Any, tokenizer: Any) -> None:
    """Save a CLIP with what tells how its pictures are normalised."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"height": SIDE, "width": SIDE},
        "resample": 2,
        "image_mean": [_MEAN] * 3,
        "image_std": [_STD] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")


def make_tokenizer() -> Any:
    """Whole words; numbers of start, end and padding are 0, 1 and 2."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for scene in all_scenes() for word in scene.prompt.split()})
    vocabulary = {word: number for number, word in enumerate([*_SPECIAL.values(), "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", 0), ("<|endoftext|>", 1)],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **_SPECIAL)  # noqa: S106 - no password


def _make_model() -> Any:
    from transformers import CLIPConfig, CLIPModel

    tower = {
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 2 * WIDTH,
    }
    text = {
        **tower,
        "vocab_size": 40,
        "max_position_embeddings": LENGTH,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    vision = {**tower, "image_size": SIDE, "patch_size": PATCH}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH))
    # As transformers starts them, places differ by a hundredth: words for them would be learnt late.
    torch.nn.init.normal_(model.vision_model.embeddings.position_embedding.weight, std=_PLACES)
    return model


def _pictures(scene: Scene, generator: np.random.Generator) -> Any:
    noise = generator.uniform(0, NOISIEST, PICTURES)
    return np.stack([whole_view(render(scene, deviation, generator), SIDE) for deviation in noise])


def _embed_images(model: Any, pictures: Tensor) -> Tensor:
    pixels = (pictures.permute(0, 3, 1, 2) / 255 - _MEAN) / _STD
    pooled = model.vision_model(pixel_values=pixels).pooler_output
    return functional.normalize(model.visual_projection(pooled), dim=-1)


def _embed_texts(model: Any, texts: Any) -> Tensor:
    pooled = model.text_model(**texts).pooler_output
    return functional.normalize(model.text_projection(pooled), dim=-1)
