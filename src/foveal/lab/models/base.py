"""What every trainable assessor shares: views in, quality and spread out, saved as the Hub expects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.artifact.card import ViewSpec
from foveal.assessment import HIGHEST, LOWEST
from foveal.lab.backbones.base import Backbone
from foveal.lab.backbones.text import TextBackbone, TextBatch
from foveal.lab.backbones.vision import VisionBackbone

MIDDLE = (LOWEST + HIGHEST) / 2
"""Middle of the quality scale: what an untrained head says."""
LEAST_SPREAD = 0.05
"""Smallest spread: a tenth of what people themselves differ by."""


PROMPT_TOKENS = "prompt_tokens"
"""What a batch holds beside views where there are prompts; see :meth:`QualityModel.encode_prompts`."""


@dataclass(frozen=True)
class Backbones:
    """The pretrained encoders that a model stands on.

    Attributes:
        vision: of every model.
        fine: a second image encoder, of models with two streams; None if one serves both.
        text: a text encoder, of models that read prompts or level names.
    """

    vision: VisionBackbone
    fine: VisionBackbone | None = None
    text: TextBackbone | None = None


@dataclass(frozen=True)
class Judgement:
    """What a network says of a batch.

    Attributes:
        quality: (batch, targets) on the 1-5 scale, higher is better; not clipped, so that gradients live.
        spread: (batch, targets), > 0: how far it expects to be off, in the same units. Multiplied by the
            calibration's factor it is half the interval.
    """

    quality: Tensor
    spread: Tensor


class QualityModel(nn.Module):
    """A network that looks at views of an image and judges it.

    Subclasses set ``views`` and ``targets`` and implement :meth:`forward`. What training may change is what
    has ``requires_grad``; everything else (a frozen backbone) is neither saved nor counted.

    Attributes:
        views: what to feed each input with, by name.
        targets: what each column of the judgement is about; the first is ``quality``.
        needs_prompt: those targets that cannot be judged without the image's prompt. Where :attr:`text` is
            not None, batches may hold, beside the views, ``prompt_ids`` int64 (batch, length) and
            ``prompt_mask`` bool (batch, length), true for tokens of the text. A row whose mask is false
            throughout has no prompt.
    """

    views: Mapping[str, ViewSpec]
    targets: tuple[str, ...] = ("quality",)
    needs_prompt: tuple[str, ...] = ()

    def forward(self, views: Mapping[str, Tensor]) -> Judgement:
        """Judge a batch: uint8 (batch, side, side, 3) of each view by name, and prompts if it reads them."""
        raise NotImplementedError

    @property
    def text(self) -> TextBackbone | None:
        """The encoder of prompts, of models that read them."""
        return None

    def encoder(self, name: str) -> VisionBackbone:
        """The image encoder that a view is fed to."""
        raise NotImplementedError

    def encode_prompts(self, prompts: TextBatch) -> Tensor:
        """Features of prompts that no training changes: (batch, length, d), the ``prompt_tokens`` of a head.

        A frozen head gets them together with ``prompt_mask`` in place of ``prompt_ids``.
        """
        raise NotImplementedError

    @property
    def has_map(self) -> bool:
        """Whether :meth:`local_quality` is there."""
        return False

    def local_quality(self, views: Mapping[str, Tensor]) -> tuple[Judgement, Tensor]:
        """Judge a batch, and say how good each cell of the local view is: (batch, rows, columns) on 1-5."""
        raise NotImplementedError

    def encode(self, name: str, view: Tensor) -> Tensor:
        """Features of one view that no training changes: uint8 (batch, side, side, 3) -> (batch, d).

        Only for models with a :meth:`frozen_head`.
        """
        raise NotImplementedError

    def extractor(self, name: str) -> str:
        """What, beside the encoder's weights, decides on :meth:`encode` of a view: layers, pooling."""
        raise NotImplementedError

    def encode_views(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """:meth:`encode` every view: (batch, d) of each by name.

        Views that one encoder reads in the same way go through it as one batch: an exported graph then holds
        it once, not once for each view.
        """
        if len(self.views) == 1:
            return {name: self.encode(name, views[name]) for name in self.views}
        together: dict[tuple[object, ...], list[str]] = {}
        for name, spec in self.views.items():
            key = (id(self.encoder(name)), self.extractor(name), spec.side)
            together.setdefault(key, []).append(name)
        encoded: dict[str, Tensor] = {}
        for names in together.values():
            features = self.encode(names[0], torch.cat([views[name] for name in names]))
            count = len(views[names[0]])
            for number, name in enumerate(names):
                encoded[name] = features[number * count : (number + 1) * count]
        return {name: encoded[name] for name in self.views}

    def frozen_head(self) -> nn.Module | None:
        """The trained part of a model whose features are frozen, from features of each view by name.

        None where training changes what lies before: then features cannot be kept.
        """
        return None

    def standardise(self, features: Mapping[str, Sequence[Tensor]]) -> None:
        """Take what statistics the frozen head needs from the training part.

        Args:
            features: (n, d) of each draw of each view, by the view's name.
        """

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Trainable parameters in groups that a recipe may give learning rates of their own."""
        return {"model": list(self.trainable())}

    def trainable(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that training changes."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    def trainable_count(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.trainable())

    def trained_state(self) -> dict[str, Tensor]:
        """Copy what training changes, by name: parameters, and statistics outside of the backbones."""
        return {name: tensor.detach().clone() for name, tensor in self._trained().items()}

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`trained_state` took.

        Raises:
            ValueError: names or shapes differ.
        """
        own = self._trained()
        if odd := sorted(own.keys() ^ state.keys()):
            what = "missing" if odd[0] in own else "unexpected"
            more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
            raise ValueError(f"weights do not fit {type(self).__name__}: {odd[0]} {what}{more}")
        with torch.no_grad():
            for name, tensor in own.items():
                if tensor.shape != state[name].shape:
                    raise ValueError(
                        f"weights do not fit {type(self).__name__}: {name} has shape "
                        f"{tuple(state[name].shape)}, expected {tuple(tensor.shape)}"
                    )
                tensor.copy_(state[name])

    def _trained(self) -> dict[str, Tensor]:
        frozen = {
            id(buffer) for part in self.modules() if isinstance(part, Backbone) for buffer in part.buffers()
        }
        saved = self.state_dict(keep_vars=True)  # leaves out buffers that are not meant to be saved
        return {
            name: tensor
            for name, tensor in saved.items()
            if tensor.requires_grad or not (isinstance(tensor, nn.Parameter) or id(tensor) in frozen)
        }


class JudgementHead(nn.Module):
    """Linear layer from fused features to quality and spread of each target.

    The spread learns from the features without shaping them: its gradient stops here.

    Args:
        features: width of the input.
        targets: number of columns.
    """

    def __init__(self, features: int, targets: int = 1) -> None:
        super().__init__()
        self.quality = nn.Linear(features, targets)
        self.spread = nn.Linear(features, targets)
        nn.init.constant_(self.quality.bias, MIDDLE)
        nn.init.zeros_(self.spread.weight)
        nn.init.zeros_(self.spread.bias)

    def forward(self, features: Tensor) -> Judgement:
        """(batch, features) -> columns of quality and spread, (batch, targets) each."""
        spread = functional.softplus(self.spread(features.detach())) + LEAST_SPREAD
        return Judgement(self.quality(features), spread)


def summarise_parameters(model: nn.Module) -> dict[str, Any]:
    """Count parameters: ``trainable``, ``frozen``, and the trainable ones of each direct part."""
    parts = {
        name: sum(p.numel() for p in child.parameters() if p.requires_grad)
        for name, child in model.named_children()
    }
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    return {"trainable": trainable, "frozen": frozen, "parts": {k: n for k, n in parts.items() if n}}
