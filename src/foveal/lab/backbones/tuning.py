"""How much of a backbone is trained: nothing, its last blocks, or low-rank updates of its linear layers.

>>> backbone = load_backbone("path/to/vit")                                            # doctest: +SKIP
>>> mode = TuningMode("lora", rank=8, alpha=16, targets=("q", "v"))
>>> apply_tuning(backbone, mode)                                                       # doctest: +SKIP
>>> optimizer = torch.optim.AdamW(backbone.trainable())                                # doctest: +SKIP
>>> state = tuned_state(backbone)               # small: the trained tensors alone     # doctest: +SKIP
>>> merge_tuning(backbone)                      # plain weights again, for export      # doctest: +SKIP

LoRA: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, equation 3:
``h = W x + (alpha / rank) B A x``, where A (rank, in) starts random, B (out, rank) at zero, W is frozen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from foveal.errors import MissingExtraError, UnsupportedArchitectureError
from foveal.lab.backbones.base import Backbone

# What transformers calls the linear layers of a block. A gated feed-forward part has two that widen.
_LAYER_NAMES = {
    "q": ("q_proj",),
    "k": ("k_proj",),
    "v": ("v_proj",),
    "o": ("o_proj", "out_proj"),
    "fc1": ("fc1", "up_proj", "gate_proj"),
    "fc2": ("fc2", "down_proj"),
}

_FIELDS: dict[str, tuple[str, ...]] = {
    "frozen": (),
    "last": ("blocks",),
    "lora": ("rank", "alpha", "dropout", "targets"),
}

_NAMED_IN_MESSAGES = 3


@dataclass(frozen=True)
class TuningMode:
    """Which weights of a backbone are trained. ``TuningMode(**table)`` reads it from a recipe.

    Attributes:
        kind: ``frozen``: none; ``last``: the last blocks and the normalisation after them; ``lora``: low-rank
            updates beside linear layers of every block, which stay frozen themselves.
        blocks: number of blocks, for ``last``.
        rank: of each update, for ``lora``.
        alpha: strength of the updates, which are scaled by ``alpha / rank``, for ``lora``.
        dropout: probability that a feature does not enter an update in training, 0 to below 1, for ``lora``.
        targets: roles of the layers that get an update, for ``lora``: ``q``, ``k``, ``v``, ``o`` of the
            attention; ``fc1`` (both layers that widen, if it is gated) and ``fc2`` of the feed-forward part.

    Raises:
        ValueError: a field is out of range, is missing, or belongs to another kind.
    """

    kind: Literal["frozen", "last", "lora"] = "frozen"
    blocks: int = 0
    rank: int = 0
    alpha: float = 0.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in _FIELDS:
            raise ValueError(f"kind is {self.kind!r}; it must be one of {', '.join(_FIELDS)}")
        object.__setattr__(self, "targets", _as_targets(self.targets))
        for field in fields(self)[1:]:
            if field.name not in _FIELDS[self.kind] and getattr(self, field.name) != field.default:
                owner = next(kind for kind, names in _FIELDS.items() if field.name in names)
                raise ValueError(f"{field.name} is for kind {owner!r}; leave it out for {self.kind!r}")
        if self.kind == "last":
            _require_count("blocks", self.blocks)
        if self.kind == "lora":
            _require_count("rank", self.rank)
            _require_between("alpha", self.alpha, "a finite number above 0", least=math.ulp(0.0))
            _require_between("dropout", self.dropout, "a number from 0 to below 1", below=1.0)
            if not self.targets:
                raise ValueError(f"targets is empty; name some of {', '.join(_LAYER_NAMES)}")


def apply_tuning(backbone: Backbone, mode: TuningMode) -> None:
    """Set free what ``mode`` says, and freeze all else.

    Updates of LoRA go into the backbone's own blocks, which are stepped through as before. They start at
    zero, so that the output does not change at all; their random halves come from torch's global generator.
    Their dropout is on while ``backbone.training`` is, as it is until ``backbone.eval()``.

    Raises:
        ValueError: the backbone has fewer blocks, or has updates of LoRA already.
        MissingExtraError: peft is not installed.
        UnsupportedArchitectureError: a block has no layer of a role asked for.
    """
    if backbone.adapters:
        raise ValueError(
            f"{backbone.card.name} has LoRA already: fold it in with merge_tuning, or load the backbone again"
        )
    if mode.kind == "lora":
        _inject(backbone, mode)
    else:
        backbone.unfreeze_last(mode.blocks)


def merge_tuning(backbone: Backbone) -> None:
    """Fold updates of LoRA into the weights: the same function, with layers and names of the plain backbone.

    Afterwards all of it is frozen. A backbone without updates stays as it is.

    Raises:
        ValueError: an update is not finite; nothing is changed then.
    """
    if not backbone.adapters:
        return
    blocks = backbone.blocks
    layers = {name: module for name, module in blocks.named_modules() if module in backbone.adapters}
    for name, layer in layers.items():
        if not all(tensor.isfinite().all() for tensor in layer.parameters()):
            raise ValueError(
                f"{backbone.card.name}: the update of layer {name} is not finite; load a state from before "
                "the training diverged"
            )
    for name, layer in layers.items():
        _fold(blocks, name, layer)
    del blocks.peft_config
    backbone.adapters = []
    backbone.freeze()
    backbone.train(backbone.training)


def tuned_state(backbone: Backbone) -> dict[str, Tensor]:
    """Copy the parameters that are not frozen, by their names in ``backbone.state_dict()``, to the CPU.

    The mode is not among them: keep it beside them, for ``alpha`` and ``targets`` must be the same again.
    """
    return {
        name: parameter.detach().to("cpu", copy=True)
        for name, parameter in _named_trainable(backbone).items()
    }


def load_tuned_state(backbone: Backbone, state: Mapping[str, Tensor]) -> None:
    """Put back what :func:`tuned_state` gave into a backbone that the same mode was applied to.

    Raises:
        ValueError: entries are missing, unexpected or of another shape; nothing is changed then.
    """
    own = _named_trainable(backbone)
    faults = {
        "missing": sorted(own.keys() - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "misshaped": [
            f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ],
    }
    if any(faults.values()):
        listed = "; ".join(
            f"{len(names)} {fault}: {_shorten(names)}" for fault, names in faults.items() if names
        )
        raise ValueError(
            f"{backbone.card.name}: the state does not fit what is trained here ({listed}); apply the "
            "TuningMode that it was saved under to the same backbone first"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])


def _inject(backbone: Backbone, mode: TuningMode) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer
    except ImportError as error:
        raise MissingExtraError("LoRA", "lab") from error
    names = _find_layers(backbone, mode.targets)
    # One pattern over full names: a list of them would also match the ends of longer names.
    pattern = "|".join(re.escape(name) for name in names)
    config = LoraConfig(
        r=mode.rank, lora_alpha=mode.alpha, lora_dropout=mode.dropout, target_modules=pattern, bias="none"
    )
    backbone.freeze()
    # Into the list of blocks rather than the model: names start there, and peft finds no configuration by
    # which to convert targets of older releases of transformers.
    inject_adapter_in_model(config, backbone.blocks)
    backbone.adapters = [module for module in backbone.blocks.modules() if isinstance(module, LoraLayer)]
    backbone.train(backbone.training)


def _fold(blocks: nn.ModuleList, name: str, layer: Any) -> None:
    """Put the plain layer, update included, back into the place of peft's."""
    with torch.no_grad():
        layer.merge()
    blocks.set_submodule(name, layer.get_base_layer())


