"""Text encoders: features, masks, truncation and projection as the models themselves have them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the lab needs its extra")
pytest.importorskip("transformers", reason="the lab needs its extra")

from foveal.errors import IncompleteBackboneError, MissingPartError  # noqa: E402
from foveal.lab.backbones import load_text_backbone  # noqa: E402

TEXTS = ["a photo with good quality", "a cat"]
LONG = "a blurry dog in the snow and " * 40
LENGTH = 12
START, END, PAD = 0, 1, 2

Make = Callable[[str], Any]


@pytest.mark.parametrize("family", ["clip", "siglip", "siglip2"])
def test_features_equal_the_models_own(tiny_backbone: Make, family: str) -> None:
    tiny = tiny_backbone(family)
    encoder = load_text_backbone(tiny.folder)
    batch = encoder.tokenise([*TEXTS, LONG])
    features = encoder.encode(batch)
    attention = {"attention_mask": batch.mask.long()} if family == "clip" else {}
    expected = tiny.text(input_ids=batch.ids, **attention)
    torch.testing.assert_close(features.tokens, expected.last_hidden_state)
    if family == "clip":
        torch.testing.assert_close(features.pooled, expected.pooler_output)
        projected = tiny.reference.text_projection(expected.pooler_output)
    else:
        projected = expected.pooler_output
    torch.testing.assert_close(encoder.project(features.pooled), projected)
    torch.testing.assert_close(encoder([*TEXTS, LONG]), projected)
    assert encoder.project(features.tokens).shape == (3, LENGTH, 24)
    assert features.tokens.shape == (3, LENGTH, encoder.width)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_masks_and_truncation(tiny_backbone: Make, family: str) -> None:
    encoder = load_text_backbone(tiny_backbone(family).folder)
    assert encoder.max_length == LENGTH
    batch = encoder.tokenise(["cat", LONG])
    assert batch.ids.shape == (2, LENGTH)
    assert batch.mask.dtype == torch.bool
    assert (batch.ids[~batch.mask] == PAD).all()
    assert (batch.ids[batch.mask] != PAD).all()
    assert batch.mask[1].all()
    for ids, mask in zip(batch.ids, batch.mask, strict=True):
        assert ids[0] == START
        assert ids[mask][-1] == END


def test_siglip_reads_lower_case_at_full_length(tiny_backbone: Make) -> None:
    encoder = load_text_backbone(tiny_backbone("siglip").folder)
    upper, lower = encoder.tokenise("A Cat"), encoder.tokenise(["a cat"])
    assert upper.ids.shape == (1, LENGTH)
    assert torch.equal(upper.ids, lower.ids)
    clip = load_text_backbone(tiny_backbone("clip").folder)
    assert clip.tokenise("a cat").ids.shape[1] < LENGTH


def test_neighbours_change_no_feature(tiny_backbone: Make) -> None:
    """A short text alone, and beside one that forces padding on it."""
    for family in ("clip", "siglip"):
        encoder = load_text_backbone(tiny_backbone(family).folder)
        alone, together = encoder.encode("a cat"), encoder.encode(["a cat", LONG])
        kept = alone.mask[0]
        torch.testing.assert_close(together.tokens[0][: len(kept)][kept], alone.tokens[0][kept])
        torch.testing.assert_close(together.pooled[0], alone.pooled[0])


def test_frozen_and_set_free(tiny_backbone: Make) -> None:
    encoder = load_text_backbone(tiny_backbone("clip").folder)
    assert list(encoder.trainable()) == []
    assert not encoder("a cat").requires_grad
    encoder.unfreeze_last(1)
    encoder("a cat").sum().backward()
    with_gradient = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert with_gradient
    assert all("layers.2" in name or "final_layer_norm" in name for name in with_gradient)


def test_scale_of_logits(tiny_backbone: Make) -> None:
    clip = tiny_backbone("clip")
    encoder = load_text_backbone(clip.folder)
    assert encoder.logit_scale == pytest.approx(clip.reference.logit_scale.item())
    assert encoder.logit_bias is None
    siglip = tiny_backbone("siglip")
    assert load_text_backbone(siglip.folder).logit_bias == pytest.approx(siglip.reference.logit_bias.item())


def test_text_tower_alone(tiny_backbone: Make) -> None:
    tiny = tiny_backbone("clip-text")
    encoder = load_text_backbone(tiny.folder)
    batch = encoder.tokenise(TEXTS)
    expected = tiny.reference(input_ids=batch.ids, attention_mask=batch.mask.long())
    features = encoder.encode(batch)
    torch.testing.assert_close(features.pooled, expected.pooler_output)
    with pytest.raises(MissingPartError, match="holds no text_projection"):
        encoder.project(features.pooled)
    assert (encoder.logit_scale, encoder.card.part) == (None, "text")


def test_no_text(tiny_backbone: Make) -> None:
    with pytest.raises(ValueError, match="no text"):
        load_text_backbone(tiny_backbone("clip").folder).tokenise([])


def test_tokenizer_is_missing(tiny_backbone: Make, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_backbone("clip").folder / name, tmp_path)
    with pytest.raises(IncompleteBackboneError, match=r"no tokenizer in .*tokenizer\.json"):
        load_text_backbone(tmp_path)


def test_tokenizer_is_broken(tiny_backbone: Make, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_backbone("clip").folder, tmp_path / "clip")
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {}}', encoding="utf-8")
    with pytest.raises(IncompleteBackboneError, match=r"clip: cannot be loaded"):
        load_text_backbone(folder)


def test_image_encoder_has_no_text(tiny_backbone: Make) -> None:
    for family in ("vit", "clip-vision"):
        with pytest.raises(MissingPartError, match="has no text encoder"):
            load_text_backbone(tiny_backbone(family).folder)
