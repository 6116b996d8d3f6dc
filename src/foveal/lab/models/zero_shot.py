"""CLIP-IQA: no training, only the question whether an image is more like "Good photo." or "Bad photo.".

Paper: Wang, Chan and Loy, "Exploring CLIP for Assessing the Look and Feel of Images", AAAI 2023. The
probability of the good text, softmax over the pair of scaled cosines, is laid out on 1 to 5. The paper leaves
out CLIP's positional embedding and shows it images of any size. What is ours: an affine map of the logit and
a spread, three numbers a target, which may be fitted so that scores have intervals; they begin where the
paper's score is unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from foveal.artifact.card import VIEW_KINDS, ViewSpec
from foveal.assessment import HIGHEST, LOWEST
from foveal.assessor import cut_views
from foveal.imaging.decode import decode
from foveal.imaging.views import Pixels
from foveal.lab.backbones.text import TextBackbone
from foveal.lab.backbones.vision import VisionBackbone
from foveal.lab.models.base import LEAST_SPREAD, Backbones, Judgement, QualityModel
from foveal.lab.models.regressor import ViewKind, native_view

ANTONYMS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "quality": ("Good photo.", "Bad photo."),
        "brightness": ("Bright photo.", "Dark photo."),
        "sharpness": ("Sharp photo.", "Blurry photo."),
        "noisiness": ("Clean photo.", "Noisy photo."),
        "colorfulness": ("Colorful photo.", "Dull photo."),
        "contrast": ("High contrast photo.", "Low contrast photo."),
        "aesthetics": ("Aesthetic photo.", "Not aesthetic photo."),
        "happiness": ("Happy photo.", "Sad photo."),
        "naturalness": ("Natural photo.", "Synthetic photo."),
    }
)
"""Pairs of texts by target, the higher end first; of noisiness that is the clean one."""

_FIRST_SCALE = 1 / 0.07
_WITHOUT_POSITIONS = ("clip", "clip_vision_model", "siglip", "siglip_vision_model")


@dataclass(frozen=True)
class ClipIqaConfig:
    """What is asked, and what CLIP sees.

    Attributes:
        antonyms: pairs of texts by target, the higher end first, beside those of :data:`ANTONYMS`.
        view: ``whole``, ``fragments`` or ``crop``.
        side: of the view in pixels, a multiple of the patch; 0 for the size that the encoder was trained on.
        positions: whether patches know their place. Without, as in the paper, no size is foreign to the
            encoder; with positions they are interpolated to other sizes.
    """

    antonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    view: ViewKind = "whole"
    side: int = 0
    positions: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "antonyms", {name: tuple(pair) for name, pair in self.antonyms.items()})
        for name, pair in self.antonyms.items():
            if len(pair) != 2 or not all(text.strip() for text in pair) or pair[0] == pair[1]:
                raise ValueError(
                    f"antonyms.{name} is {list(pair)}, expected two different texts, the higher end first"
                )
        if self.view not in VIEW_KINDS:
            raise ValueError(f"view is {self.view!r}, expected {', '.join(VIEW_KINDS)}")
        if self.side < 0:
            raise ValueError(f"side is {self.side}, expected 0 or more")

    def pair(self, target: str) -> tuple[str, ...]:
        """The two texts of a target.

        Raises:
            ValueError: none are known.
        """
        known = {**ANTONYMS, **self.antonyms}
        if target not in known:
            raise ValueError(
                f"no antonyms are known for {target!r}; give some (antonyms.{target}), or take one of "
                f"{', '.join(known)}"
            )
        return known[target]


class LogitMap(nn.Module):
    """quality = 1 + 4 sigmoid(a x + b) of a logit x, and a spread that is the same for all images.

    Args:
        view: name of the input.
        targets: number of columns.
    """

    def __init__(self, view: str, targets: int = 1) -> None:
        super().__init__()
        self.view = view
        self.slope = nn.Parameter(torch.ones(targets))
        self.offset = nn.Parameter(torch.zeros(targets))
        self.spread = nn.Parameter(torch.zeros(targets))

    def forward(self, features: Mapping[str, Tensor]) -> Judgement:
        """Judge from logits (batch, targets) of the one view."""
        logits = features[self.view].float()
        quality = LOWEST + (HIGHEST - LOWEST) * torch.sigmoid(self.slope * logits + self.offset)
        return Judgement(quality, (functional.softplus(self.spread) + LEAST_SPREAD).expand_as(quality))


class ClipIqa(QualityModel):
    """CLIP-IQA; scores are the paper's until the three numbers of each target are fitted.

    Args:
        backbones: ``vision`` and ``text``, of one model trained with pairs of both.
        config: what is asked, and what is seen.
        targets: columns of the judgement, each with a pair of antonyms.

    Raises:
        ValueError: there is no text encoder, the two do not belong together, the view's side is no multiple
            of the patch, a target has no antonyms, or positions cannot be left out of this kind of encoder.
        MissingPartError: an encoder shares no space with the other kind.
    """

    def __init__(
        self,
        backbones: Backbones,
        config: ClipIqaConfig | None = None,
        targets: tuple[str, ...] = ("quality",),
    ) -> None:
        super().__init__()
        self.config = config or ClipIqaConfig()
        self.targets = targets
        self.backbone = backbones.vision
        if backbones.text is None:
            raise ValueError("antonyms are compared by a text encoder: give one (text_backbone)")
        if not self.config.positions and self.backbone.card.family not in _WITHOUT_POSITIONS:
            raise ValueError(
                f"{self.backbone.card.name}: positions cannot be left out of a {self.backbone.card.family}; "
                "set positions to true"
            )
        view = self.config.view
        self.views = {view: _view(self.backbone, self.config)}
        self.directions: Tensor
        directions = _directions(backbones.text, [self.config.pair(target) for target in targets])
        self._require_one_space(directions, backbones.text)
        # Derived from the text encoder at each start: not saved with what was trained.
        self.register_buffer("directions", directions, persistent=False)
        self.map = LogitMap(view, len(targets))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``head``, the three numbers of each target, and ``backbone`` where some of it is trained."""
        groups = {"head": list(self.map.parameters())}
        if backbone := list(self.backbone.trainable()):
            groups["backbone"] = backbone
        return groups

    def frozen_head(self) -> nn.Module | None:
        """The map of logits, unless the encoder is trained with it."""
        return None if any(True for _ in self.backbone.trainable()) else self.map

    def encoder(self, name: str) -> VisionBackbone:
        """The image encoder."""
        return self.backbone

    def extractor(self, name: str) -> str:
        """What, beside the encoder's weights, decides on the logits: texts, their encoder, positions."""
        texts = hashlib.blake2b(self.directions.cpu().numpy().tobytes(), digest_size=10).hexdigest()
        return f"antonyms {texts}; positions {'on' if self.config.positions else 'off'}"

    def encode(self, name: str, view: Tensor) -> Tensor:
        """Logits of the higher ends: uint8 (batch, side, side, 3) -> (batch, targets)."""
        return self.logits(self.backbone.normalise(view))

    def logits(self, pixels: Tensor) -> Tensor:
        """Scaled cosine with the higher end minus that with the lower one.

        Args:
            pixels: normalised, (batch, 3, height, width), sides multiples of the patch.

        Returns:
            (batch, targets); its sigmoid is the softmax over the pair.
        """
        embedded = self.backbone.project(self.backbone.pool(self.backbone.finish(self._tokens(pixels))))
        unit = functional.normalize(embedded.float(), dim=-1)
        # A sum of products: mixed precision would round a product of matrices to three digits.
        return (unit[:, None] * self.directions).sum(dim=-1)

    def forward(self, views: Mapping[str, Tensor]) -> Judgement:
        """Judge a batch: uint8 (batch, side, side, 3) of the one view."""
        judgement: Judgement = self.map(self.encode_views(views))
        return judgement

    def _tokens(self, pixels: Tensor) -> Tensor:
        """Tokens of the last block."""
        if self.config.positions:
            return self.backbone.tokens(pixels, (self.backbone.depth,))[:, 0]
        tokens = _embed_without_positions(self.backbone, pixels)
        for index in range(self.backbone.depth):
            tokens = self.backbone.run_block(index, tokens)
        return tokens

    def _require_one_space(self, directions: Tensor, text: TextBackbone) -> None:
        with torch.no_grad():
            pixels = torch.zeros(1, 3, *self.backbone.native_size, device=self.backbone.device)
            width = self.backbone.projected(pixels).shape[-1]
        if width != directions.shape[-1]:
            raise ValueError(
                f"{self.backbone.card.name} embeds images in {width} features, {text.card.name} texts in "
                f"{directions.shape[-1]}: they are not of one model"
            )


