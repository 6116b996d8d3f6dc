"""MST-CLIPIQA as a model of the lab: families of encoders, prompts, targets, what is trained and refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from foveal.artifact.card import PROMPT_IDS, PROMPT_MASK
from foveal.lab.backbones import load_backbone, load_text_backbone
from foveal.lab.backbones.text import TextBatch
from foveal.lab.backbones.tuning import TuningMode, apply_tuning
from foveal.lab.models.base import PROMPT_TOKENS, Backbones, summarise_parameters
from foveal.lab.models.mst_clipiqa import MstClipIqa, MstConfig, MstHead
from foveal.lab.models.registry import MODELS

SHARED, WIDTH = 24, 32
PROMPTS = ["a blurry cat", "", "a dog in the snow", "a cat and a dog and a cat and a dog in the snow"]
THREE = ("quality", "authenticity", "correspondence")
Make = Callable[..., MstClipIqa]


@pytest.fixture(scope="module")
def make(tiny_backbone: Any) -> Make:
    """Makes models: coarse, fine and text by family, None for none."""

    def build(
        coarse: str = "clip",
        fine: str | None = "clip-vision",
        text: str | None = "clip",
        targets: tuple[str, ...] = ("quality",),
        **options: Any,
    ) -> MstClipIqa:
        torch.manual_seed(0)
        backbones = Backbones(
            image(coarse),
            None if fine is None else image(f"{fine} again" if fine == coarse else fine),
            None if text is None else texts(text),
        )
        model = MODELS["mst-clipiqa"].make(backbones, MstConfig(**{"dropout": 0.0, **options}), targets)
        assert isinstance(model, MstClipIqa)
        return model

    # Frozen encoders may be shared by many models.
    image = functools.cache(lambda family: load_backbone(tiny_backbone(family.split()[0]).folder))
    texts = functools.cache(lambda family: load_text_backbone(tiny_backbone(family).folder))
    return build


def _move(model: MstClipIqa) -> MstClipIqa:
    """Every trained weight away from where it began, alpha too."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.trainable():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def _views(model: MstClipIqa, rows: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.randint(0, 256, (rows, spec.side, spec.side, 3), generator=generator, dtype=torch.uint8)
        for name, spec in model.views.items()
    }


def _prompts(model: MstClipIqa, prompts: list[str] = PROMPTS) -> dict[str, Tensor]:
    """Ids and masks as training makes them: a prompt that is empty has no token."""
    assert model.text is not None
    batch = model.text.tokenise(prompts)
    there = torch.tensor([bool(prompt) for prompt in prompts])
    return {PROMPT_IDS: batch.ids, PROMPT_MASK: batch.mask & there[:, None]}


@torch.inference_mode()
@pytest.mark.parametrize(
    ("coarse", "fine", "text", "read"),
    [
        ("clip", "clip-vision", "clip", (SHARED, WIDTH)),  # a tower without its projection: CLS
        ("clip", "siglip", "clip", (SHARED, WIDTH)),
        ("siglip", "siglip2", "siglip", (WIDTH, WIDTH)),
        ("siglip", "vit", None, (WIDTH, WIDTH)),
        ("vit", "dinov2", None, (WIDTH, WIDTH)),
        ("deit", "dinov3", "clip", (WIDTH, WIDTH)),
        ("dinov2-registers", "dino", "siglip", (WIDTH, WIDTH)),
    ],
)
def test_any_two_encoders_are_streams(
    make: Make, coarse: str, fine: str, text: str | None, read: tuple[int, int]
) -> None:
    model = make(coarse, fine, text).eval()
    views = _views(model, 3)
    features = model.features(views)
    assert tuple(part.shape for part in features.values()) == ((3, read[0]), (3, read[1]))
    assert model.gate(features).shape == (3, SHARED if text else WIDTH)
    judged = model(views)
    assert judged.quality.shape == (3, 1)
    assert ((judged.quality >= 1) & (judged.quality <= 5)).all()
    assert (judged.spread > 0).all()
    # Levels are texts where there is a text encoder.
    learned = {name for name, _ in model.named_parameters() if name.endswith(".levels")}
    assert bool(learned) == (text is None)


