"""CLIP-IQA: transformers' own CLIP gives the same, sizes and positions, what is fitted, what is refused."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from foveal.errors import ImageNotFoundError, MissingPartError
from foveal.lab.backbones import load_backbone, load_text_backbone
from foveal.lab.backbones.tuning import TuningMode, apply_tuning
from foveal.lab.models.base import Backbones
from foveal.lab.models.registry import MODELS
from foveal.lab.models.zero_shot import ANTONYMS, ClipIqa, ClipIqaConfig, clip_iqa
from foveal.strict import build

PAIRS = {"quality": ["a cat", "a blurry dog"], "snow": ["a dog in the snow", "a cat"]}


@pytest.fixture(scope="module")
def load(tiny_backbone: Any) -> Callable[..., Backbones]:
    """Loads encoders by family, each once: frozen ones may be shared."""

    def of(vision: str = "clip", text: str | None = None) -> Backbones:
        text = text or vision
        return Backbones(vision_of(vision), text=text_of(text))

    vision_of = functools.cache(lambda family: load_backbone(tiny_backbone(family).folder))
    text_of = functools.cache(lambda family: load_text_backbone(tiny_backbone(family).folder))
    # The tiny SigLIP's texts are narrower than its images; those of real ones are not.
    torch.manual_seed(7)
    text_of("siglip").core.head = torch.nn.Linear(32, 32)
    return of


def _views(side: int = 32, rows: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {"whole": torch.randint(0, 256, (rows, side, side, 3), generator=generator, dtype=torch.uint8)}


def _expected(
    reference: Any, backbones: Backbones, pixels: Tensor, pair: list[str], **options: Any
) -> Tensor:
    """1 + 4 p of the first text, p the softmax over the pair, by transformers' two-tower model."""
    assert backbones.text is not None
    tokens = backbones.text.tokenise(pair)
    outputs = reference(
        input_ids=tokens.ids, attention_mask=tokens.mask.long(), pixel_values=pixels, **options
    )
    return 1 + 4 * outputs.logits_per_image.softmax(dim=1)[:, 0]


@torch.inference_mode()
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_an_untrained_score_is_the_probability_of_the_better_text(
    load: Callable[..., Backbones], tiny_backbone: Any, family: str
) -> None:
    backbones = load(family)
    model = ClipIqa(backbones, ClipIqaConfig(PAIRS), ("quality", "snow")).eval()  # type: ignore[arg-type]
    judged = model(_views())
    pixels = backbones.vision.normalise(_views()["whole"])
    for column, pair in enumerate(PAIRS.values()):
        reference = tiny_backbone(family).reference
        if family == "siglip":
            reference = _without_mask(copy.deepcopy(reference), backbones)
        expected = _expected(reference, backbones, pixels, pair)
        torch.testing.assert_close(judged.quality[:, column], expected, rtol=1e-4, atol=1e-4)
    assert judged.quality.shape == judged.spread.shape == (4, 2)
    assert model.trainable_count() == 2 * 3


def _without_mask(reference: Any, backbones: Backbones) -> Any:
    """SigLIP attends to padding; with the way into the common space that the fixture has."""
    assert backbones.text is not None
    reference.text_model.head = backbones.text.core.head
    return lambda attention_mask, **inputs: reference(**inputs)


