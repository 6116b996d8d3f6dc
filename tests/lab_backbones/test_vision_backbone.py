"""Stepping through the blocks is the model's own forward pass, and lets gradients through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lab needs its extra")
pytest.importorskip("transformers", reason="the lab needs its extra")

from foveal.errors import MissingPartError  # noqa: E402
from foveal.lab.backbones import load_backbone  # noqa: E402

FAMILIES = (
    "vit",
    "dino",
    "vit-classifier",
    "deit",
    "dinov2",
    "dinov2-registers",
    "dinov3",
    "clip",
    "clip-vision",
    "siglip",
    "siglip2",
)
PREFIX = {"deit": 2, "dinov2-registers": 4, "dinov3": 5, "siglip": 0, "siglip2": 0}
SIZE, PATCH, DEPTH = 32, 8, 3

Make = Callable[[str], Any]


def random_pixels(height: int = SIZE, width: int = SIZE) -> Any:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def run_reference(tiny: Any, pixels: Any) -> Any:
    """The model's own forward pass; SigLIP 2 wants patches cut by the function of its own processor."""
    core = getattr(tiny.vision, "vit", tiny.vision)
    options = {"output_hidden_states": True}
    with torch.no_grad():
        if core.config.model_type == "siglip2_vision_model":
            from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

            patches = np.stack([convert_image_to_patches(image.numpy(), PATCH) for image in pixels])
            grid = [side // PATCH for side in pixels.shape[-2:]]
            return core(
                torch.from_numpy(patches),
                torch.ones(patches.shape[:2], dtype=torch.long),
                torch.tensor([grid] * len(pixels)),
                **options,
            )
        if tuple(pixels.shape[-2:]) != (SIZE, SIZE) and "dino" not in core.config.model_type:
            options["interpolate_pos_encoding"] = True
        return core(pixels, **options)


def step_through(backbone: Any, pixels: Any, adapt: Any = None) -> list[Any]:
    grid = pixels.shape[-2] // PATCH, pixels.shape[-1] // PATCH
    states = [backbone.embed(pixels)]
    for index in range(backbone.depth):
        tokens = states[-1] if adapt is None else adapt[index](states[-1])
        states.append(backbone.run_block(index, tokens, grid))
    return states


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [(SIZE, SIZE), (48, 48), (16, 40)])
def test_steps_equal_the_models_own_hidden_states(
    tiny_backbone: Make, family: str, size: tuple[int, int]
) -> None:
    tiny, pixels = tiny_backbone(family), random_pixels(*size)
    backbone = load_backbone(tiny.folder)
    expected = run_reference(tiny, pixels)
    states = step_through(backbone, pixels)

    assert len(states) == len(expected.hidden_states) == DEPTH + 1
    for state, reference in zip(states, expected.hidden_states, strict=True):
        torch.testing.assert_close(state, reference, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(backbone.tokens(pixels), torch.stack(expected.hidden_states, 1))
    last = expected.last_hidden_state
    if family.startswith("clip"):
        last = tiny.vision.post_layernorm(last)
    torch.testing.assert_close(backbone.finish(states[-1]), last, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(backbone(pixels), last, rtol=1e-5, atol=1e-5)
    patches = size[0] * size[1] // PATCH**2
    assert last.shape == (2, backbone.prefix_tokens + patches, backbone.width)
    assert backbone.prefix_tokens == PREFIX.get(family, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_pooled_equals_the_models_own(tiny_backbone: Make, family: str) -> None:
    tiny, pixels = tiny_backbone(family), random_pixels()
    pooled = load_backbone(tiny.folder).pooled(pixels)
    expected = run_reference(tiny, pixels)
    own = expected.pooler_output
    # Without a pooler in the files there must be no random one: the CLS token stands in.
    torch.testing.assert_close(pooled, expected.last_hidden_state[:, 0] if own is None else own)


def test_projected_equals_image_embeddings(tiny_backbone: Make) -> None:
    pixels = random_pixels()
    clip = tiny_backbone("clip")
    expected = clip.reference.visual_projection(run_reference(clip, pixels).pooler_output)
    torch.testing.assert_close(load_backbone(clip.folder).projected(pixels), expected)
    siglip = tiny_backbone("siglip")
    expected = run_reference(siglip, pixels).pooler_output
    torch.testing.assert_close(load_backbone(siglip.folder).projected(pixels), expected)


@pytest.mark.parametrize(("family", "reason"), [("vit", "shares no space"), ("clip-vision", "projection")])
def test_projection_that_is_not_there(tiny_backbone: Make, family: str, reason: str) -> None:
    with pytest.raises(MissingPartError, match=reason):
        load_backbone(tiny_backbone(family).folder).projected(random_pixels())


@pytest.mark.parametrize("family", ["vit", "deit", "clip", "siglip"])
def test_interpolation_to_the_native_size_changes_nothing(tiny_backbone: Make, family: str) -> None:
    backbone, pixels = load_backbone(tiny_backbone(family).folder), random_pixels()
    interpolated = backbone._family.embed(backbone.core, pixels, True)
    torch.testing.assert_close(backbone.embed(pixels), interpolated, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_position_of_a_patch_matters(tiny_backbone: Make, family: str) -> None:
    """Two streams of other sizes through the same blocks: positions must follow the grid."""
    backbone = load_backbone(tiny_backbone(family).folder)
    pixels = random_pixels(24, 48)
    right = step_through(backbone, pixels)[-1]
    flipped = step_through(backbone, pixels.flip(-1))[-1]
    patches = right[:, backbone.prefix_tokens :].unflatten(1, (3, 6))
    mirrored = flipped[:, backbone.prefix_tokens :].unflatten(1, (3, 6)).flip(2)
    assert (patches - mirrored).abs().max() > 1e-3


def test_size_that_patches_do_not_fill(tiny_backbone: Make) -> None:
    with pytest.raises(ValueError, match="multiples of its patch of 8, not 32 x 30"):
        load_backbone(tiny_backbone("vit").folder).embed(random_pixels(32, 30))


def test_rotary_positions_need_the_grid_of_an_oblong_picture(tiny_backbone: Make) -> None:
    backbone = load_backbone(tiny_backbone("dinov3").folder)
    oblong = backbone.embed(random_pixels(16, 40))
    with pytest.raises(ValueError, match="10 patches do not fill a grid of 3 x 3"):
        backbone.run_block(0, oblong)
    square = backbone.embed(random_pixels())
    torch.testing.assert_close(backbone.run_block(0, square), backbone.run_block(0, square, (4, 4)))


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_adapters_and_not_the_backbone(tiny_backbone: Make, family: str) -> None:
    backbone = load_backbone(tiny_backbone(family).folder).train()
    adapters = torch.nn.ModuleList(torch.nn.Linear(backbone.width, backbone.width) for _ in backbone.blocks)
    # A pooling vector of ones would have no gradient through a normalisation.
    pooled = backbone.pool(backbone.finish(step_through(backbone, random_pixels(), adapters)[-1]))
    (pooled * torch.randn_like(pooled)).sum().backward()
    for adapter in adapters:
        assert adapter.weight.grad is not None
        assert adapter.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert list(backbone.trainable()) == []


def test_train_mode_changes_no_token(tiny_backbone: Make) -> None:
    """DINOv3 shifts its rotary positions at random in training: frozen, it must not."""
    backbone, pixels = load_backbone(tiny_backbone("dinov3").folder), random_pixels()
    before = backbone(pixels)
    parent = torch.nn.ModuleDict({"backbone": backbone}).train()
    assert parent.training
    torch.testing.assert_close(backbone(pixels), before, rtol=0, atol=0)


@pytest.mark.parametrize("family", ["vit", "dinov3", "clip", "siglip2"])
def test_last_blocks_set_free(tiny_backbone: Make, family: str) -> None:
    backbone = load_backbone(tiny_backbone(family).folder)
    a_block = sum(parameter.numel() for parameter in backbone.blocks[0].parameters())
    norm = 2 * backbone.width
    for count in (2, 1, DEPTH, 0):
        backbone.unfreeze_last(count)
        expected = count * a_block + norm if count else 0
        assert sum(parameter.numel() for parameter in backbone.trainable()) == expected
    backbone.unfreeze_last(1)
    backbone(random_pixels()).square().sum().backward()
    with_gradient = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert with_gradient == {n for n, parameter in backbone.named_parameters() if parameter.requires_grad}
    with pytest.raises(ValueError, match="has 3 blocks: cannot set the last 4 free"):
        backbone.unfreeze_last(DEPTH + 1)


def test_only_the_layers_asked_for(tiny_backbone: Make) -> None:
    backbone, pixels = load_backbone(tiny_backbone("vit").folder), random_pixels()
    every = backbone.tokens(pixels)
    run: list[int] = []
    backbone.blocks[2].register_forward_hook(lambda *_: run.append(2))
    torch.testing.assert_close(backbone.tokens(pixels, (2, 0)), every[:, [2, 0]])
    assert run == []
    for layers in ((DEPTH + 1,), (-1,), ()):
        with pytest.raises(ValueError, match="has layers 0 to 3"):
            backbone.tokens(pixels, layers)


@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated, yet what OpenVINO converts with
@pytest.mark.parametrize("family", ["vit", "dinov3", "clip"])
def test_can_be_traced_for_export(tiny_backbone: Make, family: str) -> None:
    backbone = load_backbone(tiny_backbone(family).folder)
    traced = torch.jit.trace(backbone, random_pixels())
    other = random_pixels().flip(2)
    torch.testing.assert_close(traced(other), backbone(other), rtol=1e-5, atol=1e-5)


def test_state_survives_a_copy(tiny_backbone: Make) -> None:
    """Names in a state dict are those of transformers, and a deep copy steps through its own weights."""
    import copy

    tiny, pixels = tiny_backbone("clip"), random_pixels()
    backbone = load_backbone(tiny.folder)
    twin = copy.deepcopy(backbone)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.zero_()
    torch.testing.assert_close(twin(pixels)[:, 0], run_reference(tiny, pixels).pooler_output)
    names = {name.removeprefix("model.") for name in twin.state_dict()}
    assert names <= set(tiny.reference.state_dict())


def test_card(tiny_backbone: Make) -> None:
    tiny = tiny_backbone("clip")
    card = load_backbone(tiny.folder).card
    parts = (tiny.reference.vision_model, tiny.reference.visual_projection)
    assert card.parameters == sum(weight.numel() for part in parts for weight in part.parameters())
    assert (card.part, card.family, card.width, card.depth) == ("vision", "clip", 32, DEPTH)
    assert (card.licence, card.revision, card.origin) == ("unknown", None, str(tiny.folder))
    assert card.preprocessing is not None
    assert card.preprocessing.mean == (0.4, 0.5, 0.6)
