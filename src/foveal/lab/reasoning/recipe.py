"""Recipes of two-stage reasoning: TOML files that say all that a run depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from foveal.explanation.wordings import IMPRESSIONS, WORDINGS
from foveal.explanation.words import TOLD
from foveal.lab.reasoning.align import Alignment
from foveal.lab.reasoning.levels import LEVELS
from foveal.lab.reasoning.small.shape import DecoderShape
from foveal.lab.reasoning.stages import Mixture
from foveal.lab.reasoning.tune import Tuning
from foveal.lab.training.recipe import Attention, RatingsConfig, SplitConfig, changed, read_toml
from foveal.strict import RecipeError, build


@dataclass(frozen=True)
class SmallConfig:
    """The small model that is made here.

    Attributes:
        trunk: folder of a ViT of ``transformers``, or ``compact``, the shipped assessor's own trunk.
        layers: blocks or stages of the trunk that are read, from 1; empty takes the usual ones.
        align: how the projector learns before any word is learnt.
        decoder: size of the language model.
    """

    trunk: str = "compact"
    layers: tuple[int, ...] = ()
    align: Alignment = field(default_factory=Alignment)
    decoder: DecoderShape = field(default_factory=DecoderShape)


@dataclass(frozen=True)
class LargeConfig:
    """A pretrained model that is tuned.

    Attributes:
        name: folder, or ``owner/model`` on the Hub.
        revision: commit on the Hub.
        dtype: of its weights: ``float32``, ``bfloat16`` or ``float16``.
        attention: how its attention is computed.
        device: where it is trained.
    """

    name: str
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    attention: Attention = "sdpa"
    device: str = "cpu"


@dataclass(frozen=True)
class DescriptionConfig:
    """What descriptions tell.

    Attributes:
        attributes: in this order. The two impressions need a trunk and ratings; the others are measured.
        impressions: folder of the ViT, or ``compact``, whose features impressions are learnt from; by default
            the small model's own trunk. Needed for a large model only, and only if impressions are told.
        placed: those whose place in the image is told, where they stand out somewhere.
        folds: of the cross-fitting of impressions.
        seed: of folds, networks and degraded copies: runs of several seeds so learn the same descriptions.
        degraded: share of the training images of which a degraded copy is described too. Copies have no
            rating: the one-stage model learns to describe them, the judge learns what the rule says of them.
    """

    attributes: tuple[str, ...] = TOLD
    placed: tuple[str, ...] = ("sharpness", "brightness")
    impressions: str | None = None
    folds: int = 5
    seed: int = 0
    degraded: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.degraded <= 1:
            raise ValueError(f"degraded is {self.degraded}, expected 0 to 1")
        unknown = [name for name in self.attributes if name not in WORDINGS]
        if unknown or not self.attributes:
            raise ValueError(f"attributes {unknown or 'none'}: expected some of {', '.join(WORDINGS)}")
        if self.folds < 2 or (self.impressions is not None and self.folds < 3):
            raise ValueError(
                f"folds is {self.folds}, expected 2 or more, and 3 for impressions of another trunk"
            )

    @property
    def tells_impressions(self) -> bool:
        """Whether an impression is among the attributes."""
        return any(name in IMPRESSIONS for name in self.attributes)


@dataclass(frozen=True)
class VerdictConfig:
    """How levels are made of scores.

    Attributes:
        levels: name of a convention of :data:`foveal.lab.reasoning.levels.LEVELS`.
        width: softness of the levels that stage 2 learns, on the 1-5 scale; 0 learns single words.
        one_stage_width: the same for the one-stage model.
        rule: whether stage 2 learns what the fitted rule says of a description; if not, the image's own MOS.
        one_stage_rule: whether the one-stage model's verdict learns what the rule says of the reference
            description, too. A control: what then still differs is not due to averaged ratings.
        one_stage_direct: share of the one-stage model's verdicts that are asked for straight from the image.
    """

    levels: str = "q-align"
    width: float = 0.2
    one_stage_width: float = 0.0
    rule: bool = True
    one_stage_rule: bool = False
    one_stage_direct: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.one_stage_direct <= 1:
            raise ValueError(f"one_stage_direct is {self.one_stage_direct}, expected 0 to 1")
        if self.one_stage_rule and not self.rule:
            raise ValueError("one_stage_rule needs rule")
        if self.levels not in LEVELS:
            raise ValueError(f"levels is {self.levels!r}, expected one of {', '.join(LEVELS)}")
        if min(self.width, self.one_stage_width) < 0:
            raise ValueError("widths must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class _File:
    """The file as it stands."""

    ratings: RatingsConfig
    split: SplitConfig = field(default_factory=SplitConfig)
    small: SmallConfig | None = None
    large: LargeConfig | None = None
    descriptions: DescriptionConfig = field(default_factory=DescriptionConfig)
    verdict: VerdictConfig = field(default_factory=VerdictConfig)
    describe: Tuning = field(default_factory=Tuning)
    judge: Tuning = field(default_factory=Tuning)
    one_stage: Tuning | None = None
    mixture: Mixture = field(default_factory=Mixture)
    samples: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.small is None) == (self.large is None):
            raise ValueError("name one model: [small], which is made, or [large], which is tuned")
        if (
            self.large is not None
            and self.descriptions.tells_impressions
            and not self.descriptions.impressions
        ):
            raise ValueError(
                "descriptions.impressions: name the trunk they are learnt from, or leave "
                f"{' and '.join(IMPRESSIONS)} out of descriptions.attributes"
            )
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}, expected 1 or more")


@dataclass(frozen=True, kw_only=True)
class ReasoningRecipe(_File):
    """A run: describer, judge, and the one-stage model they are compared with.

    Attributes:
        ratings: what is learnt from.
        split: which images of it.
        small: the model that is made, or
        large: the model that is tuned; exactly one of the two.
        descriptions: what is told.
        verdict: levels.
        describe: training of stage 1.
        judge: training of stage 2.
        one_stage: training of the model that is compared; None leaves it out.
        mixture: what stage 2 learns from.
        samples: descriptions of each training image that stage 1 writes for stage 2.
        seed: of initialisation, order, phrasings and draws.
        folder: where relative paths begin.
    """

    folder: Path = Path()


def read_reasoning_recipe(path: str | Path, changes: Mapping[str, Any] | None = None) -> ReasoningRecipe:
    """Read a recipe.

    Args:
        path: a TOML file.
        changes: values that replace those of the file, by dotted name: ``{"describe.epochs": 3}``.

    Raises:
        RecipeError: the file is missing, is not TOML, or a field is unknown, missing or wrong.
    """
    path = Path(path)
    values = read_toml(path)
    try:
        read = build(_File, changed(values, changes or {}), "")
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error
    return ReasoningRecipe(**vars(read), folder=path.parent)