@torch.inference_mode()
def test_streams_are_the_projected_cls_tokens_and_levels_the_texts(make: Make, tiny_backbone: Any) -> None:
    """Against transformers' own CLIP, and the untrained fusion, whose maps are the identity."""
    model = make("clip", None, "clip", fusion="coarse").eval()
    reference = tiny_backbone("clip").reference
    views = _views(model)
    pixels = model.backbone.normalise(views["coarse"])
    embeds = reference.visual_projection(reference.vision_model(pixels).pooler_output)
    torch.testing.assert_close(model.encode("coarse", views["coarse"]), embeds, rtol=1e-4, atol=1e-5)
    text = model.config.level_texts("quality")
    tokens = load_text_backbone(tiny_backbone("clip").folder).tokenise(text)
    texts = reference(input_ids=tokens.ids, attention_mask=tokens.mask.long(), pixel_values=pixels)
    shares = texts.logits_per_image.softmax(dim=1)
    expected = shares @ torch.arange(1.0, 6)
    torch.testing.assert_close(model(views).quality[:, 0], expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("fusion", ["gate", "average", "concat", "coarse", "fine"])
@pytest.mark.parametrize("features", ["pooled", "layers"])
def test_the_head_on_kept_features_is_the_model_on_views(make: Make, fusion: str, features: str) -> None:
    options = {"fusion": fusion, "features": features, "layers": (1, 3), "fine_layers": (2,), "prompt": True}
    model = _move(make("clip", "vit", "clip", THREE, **options)).eval()
    head = model.frozen_head()
    assert head is not None
    views, prompts = _views(model), _prompts(model)
    kept: dict[str, Tensor] = {name: model.encode(name, view).half() for name, view in views.items()}
    tokens = model.encode_prompts(TextBatch(prompts[PROMPT_IDS], prompts[PROMPT_MASK])).half()
    kept |= {PROMPT_TOKENS: tokens, PROMPT_MASK: prompts[PROMPT_MASK]}
    expected, judged = model({**views, **prompts}), head(kept)
    torch.testing.assert_close(judged.quality, expected.quality, rtol=0, atol=0.02)
    torch.testing.assert_close(judged.spread, expected.spread, rtol=0, atol=0.02)
    assert judged.quality.std(dim=0).min() > 0


@torch.inference_mode()
def test_layers_are_read_as_a_probe_reads_them(make: Make) -> None:
    model = make("vit", "dinov2", None, features="layers", layers=(1, 3), fine_layers=(2,))
    assert model.extractor("coarse") == "layers 1,3; CLS and mean patch token"
    assert model.extractor("fine") == "layers 2; CLS and mean patch token"
    view = _views(model)["fine"]
    tokens = model.encoder("fine").tokens(model.encoder("fine").normalise(view), (2,))[:, 0]
    expected = torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)
    torch.testing.assert_close(model.encode("fine", view), expected)
    assert make("clip", "vit").extractor("coarse") == "pooled: projected"
    assert make("clip", "vit").extractor("fine") == "pooled: cls"