@torch.inference_mode()
def clip_iqa(
    images: Iterable[Any],
    backbones: Backbones,
    config: ClipIqaConfig | None = None,
    targets: tuple[str, ...] = ("quality",),
    *,
    full_size: bool = False,
) -> NDArray[np.float64]:
    """Judge images without any training.

    Args:
        images: whatever :class:`foveal.assessor.Assessor` takes: paths, bytes, arrays, PIL images.
        backbones: ``vision`` and ``text`` of one model.
        config: what is asked, and what is seen.
        targets: what each column is about.
        full_size: show each image as it is, as in the paper (with ``positions=False``), cut to multiples of
            the patch around its middle, in place of the view. Time and memory grow with the square of the
            number of pixels.

    Returns:
        (images, targets) on 1 to 5, higher is better; not fitted to any rating.

    Raises:
        ImageError: an image cannot be decoded.
        ValueError: see :class:`ClipIqa`; or an image is smaller than a patch.
    """
    model = ClipIqa(backbones, config, targets).to(backbones.vision.device).eval()
    rows = []
    for image in images:
        pixels = decode(image).pixels
        view = (
            _cut_to_patches(pixels, model.backbone)
            if full_size
            else cut_views(pixels, model.views)[model.config.view]
        )
        logits = model.logits(model.backbone.normalise(np.array(view[None])))  # one that torch may write to
        rows.append(model.map({model.config.view: logits}).quality[0].double().cpu().numpy())
    return np.stack(rows) if rows else np.empty((0, len(targets)))