@torch.inference_mode()
@pytest.mark.parametrize("side", [32, 48, 16])
@pytest.mark.parametrize("positions", [True, False])
def test_views_may_have_another_side(
    load: Callable[..., Backbones], tiny_backbone: Any, side: int, positions: bool
) -> None:
    """With positions they are interpolated; without, it is the model whose positions are all zero."""
    backbones = load()
    config = ClipIqaConfig({"quality": ("a cat", "a dog")}, side=side, positions=positions)
    model = ClipIqa(backbones, config).eval()
    assert model.views["whole"].side == side
    reference = copy.deepcopy(tiny_backbone("clip").reference)
    if not positions:
        reference.vision_model.embeddings.position_embedding.weight.zero_()
    pixels = backbones.vision.normalise(_views(side)["whole"])
    expected = _expected(reference, backbones, pixels, ["a cat", "a dog"], interpolate_pos_encoding=True)
    torch.testing.assert_close(model(_views(side)).quality[:, 0], expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_without_positions_moved_patches_are_the_same_image(load: Callable[..., Backbones]) -> None:
    view = _views()["whole"]
    swapped = view.clone()
    swapped[:, :8, :8], swapped[:, 16:24, 24:] = view[:, 16:24, 24:], view[:, :8, :8]
    for family in ("clip", "siglip"):
        for positions, same in ((False, True), (True, False)):
            model = ClipIqa(load(family), ClipIqaConfig(positions=positions)).eval()
            first, second = model({"whole": view}).quality, model({"whole": swapped}).quality
            assert torch.allclose(first, second, atol=1e-5) == same


@torch.inference_mode()
def test_untrained_directly_and_as_a_model(load: Callable[..., Backbones], make_photo: Any) -> None:
    images = [make_photo(50, 70), make_photo(90, 40, seed=1)]
    backbones = load()
    scores = clip_iqa(images, backbones, targets=("quality", "sharpness"))
    assert scores.shape == (2, 2)
    assert ((scores > 1) & (scores < 5)).all()
    from foveal.assessor import cut_views

    model = ClipIqa(backbones, targets=("quality", "sharpness")).eval()
    for image, row in zip(images, scores, strict=True):
        view = torch.from_numpy(cut_views(image, model.views)["whole"].copy())[None]
        np.testing.assert_allclose(model({"whole": view}).quality[0].numpy(), row, atol=1e-5)
    assert clip_iqa([], backbones).shape == (0, 1)
    with pytest.raises(ImageNotFoundError, match=r"gone\.png"):
        clip_iqa(["gone.png"], backbones)


@torch.inference_mode()
@pytest.mark.parametrize("positions", [True, False])
def test_whole_images_of_any_size(load: Callable[..., Backbones], make_photo: Any, positions: bool) -> None:
    """The middle of each, cut to patches: the same pixels give the same score."""
    backbones, config = load(), ClipIqaConfig(positions=positions)
    image = make_photo(43, 62)
    middle = np.ascontiguousarray(image[1:41, 3:59])
    scores = clip_iqa([image, middle], backbones, config, full_size=True)
    assert scores[0] == scores[1]
    model = ClipIqa(backbones, config).eval()
    logits = model.logits(backbones.vision.normalise(middle[None]))
    assert scores[0, 0] == pytest.approx(float(1 + 4 * logits.sigmoid()), abs=1e-5)
    with pytest.raises(ValueError, match=r"an image of 62 x 5 pixels is smaller than the patch of .*, 8"):
        clip_iqa([image[:5]], backbones, config, full_size=True)


def test_three_numbers_a_target_are_fitted_on_kept_logits(load: Callable[..., Backbones]) -> None:
    model = ClipIqa(load(), ClipIqaConfig(PAIRS), ("quality", "snow")).train()  # type: ignore[arg-type]
    head = model.frozen_head()
    assert head is not None
    logits = model.encode("whole", _views()["whole"])
    assert logits.shape == (4, 2)
    with torch.no_grad():
        head.slope.copy_(torch.tensor([0.5, 2.0]))  # type: ignore[operator]
        head.offset.copy_(torch.tensor([-1.0, 0.3]))  # type: ignore[operator]
    judged = head({"whole": logits})
    expected = 1 + 4 / (1 + np.exp(-(logits.numpy() * [0.5, 2.0] + [-1.0, 0.3])))
    np.testing.assert_allclose(judged.quality.detach().numpy(), expected, rtol=1e-4)
    torch.testing.assert_close(model(_views()).quality, judged.quality)
    (judged.quality.square().sum() + judged.spread.sum()).backward()
    groups = model.parameter_groups()
    assert list(groups) == ["head"]
    assert sum(p.numel() for p in groups["head"]) == 6
    assert all(p.grad is not None and (p.grad != 0).all() for p in model.trainable())
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    # What is saved is what was fitted; the texts are read again.
    assert model.trained_state().keys() == {"map.slope", "map.offset", "map.spread"}


def test_a_tuned_encoder_leaves_no_logits_to_keep(load: Callable[..., Backbones], tiny_backbone: Any) -> None:
    backbones = Backbones(load_backbone(tiny_backbone("clip").folder), text=load().text)
    apply_tuning(backbones.vision, TuningMode("last", blocks=1))
    model = ClipIqa(backbones)
    assert model.frozen_head() is None
    assert model.parameter_groups()["backbone"] == list(backbones.vision.trainable())


def test_kept_logits_are_told_apart(load: Callable[..., Backbones]) -> None:
    """By texts, their encoder and positions: nothing else decides on them beside the image encoder."""
    backbones = load()
    names = {
        ClipIqa(backbones).extractor("whole"),
        ClipIqa(backbones, ClipIqaConfig(positions=False)).extractor("whole"),
        ClipIqa(backbones, targets=("sharpness",)).extractor("whole"),
        ClipIqa(backbones, targets=("quality", "sharpness")).extractor("whole"),
    }
    assert len(names) == 4
    assert ClipIqa(load()).extractor("whole") in names


@torch.inference_mode()
def test_turned_antonyms_turn_the_score(load: Callable[..., Backbones]) -> None:
    better, worse = ANTONYMS["quality"]
    turned = ClipIqa(load(), ClipIqaConfig({"quality": (worse, better)}))
    torch.testing.assert_close(6 - turned(_views()).quality, ClipIqa(load())(_views()).quality)


def test_a_recipe_s_table_makes_a_config() -> None:
    table = {"antonyms": {"mood": ["Happy photo.", "Sad photo."]}, "side": 64, "positions": False}
    config = build(MODELS["clip-iqa"].config, table, "model")
    assert config == ClipIqaConfig({"mood": ("Happy photo.", "Sad photo.")}, side=64, positions=False)
    assert config.pair("mood") == ("Happy photo.", "Sad photo.")
    assert config.pair("quality") == ("Good photo.", "Bad photo.")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"antonyms": {"mood": ("Happy photo.",)}}, r"antonyms.mood is \['Happy photo.'\], expected two"),
        ({"antonyms": {"mood": ("a", "a")}}, "expected two different texts, the higher end first"),
        ({"antonyms": {"mood": ("a", " ")}}, "expected two different texts"),
        ({"view": "half"}, "view is 'half', expected whole, fragments, crop"),
        ({"side": -8}, "side is -8, expected 0 or more"),
    ],
)
def test_choices_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClipIqaConfig(**changes)


def test_encoders_that_do_not_fit_are_refused(load: Callable[..., Backbones]) -> None:
    with pytest.raises(ValueError, match=r"give one \(text_backbone\)"):
        ClipIqa(Backbones(load().vision))
    with pytest.raises(ValueError, match=r"in 32 features, .* texts in 24: they are not of one model"):
        ClipIqa(load("siglip2", "clip"))
    with pytest.raises(MissingPartError, match="a vit shares no space with text"):
        ClipIqa(load("vit", "clip"))
    with pytest.raises(ValueError, match="positions cannot be left out of a siglip2"):
        ClipIqa(load("siglip2"), ClipIqaConfig(positions=False))
    with pytest.raises(ValueError, match="side is 36, expected a multiple of 8"):
        ClipIqa(load(), ClipIqaConfig(side=36))
    with pytest.raises(ValueError, match=r"no antonyms are known for 'charm'; give some \(antonyms.charm\)"):
        ClipIqa(load(), targets=("charm",))
