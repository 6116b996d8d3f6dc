"""GLIANet: a global and a local stream through one frozen ViT, made to interact by small adapters.

Paper: "Unleashing Vision Transformer Potential in Image Quality Assessment via Global-Local Adaptive
Interaction" (arXiv 2605.17748). It gives no equations for the adapter; where it is silent we follow LoDa
(CVPR 2024) and CMPA by the same authors. What we chose stands in docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.artifact.card import ViewSpec
from foveal.imaging.views import GRID
from foveal.lab.backbones.vision import VisionBackbone
from foveal.lab.models.base import Judgement, JudgementHead, QualityModel
from foveal.lab.models.probe import pool_layers

Streams = Literal["both", "global", "local"]
Direction = Literal["both", "to-global", "to-local", "none"]
Readout = Literal["cls", "layers"]

GLOBAL, LOCAL = "whole", "fragments"
"""Inputs: the resized image, and native-resolution fragments spliced into one picture of the same size."""


@dataclass(frozen=True)
class GliaConfig:
    """Every choice of the method.

    Attributes:
        width: features of the space in which the streams meet.
        heads: attention heads there; divides the width.
        every: an adapter stands before every n-th block, beginning with the first; 0 for none at all. Then
            the readout alone is trained, on cached features: a good start for a run with adapters.
        streams: which pictures are looked at. With one stream the adapters attend within it.
        direction: who attends to whom. A stream that attends to nothing runs through the frozen blocks as it
            is; with ``none`` each stream has adapters that attend within it.
        fusion: what the head reads: the gated ``both``, or one stream alone while the other only informs it
            (LoDa's way is ``direction="to-global", fusion="global"``).
        readout: ``cls``, the CLS token after the last block, as in the paper; or ``layers``, CLS and mean
            patch token of several layers, where a frozen ViT keeps what is seen of distortions.
        layers: whose tokens ``layers`` reads, counted from 1.
        readout_width: features of a stream's summary in the ``layers`` readout.
        dropout: on what the readout reads, in training.
        head_dropout: on what it has fused, in training.
        adapter_dropout: on the features of the adapters' space after the streams have met, in training.
    """

    width: int = 64
    heads: int = 4
    every: int = 1
    streams: Streams = "both"
    direction: Direction = "both"
    fusion: Streams = "both"
    readout: Readout = "layers"
    layers: tuple[int, ...] = (3, 6, 9, 12)
    readout_width: int = 64
    dropout: float = 0.1
    head_dropout: float = 0.0
    adapter_dropout: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if self.width < 1 or self.heads < 1 or self.width % self.heads:
            raise ValueError(f"width {self.width} cannot be divided among {self.heads} heads")
        if self.every < 0:
            raise ValueError(f"every is {self.every}, expected 0 or more")
        for name, value, known in (
            ("streams", self.streams, ("both", "global", "local")),
            ("direction", self.direction, ("both", "to-global", "to-local", "none")),
            ("fusion", self.fusion, ("both", "global", "local")),
            ("readout", self.readout, ("cls", "layers")),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}, expected {', '.join(known)}")
        if self.streams != "both" and self.fusion not in ("both", self.streams):
            raise ValueError(f"fusion is {self.fusion!r}, but only the {self.streams} stream runs")
        if self.readout == "layers" and (not self.layers or min(self.layers) < 1):
            raise ValueError(f"layers are {list(self.layers)}, expected numbers of blocks from 1 on")
        if self.readout_width < 1:
            raise ValueError(f"readout_width is {self.readout_width}, expected 1 or more")
        for name in ("dropout", "head_dropout", "adapter_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 to below 1")


class CrossAttention(nn.Module):
    """Multi-head attention of one stream on another, without biases on query, key and value (as LoDa)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, asking: Tensor, asked: Tensor) -> Tensor:
        """(batch, n, width) attends to (batch, m, width) -> (batch, n, width)."""
        query = self._split(self.query(asking))
        key, value = (self._split(part) for part in self.key_value(asked).chunk(2, dim=-1))
        # Written out: on CPUs this is twice as fast to train in bf16 as the fused kernel of torch 2.13.
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        mixed = scores.softmax(dim=-1) @ value
        attended: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return attended

    def _split(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        return tokens.view(batch, count, self.heads, width // self.heads).transpose(1, 2)


class InteractionAdapter(nn.Module):
    """Adapter before a block: both streams go down, attend to each other, and come up again.

    g = W_d G, l = W_d L;  g' = g + MHA(g, l, l), l' = l + MHA(l, g, g);  G += s_g * W_u g', L += s_l * W_u l'
    with the projections shared by the streams and a scale for each channel, drawn from N(0, .02) (LoDa). The
    tokens are normalised first, without parameters: their length grows tenfold from block to block.

    Args:
        tokens: width of the backbone.
        config: of the model.
    """

    def __init__(self, tokens: int, config: GliaConfig) -> None:
        super().__init__()
        streams = _streams(config)
        self.who = [streams.index(name) for name in streams if _attends(name, config)]
        self.whom = [streams.index(_asked(streams[stream], config)) for stream in self.who]
        self.normalise = nn.LayerNorm(tokens, elementwise_affine=False)
        self.down = nn.Linear(tokens, config.width, bias=False)
        self.up = nn.Linear(config.width, tokens, bias=False)
        self.attention = nn.ModuleList(CrossAttention(config.width, config.heads) for _ in self.who)
        self.dropout = nn.Dropout(config.adapter_dropout)
        self.scale = nn.Parameter(torch.randn(len(self.who), 1, 1, tokens) * 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (streams, batch, n, width of the backbone), changed where a stream attends."""
        low = self.down(self.normalise(tokens))
        met = [
            low[who] + attend(low[who], low[whom])
            for attend, who, whom in zip(self.attention, self.who, self.whom, strict=True)
        ]
        change = self.scale * self.up(self.dropout(torch.stack(met)))
        if len(met) == len(tokens):
            both: Tensor = tokens + change
            return both
        return torch.stack(
            [
                stream + change[self.who.index(i)] if i in self.who else stream
                for i, stream in enumerate(tokens)
            ]
        )


class StreamReadout(nn.Module):
    """A stream's summary: its tokens of one or several layers, normalised, projected, through GELU."""

    def __init__(self, features: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(features, width)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, layers, 2, tokens' width) -> (batch, width)."""
        # Layers differ in scale by orders of magnitude; each vector is normalised by itself.
        normalised = functional.layer_norm(features.float(), features.shape[-1:])
        return functional.gelu(self.project(self.dropout(normalised.flatten(1))))


class GatedReadout(nn.Module):
    """What stands on the streams: a summary of each, a gate that fuses two, a linear head.

    Args:
        tokens: width of the backbone.
        config: of the model.
        targets: columns of the judgement.
    """

    def __init__(self, tokens: int, config: GliaConfig, targets: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.layers = len(config.layers) if config.readout == "layers" else 1
        self.fused = _fused(config)
        width = tokens
        self.streams: nn.ModuleDict | None = None
        if config.readout == "layers":
            width = config.readout_width
            features = 2 * len(config.layers) * tokens
            self.streams = nn.ModuleDict(
                {name: StreamReadout(features, width, config.dropout) for name in self.fused}
            )
        if len(self.fused) == 2:
            self.gate = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(config.head_dropout)
        self.head = JudgementHead(width, targets)

    def forward(self, features: Mapping[str, Tensor]) -> Judgement:
        """Judge from features of each fused stream: (batch, layers, 2, width), or flat in that order."""
        summaries = [self._summarise(name, features[name]) for name in self.fused]
        judgement: Judgement = self.head(self.dropout(self._fuse(summaries)))
        return judgement

    def _summarise(self, name: str, features: Tensor) -> Tensor:
        vectors = features.reshape(-1, self.layers, 2, self.tokens)
        if self.streams is None:
            return vectors[:, 0, 0].float()
        summary: Tensor = self.streams[name](vectors)
        return summary

    def _fuse(self, summaries: list[Tensor]) -> Tensor:
        if len(summaries) == 1:
            return summaries[0]
        gate = torch.sigmoid(self.gate(torch.cat(summaries, dim=-1)))
        fused: Tensor = gate * summaries[0] + (1 - gate) * summaries[1]
        return fused


class GliaNet(QualityModel):
    """Global-local interaction adapters on a frozen vision transformer.

    Args:
        backbone: frozen; its parameters are not part of the model's state.
        config: every choice of the method.
        targets: columns of the judgement.

    Raises:
        ValueError: the backbone does not take pictures of the views' size, or has fewer layers.
    """

    def __init__(
        self,
        backbone: VisionBackbone,
        config: GliaConfig | None = None,
        targets: tuple[str, ...] = ("quality",),
    ) -> None:
        super().__init__()
        self.config = config or GliaConfig()
        self.targets = targets
        self.backbone = backbone
        side = backbone.native_size[0]
        if backbone.native_size != (side, side) or side % (GRID * backbone.patch):
            raise ValueError(
                f"{backbone.card.name} takes {backbone.native_size} pixels with patches of {backbone.patch}: "
                f"no grid of {GRID} x {GRID} fragments is aligned to them"
            )
        if self.config.readout == "layers" and max(self.config.layers) > backbone.depth:
            raise ValueError(
                f"{backbone.card.name} has {backbone.depth} layers, not {max(self.config.layers)}"
            )
        self.streams = _streams(self.config)
        self.views = {
            name: ViewSpec("whole" if name == GLOBAL else "fragments", side) for name in self.streams
        }
        self.adapters = nn.ModuleDict(
            {
                str(index): InteractionAdapter(backbone.width, self.config)
                for index in range(0, backbone.depth if self.config.every else 0, self.config.every or 1)
            }
        )
        self.readout = GatedReadout(backbone.width, self.config, len(self.targets))
        self.fused = self.readout.fused

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``adapters`` where there are some, and ``head``: all that reads the streams."""
        groups = {"head": list(self.readout.parameters())}
        if adapters := list(self.adapters.parameters()):
            groups["adapters"] = adapters
        if backbone := list(self.backbone.trainable()):
            groups["backbone"] = backbone
        return groups

    def forward(self, views: Mapping[str, Tensor]) -> Judgement:
        """Judge a batch.

        Args:
            views: uint8 (batch, side, side, 3): ``whole`` and ``fragments``, or the one that is looked at.

        Returns:
            Quality and spread, (batch, targets) each.
        """
        return self.judge(self.features(views))

    def frozen_head(self) -> nn.Module | None:
        """The readout, where there are no adapters and the backbone is not trained."""
        changed = self.config.every or any(True for _ in self.backbone.trainable())
        return None if changed else self.readout

    def encoder(self, name: str) -> VisionBackbone:
        """The one backbone, for every view."""
        return self.backbone

    def extractor(self, name: str) -> str:
        """What, beside the backbone's weights, decides on the features; a probe's are the same."""
        finished = "; finished" if self.config.readout == "cls" else ""
        return f"layers {','.join(map(str, self._wanted))}{finished}; CLS and mean patch token"

    def encode(self, name: str, view: Tensor) -> Tensor:
        """Features of one view: uint8 (batch, side, side, 3) -> (batch, layers x 2 x width)."""
        states = self.backbone.tokens(self.backbone.normalise(view), self._wanted)
        return self._pool(states).flatten(1)

    def features(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the readout reads of each fused stream: (batch, layers, 2, width), CLS and mean patch token.

        With the ``cls`` readout there is one layer, the finished one, and only its CLS token counts.
        """
        return {name: self._pool(states) for name, states in self.hidden(views).items()}

    def hidden(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tokens of the layers that are read, of each fused stream: (batch, layers, tokens, width)."""
        wanted = self._wanted
        # Both streams are one batch to the frozen blocks, and an axis of their own to the adapters.
        pixels = torch.cat([views[name] for name in self.streams])
        tokens = self.backbone.embed(self.backbone.normalise(pixels))
        states: list[Tensor] = []
        for index in range(max(wanted)):
            if str(index) in self.adapters:
                tokens = self.adapters[str(index)](self._apart(tokens)).flatten(0, 1)
            tokens = self.backbone.run_block(index, tokens)
            if index + 1 in wanted:
                states.append(self._apart(tokens))
        return {
            name: torch.stack([layer[self.streams.index(name)] for layer in states], dim=1)
            for name in self.fused
        }

    def judge(self, features: Mapping[str, Tensor]) -> Judgement:
        """Judge from :meth:`features`."""
        judgement: Judgement = self.readout(features)
        return judgement

    @property
    def has_map(self) -> bool:
        """Whether the head reads patches of the local stream."""
        return self.config.readout == "layers" and LOCAL in self.fused

    def local_quality(self, views: Mapping[str, Tensor]) -> tuple[Judgement, Tensor]:
        """Judge, and say what the judgement would be if all fragments were as those of one cell.

        For each cell the mean patch token of the local stream is exchanged for the mean over the patches of
        that cell; everything else stays. Cells are comparable within an image; their mean is not its quality.

        Returns:
            The judgement, and quality (batch, 7, 7) on the 1-5 scale.

        Raises:
            ValueError: the head does not read patches of the local stream.
        """
        if not self.has_map:
            raise ValueError("a map of local quality needs the 'layers' readout of the local stream")
        hidden = self.hidden(views)
        features = {name: self._pool(states) for name, states in hidden.items()}
        cells = self._cells(hidden[LOCAL])
        whole = features[LOCAL][:, None, :, :1].expand(-1, GRID**2, -1, -1, -1)
        local = torch.cat([whole, cells[:, :, :, None]], dim=3).flatten(0, 1)
        others = {
            name: part.repeat_interleave(GRID**2, dim=0) for name, part in features.items() if name != LOCAL
        }
        quality = self.judge({**others, LOCAL: local}).quality[:, 0]
        return self.judge(features), quality.view(-1, GRID, GRID)

    @property
    def _wanted(self) -> tuple[int, ...]:
        """Layers that are read, counted from 1."""
        return self.config.layers if self.config.readout == "layers" else (self.backbone.depth,)

    def _apart(self, tokens: Tensor) -> Tensor:
        """(streams x batch, ...) -> (streams, batch, ...)."""
        return tokens.reshape(len(self.streams), -1, *tokens.shape[1:])

    def _cells(self, states: Tensor) -> Tensor:
        """Mean patch token of each cell: (batch, layers, tokens, width) -> (batch, 49, layers, width)."""
        patches = states[:, :, self.backbone.prefix_tokens :]
        side = self.backbone.native_size[0] // self.backbone.patch
        each = side // GRID
        batch, layers, _, width = patches.shape
        grid = patches.reshape(batch, layers, GRID, each, GRID, each, width).mean(dim=(3, 5))
        return grid.flatten(2, 3).transpose(1, 2)

    def _pool(self, states: Tensor) -> Tensor:
        if self.config.readout == "cls":
            states = self.backbone.finish(states)
        return pool_layers(states, self.backbone.prefix_tokens)


def _streams(config: GliaConfig) -> tuple[str, ...]:
    return {"both": (GLOBAL, LOCAL), "global": (GLOBAL,), "local": (LOCAL,)}[config.streams]


def _fused(config: GliaConfig) -> tuple[str, ...]:
    fused = config.streams if config.fusion == "both" else config.fusion
    return {"both": (GLOBAL, LOCAL), "global": (GLOBAL,), "local": (LOCAL,)}[fused]


def _attends(name: str, config: GliaConfig) -> bool:
    """Whether adapters change this stream."""
    if config.streams != "both":
        return name in _streams(config)
    return config.direction in ("both", "none", "to-global" if name == GLOBAL else "to-local")


def _asked(name: str, config: GliaConfig) -> str:
    """Whom a stream attends to: the other one, or itself."""
    if config.streams != "both" or config.direction == "none":
        return name
    return LOCAL if name == GLOBAL else GLOBAL
