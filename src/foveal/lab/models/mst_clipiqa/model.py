"""MST-CLIPIQA: a coarse and a fine stream, a gate that fuses them, heads with and without the prompt.

Paper: "Decoupling Semantics from Distortions: Multi-Scale Two-Stream Vision-Language Alignment for
AI-Generated Image Quality Assessment" (arXiv 2606.16799). Any two image encoders may be the streams, or one
that sees two views. What we chose where paper and code are silent or contradict each other: identity at the
start of phi, a gate of 256, a scale in the logarithm, prompts' tokens in the space shared with images,
padding that is not attended to, several targets at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foveal.artifact.card import PROMPT_IDS, PROMPT_MASK, ViewSpec
from foveal.errors import MissingPartError
from foveal.imaging.views import GRID
from foveal.lab.backbones.text import TextBackbone, TextBatch
from foveal.lab.backbones.vision import VisionBackbone
from foveal.lab.models.base import (
    PROMPT_TOKENS,
    Backbones,
    Judgement,
    QualityModel,
)
from foveal.lab.models.glia import StreamReadout
from foveal.lab.models.mst_clipiqa.authors import AuthorsHead, MstAuthors
from foveal.lab.models.mst_clipiqa.config import COARSE, FINE, MstConfig
from foveal.lab.models.mst_clipiqa.fusion import GatedFusion, make_fusion
from foveal.lab.models.mst_clipiqa.heads import UNTRAINED_SCALE, LevelHead, PromptHead
from foveal.lab.models.probe import pool_layers
from foveal.lab.models.regressor import Pooling, find_pooling, native_view


@dataclass(frozen=True)
class _Stream:
    """What is read of a stream.

    Attributes:
        layers: counted from 1; empty for the pooled vector.
        pooling: of the encoder.
        width: of the pooled vector, or of a layer's token.
    """

    layers: tuple[int, ...]
    pooling: Pooling
    width: int


class MstHead(nn.Module):
    """What stands on the streams: their readouts, the fusion, a head for each target.

    Args:
        streams: what is read of each stream, by name.
        config: of the model.
        targets: columns of the judgement.
        width: of the fused vector.
        levels: embeddings of the levels' texts (5, width) of each target that has some.
        learned: whether training moves the levels.
        scale: logarithm of the factor on cosines, at the beginning.
        tokens: features of a prompt's token.
    """

    def __init__(
        self,
        streams: Mapping[str, _Stream],
        config: MstConfig,
        targets: tuple[str, ...],
        *,
        width: int,
        levels: Mapping[str, Tensor],
        learned: bool,
        scale: float,
        tokens: int,
    ) -> None:
        super().__init__()
        self.targets = targets
        self.names = tuple(streams)
        self.shapes = {name: (-1, len(stream.layers), 2, stream.width) for name, stream in streams.items()}
        self.readouts = nn.ModuleDict(
            {name: _readout(stream, width, config.dropout) for name, stream in streams.items()}
        )
        features = [width if stream.layers else stream.width for stream in streams.values()]
        self.fusion = make_fusion(config.fusion, features, width, config.gate_width)
        self.dropout = nn.Dropout(config.dropout)
        self.prompted = config.judged_with_prompt(targets)
        self.unprompted = tuple(target for target in targets if target not in self.prompted)
        self.levels = nn.ModuleList(
            LevelHead(width, levels.get(target), learned=learned, scale=scale) for target in self.unprompted
        )
        self.prompt = (
            PromptHead(width, tokens, len(self.prompted), config.heads, config.dropout)
            if self.prompted
            else None
        )

    def forward(self, features: Mapping[str, Tensor]) -> Judgement:
        """Judge from features.

        Args:
            features: (batch, d) of each stream by name; and, if there are prompts, ``prompt_tokens``
                (batch, length, features) with ``prompt_mask``, bool (batch, length).

        Returns:
            Quality and spread, (batch, targets) each.
        """
        fused = self.fuse(features)
        columns: dict[str, Judgement] = {
            target: head(self.dropout(fused))
            for target, head in zip(self.unprompted, self.levels, strict=True)
        }
        if self.prompt is not None:
            judged = self.prompt(fused, features.get(PROMPT_TOKENS), features.get(PROMPT_MASK))
            for index, target in enumerate(self.prompted):
                column = slice(index, index + 1)
                columns[target] = Judgement(judged.quality[:, column], judged.spread[:, column])
        ordered = [columns[target] for target in self.targets]
        return Judgement(
            torch.cat([column.quality for column in ordered], dim=1),
            torch.cat([column.spread for column in ordered], dim=1),
        )

    def fuse(self, features: Mapping[str, Tensor]) -> Tensor:
        """The fused vector z, (batch, width)."""
        fused: Tensor = self.fusion(*self._read(features))
        return fused.float()

    def gate(self, features: Mapping[str, Tensor]) -> Tensor:
        """The gate, (batch, width): how much of each dimension comes from the coarse stream.

        Raises:
            ValueError: the streams are not fused by a gate.
        """
        if not isinstance(self.fusion, GatedFusion):
            raise ValueError("there is no gate: fusion is not 'gate'")
        return self.fusion.weigh(*self._read(features))

    def _read(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        # Cached features are float16, which autocast on CPUs will not join.
        read = []
        for name in self.names:
            layers = self.shapes[name][1]
            given = features[name].float()
            read.append(self.readouts[name](given.reshape(self.shapes[name]) if layers else given))
        return read


class MstClipIqa(QualityModel):
    """Two streams of frozen encoders, fused by a gate, judged by five levels or in the prompt's light.

    Args:
        backbones: ``vision`` is the coarse stream; ``fine`` the fine one, which without it is ``vision``
            again; ``text`` gives the levels and reads prompts.
        config: every choice of the method.
        targets: columns of the judgement.

    Raises:
        ValueError: config, backbones and targets do not fit together.
    """

    def __init__(
        self,
        backbones: Backbones,
        config: MstConfig | None = None,
        targets: tuple[str, ...] = ("quality",),
    ) -> None:
        super().__init__()
        self.config = config or MstConfig()
        self.targets = targets
        self.needs_prompt = self.config.meaningless_without_prompt(targets)
        self.backbone = backbones.vision
        self.fine_backbone = backbones.fine
        text = _require_text(backbones.text, self.config)
        # Level names are read once; only a model that reads prompts keeps the encoder.
        self.text_backbone = text if self.config.prompt else None
        self.read = {name: _stream(self.encoder(name), self.config, name) for name in self.config.streams}
        self.views = {name: self._view(name) for name in self.config.streams}
        self._require_two_sights()
        self.head: MstHead | AuthorsHead = (
            _authors_head(self.read, self.config, text, targets)
            if self.config.compat == "authors"
            else _head(self.read, self.config, text, targets)
        )

    @property
    def text(self) -> TextBackbone | None:
        """The encoder of prompts, if there is a prompt head."""
        return self.text_backbone

    def encoder(self, name: str) -> VisionBackbone:
        """The image encoder of a stream."""
        return self.fine_backbone if name == FINE and self.fine_backbone is not None else self.backbone

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``fusion`` (readouts, gate, phi), ``head``, ``alpha`` of a prompt head, ``backbone`` if trained."""
        groups: dict[str, list[nn.Parameter]] = {"fusion": [], "head": []}
        for name, parameter in self.head.named_parameters():
            first, last = name.removeprefix("layers.").split(".")[0], name.rpartition(".")[2]
            group = "fusion" if first in ("readouts", "fusion", "gff") else "head"
            groups.setdefault("alpha" if last == "alpha" else group, []).append(parameter)
        if backbone := self._tuned():
            groups["backbone"] = backbone
        return groups

    def frozen_head(self) -> nn.Module | None:
        """All that stands on the streams, unless an encoder is trained with it."""
        return None if self._tuned() else self.head

    def extractor(self, name: str) -> str:
        """What, beside the encoder's weights, decides on the features; with layers, as a probe's."""
        stream = self.read[name]
        if stream.layers:
            return f"layers {','.join(map(str, stream.layers))}; CLS and mean patch token"
        return f"pooled: {stream.pooling.kind}"

    def encode(self, name: str, view: Tensor) -> Tensor:
        """Features of a stream: uint8 (batch, side, side, 3) -> (batch, d)."""
        backbone, stream = self.encoder(name), self.read[name]
        pixels = backbone.normalise(view)
        if not stream.layers:
            return stream.pooling.read(backbone, pixels)
        return pool_layers(backbone.tokens(pixels, stream.layers), backbone.prefix_tokens).flatten(1)

    def encode_prompts(self, prompts: TextBatch) -> Tensor:
        """Features of prompts: (batch, length, d), in the space shared with images if there is one.

        Raises:
            ValueError: the model reads no prompts.
        """
        text = self.text_backbone
        if text is None:
            raise ValueError("this model reads no prompts: config.prompt is false")
        tokens = text.encode(prompts).tokens
        projected = self.config.compat == "none" and _shared_width(text) is not None
        return text.project(tokens) if projected else tokens

    def forward(self, views: Mapping[str, Tensor]) -> Judgement:
        """Judge a batch.

        Args:
            views: uint8 (batch, side, side, 3) of each stream by name; and, for a model that reads prompts,
                ``prompt_ids`` and ``prompt_mask``. Without these no image has a prompt.

        Returns:
            Quality and spread, (batch, targets) each.
        """
        judgement: Judgement = self.head(self.features(views))
        return judgement

    def features(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the frozen head reads, by name: of each stream, and of prompts if there are."""
        features = self.encode_views(views)
        if self.text_backbone is not None and PROMPT_IDS in views:
            mask = views[PROMPT_MASK]
            features[PROMPT_TOKENS] = self.encode_prompts(TextBatch(views[PROMPT_IDS], mask))
            features[PROMPT_MASK] = mask
        return features

    def gate(self, features: Mapping[str, Tensor]) -> Tensor:
        """How much of each dimension of the fused vector the gate takes from the coarse stream.

        Args:
            features: (batch, d) of each stream by name, as :meth:`encode` gives them or a cache keeps them.

        Returns:
            (batch, width), in (0, 1); the rest comes from the fine stream.

        Raises:
            ValueError: the streams are not fused by a gate.
        """
        return self.head.gate(features)

    def _tuned(self) -> list[nn.Parameter]:
        tuned = list(self.backbone.trainable())
        return tuned if self.fine_backbone is None else [*tuned, *self.fine_backbone.trainable()]

    def _view(self, name: str) -> ViewSpec:
        backbone = self.encoder(name)
        spec = native_view(backbone, self.config.view(name))
        if spec.kind == "fragments" and spec.side % (GRID * backbone.patch):
            raise ValueError(
                f"{name}_view is 'fragments', but {backbone.card.name} takes {spec.side} pixels with patches "
                f"of {backbone.patch}: no grid of {GRID} x {GRID} fragments is aligned to them; take 'whole' "
                "or 'crop'"
            )
        return spec

    def _require_two_sights(self) -> None:
        if len(self.views) < 2 or self.encoder(COARSE) is not self.encoder(FINE):
            return
        if self.views[COARSE] == self.views[FINE] and self.read[COARSE] == self.read[FINE]:
            raise ValueError(
                "both streams would see the same through the same encoder: give a fine backbone, set "
                "fine_view to 'fragments' or 'crop', or set fusion to 'coarse'"
            )


def _require_text(text: TextBackbone | None, config: MstConfig) -> TextBackbone | None:
    for wanted, why in (
        (config.prompt, "prompt is true"),
        (config.levels == "text", "levels is 'text'"),
        (config.compat == "authors", "compat is 'authors'"),
    ):
        if wanted and text is None:
            raise ValueError(f"{why}: give a text encoder (text_backbone)")
    if text is not None and any(True for _ in text.trainable()):
        raise ValueError(f"{text.card.name}: the text encoder must be frozen")
    return text


def _stream(backbone: VisionBackbone, config: MstConfig, name: str) -> _Stream:
    layers, pooling = config.read_layers(name), find_pooling(backbone)
    if layers and max(layers) > backbone.depth:
        raise ValueError(f"{backbone.card.name} has {backbone.depth} layers, not {max(layers)}")
    return _Stream(layers, pooling, backbone.width if layers else pooling.width)


def _readout(stream: _Stream, width: int, dropout: float) -> nn.Module:
    if not stream.layers:
        return nn.Dropout(dropout)
    return StreamReadout(2 * len(stream.layers) * stream.width, width, dropout)


def _head(
    streams: Mapping[str, _Stream], config: MstConfig, text: TextBackbone | None, targets: tuple[str, ...]
) -> MstHead:
    shared = None if text is None else _shared_width(text)
    if config.levels == "text" and text is not None and shared is None:
        raise ValueError(f"levels is 'text', but {text.card.name} has no projection; set it to 'learned'")
    width = config.width or shared or next(iter(streams.values())).width
    levels: dict[str, Tensor] = {}
    if text is not None and width == shared:
        levels = {target: level_features(text, config, target) for target in targets}
    elif config.levels == "text":
        raise ValueError(f"width is {width}, but the levels' texts have {shared} features; leave it out")
    return MstHead(
        streams,
        config,
        targets,
        width=width,
        levels=levels,
        learned=config.levels == "learned" or not levels,
        scale=UNTRAINED_SCALE if text is None or text.logit_scale is None else text.logit_scale,
        tokens=0 if text is None else shared or text.width,
    )


def _authors_head(
    streams: Mapping[str, _Stream], config: MstConfig, text: TextBackbone | None, targets: tuple[str, ...]
) -> AuthorsHead:
    widths = {stream.width for stream in streams.values()}
    if text is not None:
        widths.add(text.width if config.prompt else _shared_width(text) or 0)
    if len(widths) > 1 or len(targets) > 1:
        raise ValueError(
            f"the authors' layers know one target and one width; here are {', '.join(targets)}, and widths "
            f"{sorted(widths)}"
        )
    (width,) = widths
    texts = None if text is None or config.prompt else level_features(text, config, targets[0])
    return AuthorsHead(MstAuthors(prompt=config.prompt, text_features=texts, width=width), width)


@torch.no_grad()
def level_features(text: TextBackbone, config: MstConfig, target: str) -> Tensor:
    """Embeddings of the texts of a target's five levels, of length 1: (5, width), on the CPU.

    Raises:
        MissingPartError: the text encoder shares no space with images.
    """
    return nn.functional.normalize(text(config.level_texts(target)).float(), dim=-1).cpu()


def _shared_width(text: TextBackbone) -> int | None:
    """Features of the space shared with images; None if the folder lacks the way into it."""
    try:
        with torch.no_grad():
            return text.project(torch.zeros(1, text.width, device=text.device, dtype=text.dtype)).shape[-1]
    except MissingPartError:
        return None