@torch.inference_mode()
@pytest.mark.parametrize("prompt", [False, True])
def test_scores_depend_on_the_image_and_its_prompt_alone(make: Make, prompt: bool) -> None:
    model = _move(make(prompt=prompt, targets=THREE)).eval()
    batch = _views(model) | (_prompts(model) if prompt else {})
    together = model(batch)
    turned = model({name: rows.flip(0) for name, rows in batch.items()})
    torch.testing.assert_close(turned.quality.flip(0), together.quality, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(turned.spread.flip(0), together.spread, rtol=1e-4, atol=1e-4)
    for row in range(4):
        alone = model({name: rows[row : row + 1] for name, rows in batch.items()})
        torch.testing.assert_close(alone.quality[0], together.quality[row], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("compat", ["none", "authors"])
def test_how_far_prompts_are_padded_does_not_matter(make: Make, compat: str) -> None:
    model = _move(_alike(make, compat)).eval()
    prompts = _prompts(model, PROMPTS[:3])
    more = 12 - prompts[PROMPT_IDS].shape[1]
    padded = {
        PROMPT_IDS: functional.pad(prompts[PROMPT_IDS], (0, more), value=2),
        PROMPT_MASK: functional.pad(prompts[PROMPT_MASK], (0, more)),
    }
    assert more > 0
    views = _views(model, 3)
    expected = model(views | prompts).quality
    torch.testing.assert_close(model(views | padded).quality, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(model(views).quality, expected, atol=1e-3)


def _alike(make: Make, compat: str) -> MstClipIqa:
    """A model that reads prompts; the authors' layers want streams and tokens of one width."""
    return make("dino", "dinov2", "clip", prompt=True, compat=compat)


@torch.inference_mode()
def test_a_prompt_longer_than_the_encoder_takes_is_cut(make: Make) -> None:
    model = _move(make(prompt=True)).eval()
    prompts = _prompts(model, ["a cat in the snow " * n for n in (1, 2, 30, 31)])
    assert prompts[PROMPT_IDS].shape == (4, 12)
    quality = model(_views(model) | prompts).quality
    assert quality.isfinite().all()


@torch.inference_mode()
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_rows_without_a_prompt_are_judged_as_without_prompts(make: Make, precision: torch.dtype) -> None:
    model = _move(make(prompt=True, targets=("quality", "correspondence"))).eval()
    for alpha in model.parameter_groups()["alpha"]:
        alpha.fill_(1.0)
    views = _views(model)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        with_prompts = model(views | _prompts(model))
        without, none = model(views), model(views | _prompts(model, [""] * 4))
    assert with_prompts.quality.isfinite().all()
    torch.testing.assert_close(with_prompts.quality[1], without.quality[1])
    torch.testing.assert_close(none.quality, without.quality)
    assert ((with_prompts.quality - without.quality).abs().amax(dim=1) > 1e-2).tolist() == [1, 0, 1, 1]


@torch.inference_mode()
def test_alpha_begins_at_0_where_prompts_do_not_matter(make: Make) -> None:
    model = make(prompt=True).eval()
    views = _views(model)
    assert torch.equal(model(views | _prompts(model)).quality, model(views).quality)


@torch.inference_mode()
def test_a_target_without_the_prompt_head_never_looks_at_the_prompt(make: Make) -> None:
    model = _move(make(prompt=True, prompted=("correspondence",), targets=THREE)).eval()
    assert model.needs_prompt == ("correspondence",)
    views = _views(model)
    without, prompted = model(views).quality, model(views | _prompts(model)).quality
    assert torch.equal(prompted[:, :2], without[:, :2])
    assert not torch.allclose(prompted[:, 2], without[:, 2], atol=1e-3)
    # Each target has texts, or a regression, of its own.
    head = model.head
    assert isinstance(head, MstHead)
    assert not torch.allclose(head.levels[0].levels, head.levels[1].levels)  # type: ignore[arg-type]
    assert head.prompt is not None
    assert len(head.prompt.regressions) == 1


def test_without_prompts_there_is_no_prompt_branch(make: Make) -> None:
    model = make(targets=THREE)
    assert model.text is None
    assert model.needs_prompt == ()
    assert set(model.parameter_groups()) == {"fusion", "head"}
    assert not any("prompt" in name or "text" in name for name, _ in model.named_parameters())
    with pytest.raises(ValueError, match="reads no prompts"):
        model.encode_prompts(TextBatch(torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool)))


@pytest.mark.parametrize(
    ("options", "count"),
    [
        # Gate 56 -> 6 -> 24, two maps to 24; a scale and a spread.
        ({}, 56 * 6 + 6 + 6 * 24 + 24 + (24 + 1) * 24 + (32 + 1) * 24 + 1 + 25),
        ({"fusion": "average"}, (24 + 1) * 24 + (32 + 1) * 24 + 1 + 25),
        ({"fusion": "concat"}, 56 * 6 + 6 + 6 * 24 + 24 + 1 + 25),
        ({"fusion": "fine"}, (32 + 1) * 24 + 1 + 25),
        ({"fusion": "fine", "levels": "learned"}, (32 + 1) * 24 + 1 + 25 + 5 * 24),
        # Attention with its biases, normalisation, alpha; W_1, W_2, w_o; spread.
        (
            {"fusion": "coarse", "prompt": True},
            25 * 24 + 4 * 25 * 24 + 2 * 24 + 1 + 2 * 25 * 24 + 25 + 25,
        ),
        # Two layers of two vectors of 32, to 24; the map behind it.
        ({"fusion": "fine", "features": "layers", "layers": (1, 3)}, (4 * 32 + 1) * 24 + 25 * 24 + 1 + 25),
    ],
)
def test_parameters_are_those_that_the_formulas_say(make: Make, options: dict[str, Any], count: int) -> None:
    model = make(gate_width=6, **options)
    assert model.trainable_count() == count
    assert summarise_parameters(model)["parts"] == {"head": count}


@pytest.mark.parametrize("compat", ["none", "authors"])
def test_a_gradient_reaches_every_trained_parameter_and_no_frozen_one(make: Make, compat: str) -> None:
    model = _move(_alike(make, compat)).train()
    judged = model(_views(model) | _prompts(model))
    (judged.quality.square().sum() + judged.spread.sum()).backward()
    groups = model.parameter_groups()
    assert list(groups) == ["fusion", "head", "alpha"]
    assert [parameter.numel() for parameter in groups["alpha"]] == [1]
    grouped = [id(parameter) for group in groups.values() for parameter in group]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in model.trainable()}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.trainable())
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_levels_and_three_targets_get_gradients_too(make: Make) -> None:
    model = _move(make(levels="learned", targets=THREE, features="layers", layers=(1, 3))).train()
    judged = model(_views(model))
    (judged.quality.square().sum() + judged.spread.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.trainable())


