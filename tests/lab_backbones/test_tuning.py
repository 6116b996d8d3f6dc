"""Tuning frees exactly what it says, starts as the frozen model, and folds back into plain weights."""

from __future__ import annotations

import copy
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the lab needs its extra")
transformers = pytest.importorskip("transformers", reason="the lab needs its extra")
pytest.importorskip("peft", reason="the lab needs its extra")

from foveal.errors import MissingExtraError, UnsupportedArchitectureError  # noqa: E402
from foveal.lab.backbones import load_backbone, load_text_backbone  # noqa: E402
from foveal.lab.backbones.tuning import (  # noqa: E402
    TuningMode,
    apply_tuning,
    load_tuned_state,
    merge_tuning,
    tuned_state,
)

VISION = (
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
TEXT = ("clip", "clip-text", "siglip", "siglip2")
TOWERS = [*((family, "vision") for family in VISION), *((family, "text") for family in TEXT)]
ROLES = ("q", "k", "v", "o", "fc1", "fc2")
# Stems of the layers' names in the sources of the models; only those of feed-forward parts differ in shape.
SPELLINGS = {
    **{role: {role} for role in "qkv"},
    "o": {"o", "out"},
    "fc1": {"fc1", "up"},
    "fc2": {"fc2", "down"},
}
# As conftest builds them: three blocks of width 32; DINOv2 widens by its ratio of 2.
WIDTH, DEPTH, HIDDEN = 32, 3, {"dinov2": 64, "dinov2-registers": 64}
LORA = TuningMode("lora", rank=2, alpha=6.0, targets=("q", "v"))
EVERY = TuningMode("lora", rank=3, alpha=6.0, targets=ROLES)

Make = Callable[[str], Any]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


_loaded: dict[tuple[Path, str], Any] = {}


def load(tiny: Any, part: str = "vision") -> Any:
    """A backbone as it comes from its files, which are read once."""
    if (tiny.folder, part) not in _loaded:
        _loaded[tiny.folder, part] = (load_backbone if part == "vision" else load_text_backbone)(tiny.folder)
    return copy.deepcopy(_loaded[tiny.folder, part])


def run(backbone: Any) -> Any:
    """Tokens of the last layer for inputs that are always the same."""
    if hasattr(backbone, "tokenise"):
        return backbone.encode(["a photo with good quality", "a blurry cat"]).tokens
    return backbone(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))