def _find_layers(backbone: Backbone, targets: Iterable[str]) -> list[str]:
    """Names of the layers of these roles, within the list of blocks."""
    found = []
    for index, block in enumerate(backbone.blocks):
        linear = [name for name, module in block.named_modules() if isinstance(module, nn.Linear)]
        for target in targets:
            names = [name for name in linear if name.rpartition(".")[2] in _LAYER_NAMES[target]]
            if not names:
                raise UnsupportedArchitectureError(
                    f"{backbone.card.name}: block {index} has no layer for {target!r} among "
                    f"{', '.join(linear)}; leave {target!r} out of the targets"
                )
            found += [f"{index}.{name}" for name in names]
    return found


def _named_trainable(backbone: Backbone) -> dict[str, nn.Parameter]:
    return {name: value for name, value in backbone.named_parameters() if value.requires_grad}


def _as_targets(targets: object) -> tuple[str, ...]:
    """A list, as recipes give it, or a tuple of roles."""
    if not isinstance(targets, list | tuple) or any(role not in tuple(_LAYER_NAMES) for role in targets):
        raise ValueError(
            f"targets is {targets!r}; it must be a list of roles among {', '.join(_LAYER_NAMES)}"
        )
    if len(set(targets)) < len(targets):
        raise ValueError(f"targets names a role twice: {', '.join(targets)}")
    return tuple(targets)


def _require_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


def _require_between(
    name: str, value: object, rule: str, *, least: float = 0.0, below: float = math.inf
) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value < below:  # type: ignore[operator]
        raise ValueError(f"{name} is {value!r}; it must be {rule}")


def _shorten(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_IN_MESSAGES
    return ", ".join(names[:_NAMED_IN_MESSAGES]) + (f" and {more} more" if more > 0 else "")