@pytest.mark.parametrize("stream", ["coarse", "fine"])
def test_a_tuned_encoder_is_trained_with_the_rest(make: Make, tiny_backbone: Any, stream: str) -> None:
    torch.manual_seed(0)
    encoders = {name: load_backbone(tiny_backbone("vit").folder) for name in ("coarse", "fine")}
    apply_tuning(encoders[stream], TuningMode("last", blocks=1))
    model = MstClipIqa(Backbones(encoders["coarse"], encoders["fine"]), MstConfig(dropout=0.0)).train()
    assert model.frozen_head() is None
    assert model.parameter_groups()["backbone"] == list(encoders[stream].trainable())
    model(_views(model)).quality.square().sum().backward()
    tuned = list(encoders[stream].trainable())
    assert tuned
    # The key's bias shifts all scores of a query alike: its gradient is 0 but for rounding.
    assert all(p.grad is not None for p in tuned)
    assert sum(float(p.grad.abs().sum()) > 0 for p in tuned if p.grad is not None) >= len(tuned) - 1
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    state = model.trained_state()
    assert {name.split(".")[0] for name in state} == {
        "head",
        "backbone" if stream == "coarse" else "fine_backbone",
    }


def test_one_encoder_for_both_streams_is_kept_once(tiny_vit: Path) -> None:
    backbone = load_backbone(tiny_vit)
    backbone.unfreeze_last(1)
    model = MstClipIqa(Backbones(backbone), MstConfig(fine_view="fragments"))
    assert model.encoder("coarse") is model.encoder("fine") is backbone
    assert {name: (spec.kind, spec.side) for name, spec in model.views.items()} == {
        "coarse": ("whole", 112),
        "fine": ("fragments", 112),
    }
    tuned = sum(parameter.numel() for parameter in backbone.trainable())
    state = model.trained_state()
    assert sum(tensor.numel() for name, tensor in state.items() if "backbone" in name) == tuned
    second = MstClipIqa(Backbones(backbone), MstConfig(fine_view="fragments"))
    second.load_trained_state(state)
    views = _views(model)
    with torch.inference_mode():
        assert torch.equal(second.eval()(views).quality, model.eval()(views).quality)


def test_a_trained_state_brings_its_levels_along(make: Make) -> None:
    """Without prompts a text encoder is only needed where training begins."""
    model = _move(make("clip", "clip-vision", "clip")).eval()
    again = make("clip", "clip-vision", None, levels="auto").eval()
    again.load_trained_state(model.trained_state())
    views = _views(model)
    with torch.inference_mode():
        torch.testing.assert_close(again(views).quality, model(views).quality)


@torch.inference_mode()
def test_dropout_falls_on_features_and_before_the_head_in_training_only(make: Make) -> None:
    for options in ({}, {"features": "layers", "layers": (1, 3)}, {"prompt": True}):
        model = _move(make(dropout=0.5, **options))
        views = _views(model)
        model.eval()
        assert torch.equal(model(views).quality, model(views).quality)
        model.train()
        assert not torch.equal(model(views).quality, model(views).quality)
        head = model.head
        assert isinstance(head, MstHead)
        features = model.features(views)
        assert not torch.equal(head.fuse(features), head.fuse(features))
        head.readouts.eval()
        assert torch.equal(head.fuse(features), head.fuse(features))
        assert not torch.equal(model(views).quality, model(views).quality)