def _view(backbone: VisionBackbone, config: ClipIqaConfig) -> ViewSpec:
    if not config.side:
        return native_view(backbone, config.view)
    if config.side % backbone.patch:
        raise ValueError(
            f"side is {config.side}, expected a multiple of {backbone.patch}, the patch of "
            f"{backbone.card.name}"
        )
    return ViewSpec(config.view, config.side)


@torch.no_grad()
def _directions(text: TextBackbone, pairs: Sequence[Sequence[str]]) -> Tensor:
    """Scaled difference of both ends' embeddings, each of length 1: (pairs, width), on the CPU."""
    ends = functional.normalize(text([end for pair in pairs for end in pair]).float(), dim=-1)
    scale = _FIRST_SCALE if text.logit_scale is None else float(np.exp(text.logit_scale))
    return (scale * (ends[0::2] - ends[1::2])).cpu()


def _embed_without_positions(backbone: VisionBackbone, pixels: Tensor) -> Tensor:
    """Tokens that enter the first block of a CLIP or SigLIP, without their positions."""
    core = backbone.core
    patches = core.embeddings.patch_embedding(pixels.to(backbone.dtype)).flatten(2).transpose(1, 2)
    if not backbone.prefix_tokens:
        tokens: Tensor = patches
        return tokens
    first = core.embeddings.class_embedding.expand(len(patches), 1, -1)
    normalised: Tensor = core.pre_layrnorm(torch.cat([first, patches], dim=1))
    return normalised


def _cut_to_patches(pixels: Pixels, backbone: VisionBackbone) -> Pixels:
    """The middle of an image, sides multiples of the patch."""
    height, width = (side // backbone.patch * backbone.patch for side in pixels.shape[:2])
    if not height or not width:
        raise ValueError(
            f"an image of {pixels.shape[1]} x {pixels.shape[0]} pixels is smaller than the patch of "
            f"{backbone.card.name}, {backbone.patch}"
        )
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]