def disturb(backbone: Any, scale: float = 0.3) -> None:
    """Stands in for training: every trainable parameter moves."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in backbone.trainable():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


def trainable_names(backbone: Any) -> set[str]:
    return {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}


def count_trainable(backbone: Any) -> int:
    return sum(parameter.numel() for parameter in backbone.trainable())


def expected_count(family: str, rank: int, targets: Any) -> int:
    """The closed formula: rank * (in + out) for every layer of every block."""
    hidden = HIDDEN.get(family, 48)
    ends = dict.fromkeys("qkvo", 2 * WIDTH) | dict.fromkeys(("fc1", "fc2"), WIDTH + hidden)
    return DEPTH * rank * sum(ends[role] for role in targets)


@pytest.mark.parametrize(("family", "part"), TOWERS)
def test_lora_starts_as_the_frozen_backbone(tiny_backbone: Make, family: str, part: str) -> None:
    backbone = load(tiny_backbone(family), part)
    frozen = run(backbone)
    apply_tuning(backbone, EVERY)
    assert len(backbone.blocks) == DEPTH
    assert len(backbone.adapters) == DEPTH * len(ROLES)
    torch.testing.assert_close(run(backbone), frozen, rtol=0, atol=0)
    torch.testing.assert_close(run(backbone.train()), frozen, rtol=0, atol=0)
    disturb(backbone)
    assert (run(backbone) - frozen).abs().max() > 1e-2


@pytest.mark.parametrize(("family", "part"), TOWERS)
def test_only_the_updates_asked_for_are_trained(tiny_backbone: Make, family: str, part: str) -> None:
    for roles in (("q", "o", "fc2"), ("k", "v", "fc1")):
        backbone = load(tiny_backbone(family), part)
        plain = {name for name, _ in backbone.named_parameters()}
        apply_tuning(backbone, TuningMode("lora", rank=3, alpha=3, targets=roles))
        disturb(backbone)  # B starts at zero, and A would have no gradient
        output = run(backbone)
        (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
        assert count_trainable(backbone) == expected_count(family, 3, roles)
        reached = {name for name, value in backbone.named_parameters() if value.grad is not None}
        assert reached == trainable_names(backbone)
        assert len(reached) == 2 * DEPTH * len(roles)
        assert not reached & plain
        inputs = {"fc2": HIDDEN.get(family, 48)}
        for name in reached:
            update = backbone.get_parameter(name)
            assert update.grad.abs().max() > 1e-9, name
            layer = name.partition(".lora_")[0].rpartition(".")[2]
            role = next(role for role in roles if layer.removesuffix("_proj") in SPELLINGS[role])
            if "lora_A" in name:
                assert update.shape == (3, inputs.get(role, WIDTH))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rank=st.integers(1, 9),
    targets=st.lists(st.sampled_from(ROLES), min_size=1, unique=True),
    family=st.sampled_from(["vit", "dinov2", "clip"]),
)
def test_count_follows_the_closed_formula(
    tiny_backbone: Make, rank: int, targets: list[str], family: str
) -> None:
    backbone = load(tiny_backbone(family))
    total = sum(parameter.numel() for parameter in backbone.parameters())
    apply_tuning(backbone, TuningMode(kind="lora", rank=rank, alpha=1, targets=targets))  # type: ignore[arg-type]
    assert count_trainable(backbone) == expected_count(family, rank, targets)
    assert sum(value.numel() for value in backbone.parameters()) == total + count_trainable(backbone)


@pytest.mark.parametrize(("family", "part"), TOWERS)
def test_merged_weights_give_the_same_output(tiny_backbone: Make, family: str, part: str) -> None:
    backbone = load(tiny_backbone(family), part)
    plain = {name: value.clone() for name, value in backbone.state_dict().items()}
    apply_tuning(backbone, EVERY)
    disturb(backbone, 0.1)
    tuned = run(backbone).detach()
    merge_tuning(backbone)
    torch.testing.assert_close(run(backbone), tuned, rtol=1e-5, atol=1e-5)
    merged = backbone.state_dict()
    assert list(merged) == list(plain)
    assert sum(not torch.equal(merged[name], plain[name]) for name in plain) == DEPTH * len(ROLES)
    assert list(backbone.trainable()) == []
    assert backbone.adapters == []
    assert not any("peft" in type(module).__module__ for module in backbone.modules())
    merge_tuning(backbone)  # nothing left to fold
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, merged[name]), name


@pytest.mark.parametrize("family", ["vit", "dinov3", "siglip"])
def test_the_update_is_that_of_the_paper(tiny_backbone: Make, family: str) -> None:
    """W + alpha / rank * B A, put into the weights of another copy by hand."""
    backbone, twin = (load(tiny_backbone(family)) for _ in range(2))
    apply_tuning(backbone, LORA)
    disturb(backbone)
    state = tuned_state(backbone)
    weights = twin.state_dict()
    downs = [name for name in state if "lora_A" in name]
    assert len(downs) == 2 * DEPTH
    for name in downs:
        down, up = state[name], state[name.replace("lora_A", "lora_B")]
        assert (down.shape, up.shape) == ((2, WIDTH), (WIDTH, 2))
        weights[name.partition(".lora_A")[0] + ".weight"] += 6.0 / 2 * up @ down
    torch.testing.assert_close(run(backbone), run(twin), rtol=1e-5, atol=1e-5)


def test_a_merged_model_is_saved_as_any_other(tiny_backbone: Make, tmp_path: Path) -> None:
    backbone = load(tiny_backbone("dinov2"))
    apply_tuning(backbone, LORA)
    disturb(backbone)
    merge_tuning(backbone)
    backbone.model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}),
        encoding="utf-8",
    )
    torch.testing.assert_close(run(load_backbone(tmp_path)), run(backbone), rtol=0, atol=0)


@pytest.mark.parametrize("family", ["vit", "dinov3", "clip", "siglip2"])
def test_steps_work_after_injection(tiny_backbone: Make, family: str) -> None:
    backbone = load(tiny_backbone(family))
    apply_tuning(backbone, EVERY)
    disturb(backbone)
    pixels = torch.randn(2, 3, 16, 40, generator=torch.Generator().manual_seed(1))
    states = [backbone.embed(pixels)]
    for index in range(backbone.depth):
        states.append(backbone.run_block(index, states[-1], (2, 5)))
    torch.testing.assert_close(backbone.tokens(pixels), torch.stack(states, 1), rtol=0, atol=0)
    assert (backbone.width, backbone.depth, backbone.dtype) == (WIDTH, DEPTH, torch.float32)


@pytest.mark.parametrize(
    "make",
    [
        lambda **tower: transformers.Dinov2Model(transformers.Dinov2Config(**tower, use_swiglu_ffn=True)),
        lambda **tower: transformers.DINOv3ViTModel(
            transformers.DINOv3ViTConfig(**tower, intermediate_size=128, use_gated_mlp=True)
        ),
    ],
    ids=["dinov2-giant", "dinov3-huge"],
)
def test_both_widening_layers_of_a_gated_block(make: Any, tmp_path: Path) -> None:
    tower = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    make(**tower, image_size=32, patch_size=8).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}),
        encoding="utf-8",
    )
    backbone = load_backbone(tmp_path)
    apply_tuning(backbone, TuningMode("lora", rank=1, alpha=1, targets=("fc1",)))
    layers = {name.rpartition(".lora_")[0].rpartition(".")[2] for name in trainable_names(backbone)}
    assert layers == {"gate_proj", "up_proj"}
    assert len(backbone.adapters) == 2


@pytest.mark.parametrize("family", ["vit", "dinov3", "clip", "siglip2"])
def test_last_is_unfreeze_last_and_frozen_is_freeze(tiny_backbone: Make, family: str) -> None:
    backbone, twin = (load(tiny_backbone(family)) for _ in range(2))
    for count in (2, DEPTH, 1):
        apply_tuning(backbone, TuningMode("last", blocks=count))
        twin.unfreeze_last(count)
        assert trainable_names(backbone) == trainable_names(twin) != set()
    with pytest.raises(ValueError, match="has 3 blocks: cannot set the last 4 free"):
        apply_tuning(backbone, TuningMode("last", blocks=DEPTH + 1))
    before = run(backbone)
    merge_tuning(backbone)  # has nothing to fold, and leaves the blocks free
    assert trainable_names(backbone) == trainable_names(twin)
    apply_tuning(backbone, TuningMode())
    assert list(backbone.trainable()) == []
    torch.testing.assert_close(run(backbone), before, rtol=0, atol=0)


@pytest.mark.parametrize("first", [TuningMode(), TuningMode("last", blocks=2)])
def test_lora_freezes_what_was_free(tiny_backbone: Make, first: TuningMode) -> None:
    backbone = load(tiny_backbone("vit"))
    apply_tuning(backbone, first)
    apply_tuning(backbone, LORA)
    assert count_trainable(backbone) == expected_count("vit", 2, ("q", "v"))


def test_the_seed_decides_the_start(tiny_backbone: Make) -> None:
    states = []
    for seed in (1, 1, 2):
        backbone = load(tiny_backbone("vit"))
        torch.manual_seed(seed)
        apply_tuning(backbone, EVERY)
        states.append(tuned_state(backbone))
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name])
        assert torch.equal(tensor, states[2][name]) == ("lora_B" in name)
        assert bool(tensor.any()) == ("lora_A" in name)


def test_dropout_acts_in_training_only(tiny_backbone: Make) -> None:
    backbone = load(tiny_backbone("dinov3"))
    apply_tuning(backbone, TuningMode("lora", rank=4, alpha=8, dropout=0.5, targets=("q", "fc1")))
    disturb(backbone)
    calm = run(backbone.eval())
    assert torch.equal(run(backbone), calm)
    parent = torch.nn.ModuleDict({"backbone": backbone}).train()
    torch.manual_seed(0)
    noisy = run(backbone)
    assert not torch.equal(noisy, run(backbone))
    torch.manual_seed(0)
    assert torch.equal(run(backbone), noisy)
    # The core itself stays at inference: its rotary positions must not be shifted at random.
    assert not backbone.core.training
    parent.eval()
    assert torch.equal(run(backbone), calm)


def test_dropout_is_on_when_training_had_begun(tiny_backbone: Make) -> None:
    backbone = load(tiny_backbone("vit")).train()
    apply_tuning(backbone, TuningMode("lora", rank=4, alpha=8, dropout=0.5, targets=("v",)))
    disturb(backbone)
    assert not torch.equal(run(backbone), run(backbone))
    merge_tuning(backbone)
    assert torch.equal(run(backbone), run(backbone))


def test_a_copy_has_updates_of_its_own(tiny_backbone: Make) -> None:
    backbone = load(tiny_backbone("vit")).eval()
    apply_tuning(backbone, TuningMode("lora", rank=4, alpha=8, dropout=0.5, targets=("v",)))
    disturb(backbone)
    before = run(backbone)
    twin = copy.deepcopy(backbone)
    assert not torch.equal(run(twin.train()), run(twin))
    assert torch.equal(run(backbone), before)
    merge_tuning(twin)
    torch.testing.assert_close(run(twin), before, rtol=1e-5, atol=1e-5)
    assert len(backbone.adapters) == DEPTH
    assert torch.equal(run(backbone), before)


@pytest.mark.parametrize("mode", [LORA, EVERY, TuningMode("last", blocks=2)], ids=["qv", "all", "last"])
@pytest.mark.parametrize("family", ["vit", "clip"])
def test_training_moves_only_the_tuned_state(tiny_backbone: Make, family: str, mode: TuningMode) -> None:
    """A few steps of gradient descent; their result travels through safetensors into a fresh backbone."""
    from safetensors.torch import load as read
    from safetensors.torch import save as write

    backbone = load(tiny_backbone(family)).train()
    plain = {name: value.clone() for name, value in backbone.state_dict().items()}
    apply_tuning(backbone, mode)
    goal = run(backbone).detach().flip(0)
    optimizer = torch.optim.SGD(backbone.trainable(), lr=0.05)
    losses = []
    for _ in range(5):
        loss = (run(backbone) - goal).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    state = tuned_state(backbone)
    after = {name.replace(".base_layer", ""): value for name, value in backbone.state_dict().items()}
    moved = {name for name in plain if not torch.equal(after[name], plain[name])}
    assert moved == (set(state) if mode.kind == "last" else set()) & moved
    assert set(state) == trainable_names(backbone)
    assert not any(value.requires_grad for value in state.values())

    fresh = load(tiny_backbone(family))
    apply_tuning(fresh, mode)
    load_tuned_state(fresh, read(write(state)))
    assert torch.equal(run(fresh), run(backbone))
    copied = {name: value.clone() for name, value in state.items()}
    disturb(backbone)
    assert all(torch.equal(state[name], copied[name]) for name in state)


def test_state_of_a_frozen_backbone_is_empty(tiny_backbone: Make) -> None:
    backbone = load(tiny_backbone("vit"))
    assert tuned_state(backbone) == {}
    load_tuned_state(backbone, {})


def test_a_state_that_does_not_fit(tiny_backbone: Make) -> None:
    backbone = load(tiny_backbone("vit"))
    apply_tuning(backbone, LORA)
    disturb(backbone)
    before = run(backbone)
    good = tuned_state(backbone)
    first, second, *_ = names = sorted(good)
    zeros = {name: torch.zeros_like(value) for name, value in good.items()}
    without = {name: value for name, value in zeros.items() if name != first}
    bad = [
        (without, f"(1 missing: {first})"),
        ({**zeros, "head.weight": torch.zeros(3)}, "(1 unexpected: head.weight)"),
        (
            {**zeros, second: torch.zeros(7, 1)},
            f"(1 misshaped: {second} (7, 1) for {tuple(good[second].shape)})",
        ),
        ({**without, "x": torch.zeros(1)}, f"(1 missing: {first}; 1 unexpected: x)"),
        ({}, f"({len(names)} missing: {', '.join(names[:3])} and {len(names) - 3} more)"),
    ]
    for state, reason in bad:
        with pytest.raises(ValueError, match="the state does not fit what is trained here") as caught:
            load_tuned_state(backbone, state)
        assert reason in str(caught.value)
        assert "apply the TuningMode that it was saved under" in str(caught.value)
    assert torch.equal(run(backbone), before)
    load_tuned_state(backbone, zeros)
    assert not torch.equal(run(backbone), before)


def test_lora_is_not_put_upon_lora(tiny_backbone: Make) -> None:
    backbone = load(tiny_backbone("vit"))
    apply_tuning(backbone, LORA)
    for mode in (LORA, TuningMode(), TuningMode("last", blocks=1)):
        with pytest.raises(ValueError, match="has LoRA already: fold it in with merge_tuning"):
            apply_tuning(backbone, mode)
    disturb(backbone)
    merge_tuning(backbone)
    before = run(backbone)
    apply_tuning(backbone, EVERY)
    assert torch.equal(run(backbone), before)
    assert count_trainable(backbone) == expected_count("vit", 3, ROLES)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverged_update_is_not_folded(tiny_backbone: Make, value: float) -> None:
    backbone = load(tiny_backbone("vit"))
    apply_tuning(backbone, LORA)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    last = [name for name in before if "lora_B" in name][-1]
    with torch.no_grad():
        backbone.get_parameter(last)[0, 0] = value
    with pytest.raises(ValueError, match=r"the update of layer 2\.attention\.v_proj is not finite"):
        merge_tuning(backbone)
    after = backbone.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before if name != last)


def test_a_role_that_a_block_lacks(tiny_backbone: Make) -> None:
    backbone = load(tiny_backbone("vit"))
    backbone.blocks[1].mlp.fc2 = torch.nn.Identity()
    with pytest.raises(
        UnsupportedArchitectureError, match=r"block 1 has no layer for 'fc2' among .*mlp\.fc1"
    ):
        apply_tuning(backbone, EVERY)
    assert backbone.adapters == []


def test_without_peft(tiny_backbone: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load(tiny_backbone("vit"))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"LoRA needs .*foveal\[lab\]"):
        apply_tuning(backbone, LORA)
    apply_tuning(backbone, TuningMode("last", blocks=1))  # needs none
    assert count_trainable(backbone) > 0


def test_a_recipe_gives_a_mode() -> None:
    import tomllib

    text = 'kind = "lora"\nrank = 8\nalpha = 16\ntargets = ["q", "v"]'
    assert TuningMode(**tomllib.loads(text)) == TuningMode("lora", rank=8, alpha=16.0, targets=("q", "v"))
    assert TuningMode(**tomllib.loads('kind = "frozen"')) == TuningMode()


GOOD = {"kind": "lora", "rank": 4, "alpha": 8.0, "targets": ("q",)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "all"}, "kind is 'all'; it must be one of frozen, last, lora"),
        ({"kind": "frozen", "blocks": 1}, "blocks is for kind 'last'; leave it out for 'frozen'"),
        ({"kind": "last"}, "blocks is 0; it must be a whole number of at least 1"),
        ({"kind": "last", "blocks": -2}, "blocks is -2"),
        ({"kind": "last", "blocks": True}, "blocks is True"),
        ({"kind": "last", "blocks": 1, "rank": 4}, "rank is for kind 'lora'; leave it out for 'last'"),
        ({"kind": "last", "blocks": 1, "targets": ["q"]}, "targets is for kind 'lora'"),
        ({**GOOD, "blocks": 2}, "blocks is for kind 'last'; leave it out for 'lora'"),
        ({**GOOD, "rank": 0}, "rank is 0; it must be a whole number of at least 1"),
        ({**GOOD, "rank": 2.5}, "rank is 2.5"),
        ({**GOOD, "alpha": 0}, "alpha is 0; it must be a finite number above 0"),
        ({**GOOD, "alpha": -1.0}, "alpha is -1.0"),
        ({**GOOD, "alpha": math.inf}, "alpha is inf"),
        ({**GOOD, "alpha": math.nan}, "alpha is nan"),
        ({**GOOD, "alpha": "8"}, "alpha is '8'"),
        ({**GOOD, "dropout": 1}, "dropout is 1; it must be a number from 0 to below 1"),
        ({**GOOD, "dropout": -0.1}, "dropout is -0.1"),
        ({**GOOD, "dropout": math.nan}, "dropout is nan"),
        ({**GOOD, "targets": ()}, "targets is empty; name some of q, k, v, o, fc1, fc2"),
        ({**GOOD, "targets": "qv"}, "targets is 'qv'; it must be a list of roles among q, k, v, o, fc1, fc2"),
        ({**GOOD, "targets": ["q", "query"]}, "targets is ['q', 'query']"),
        ({**GOOD, "targets": ["q", "v", "q"]}, "targets names a role twice: q, v, q"),
    ],
)
def test_modes_that_make_no_sense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        TuningMode(**fields)


@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated, yet what OpenVINO converts with
def test_can_be_traced_with_and_without_updates(tiny_backbone: Make) -> None:
    backbone = load(tiny_backbone("vit"))
    apply_tuning(backbone, EVERY)
    disturb(backbone, 0.1)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = run(backbone)
    for _ in range(2):
        traced = torch.jit.trace(backbone, pixels.flip(2))
        torch.testing.assert_close(traced(pixels), expected, rtol=1e-5, atol=1e-5)
        merge_tuning(backbone)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit-tiny-augreg", "deit-tiny"])
def test_real_backbones(shared_folder: Path, make_photo: Any, name: str) -> None:
    backbone = load_backbone(shared_folder / "backbones" / name)
    pixels = backbone.normalise(make_photo(224, 224)[None])
    with torch.no_grad():
        frozen = backbone(pixels)
        apply_tuning(backbone, TuningMode("lora", rank=8, alpha=16, targets=ROLES))
        # 12 blocks of width 192, which widen to 768.
        assert count_trainable(backbone) == 12 * 8 * (4 * (192 + 192) + 2 * (192 + 768))
        assert torch.equal(backbone(pixels), frozen)
        disturb(backbone, 0.02)
        tuned = backbone(pixels)
        assert (tuned - frozen).abs().max() > 0.1
        merge_tuning(backbone)
        torch.testing.assert_close(backbone(pixels), tuned, rtol=1e-4, atol=1e-4)