@torch.inference_mode()
def test_the_gate_says_which_stream_each_dimension_comes_from(make: Make) -> None:
    model = _move(make()).eval()
    features = model.features(_views(model))
    gate = model.gate({name: part.half() for name, part in features.items()})
    assert gate.shape == (4, SHARED)
    assert ((gate > 0) & (gate < 1)).all()
    head = model.head
    assert isinstance(head, MstHead)
    maps = head.fusion
    expected = gate * maps.coarse(features["coarse"]) + (1 - gate) * maps.fine(features["fine"])  # type: ignore[operator]
    torch.testing.assert_close(head.fuse(features), expected, rtol=1e-2, atol=1e-2)
    with pytest.raises(ValueError, match="there is no gate: fusion is not 'gate'"):
        make(fusion="average").gate(features)


@torch.inference_mode()
def test_the_authors_layers_stand_on_the_same_streams(make: Make) -> None:
    """Widths of all encoders agree, as in the paper's pair of CLIPs."""
    model = _move(make("siglip", "siglip", "clip", compat="authors", prompt=True)).eval()
    views, prompts = _views(model), _prompts(model)
    features = model.features(views | prompts)
    layers = model.head.layers  # type: ignore[union-attr]
    assert model.text is not None
    tokens = model.text.encode(TextBatch(prompts[PROMPT_IDS], prompts[PROMPT_MASK])).tokens
    for row in (0, 2, 3):
        cut = prompts[PROMPT_MASK][row]
        alone = layers(features["coarse"][[row]], features["fine"][[row]], tokens[[row]][:, cut])  # type: ignore[operator]
        torch.testing.assert_close(model(views | prompts).quality[[row]], alone, rtol=1e-4, atol=1e-4)
    gate = model.gate(features)
    assert gate.shape == (4, WIDTH)
    assert ((gate > 0) & (gate < 1)).all()


def _refused(make: Make, message: str, *families: str | None, **options: Any) -> None:
    with pytest.raises(ValueError, match=message):
        make(*families, **options)


def test_what_does_not_fit_together_is_refused(make: Make) -> None:
    same = "both streams would see the same .*: give a fine backbone, set fine_view to 'fragments' or 'crop'"
    _refused(make, same, "vit", None, None)
    _refused(make, r"prompt is true: give a text encoder \(text_backbone\)", "clip", "vit", None, prompt=True)
    _refused(make, r"levels is 'text': give a text encoder", "clip", "vit", None, levels="text")
    _refused(make, r"compat is 'authors': give a text encoder", "clip", "clip-vision", None, compat="authors")
    _refused(make, "width is 7, but the levels' texts have 24 features", width=7, levels="text")
    _refused(make, "has 3 layers, not 9", features="layers", layers=(1, 9))
    _refused(make, "has 3 layers, not 4", features="layers", layers=(1,), fine_layers=(4,))
    _refused(make, "a width of 12 cannot be divided among 8 heads", prompt=True, width=12, levels="learned")
    _refused(
        make,
        "32 x 32 pixels: side of a fragments view is 32, expected a multiple of 7",
        fine_view="fragments",
    )
    _refused(make, r"one width; here are quality, and widths \[24, 32\]", compat="authors")
    _refused(make, "prompted has 'beauty'", prompt=True, prompted=("beauty",))
    both = {"compat": "authors", "targets": ("quality", "authenticity")}
    _refused(make, "one target and one width; here are quality, authenticity", "vit", "dino", "clip", **both)


def test_fragments_must_be_aligned_to_patches(make: Make, tiny_vit: Path) -> None:
    from foveal.lab.backbones import VisionBackbone

    backbone = load_backbone(tiny_vit)
    assert isinstance(backbone, VisionBackbone)
    backbone.patch = 15
    with pytest.raises(
        ValueError, match=r"fine_view is 'fragments', .* no grid of 7 x 7 fragments is aligned"
    ):
        MstClipIqa(Backbones(backbone), MstConfig(fine_view="fragments"))


def test_a_text_encoder_that_is_trained_is_refused(tiny_backbone: Any) -> None:
    folder = tiny_backbone("clip").folder
    text = load_text_backbone(folder)
    text.unfreeze_last(1)
    with pytest.raises(ValueError, match="the text encoder must be frozen"):
        MstClipIqa(Backbones(load_backbone(folder), load_backbone(tiny_backbone("vit").folder), text))
