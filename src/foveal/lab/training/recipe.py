"""Recipes: TOML files that say all that a training run depends on."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from foveal.artifact.card import Calibration, Card, ViewSpec
from foveal.lab.backbones.tuning import TuningMode
from foveal.lab.models.registry import MODELS
from foveal.lab.training.config import TrainingConfig
from foveal.strict import RecipeError, build

Attention = Literal["sdpa", "eager"]
"""Ways to compute attention. Only these: of other names some would fetch a kernel from the Hub."""


@dataclass(frozen=True)
class ColumnNames:
    """Headings of a table of one's own; see :class:`foveal.ratings.own_table.Columns`.

    Attributes:
        image: path of the image.
        scores: heading of the scores of each target.
        group: what a split must not separate.
        subset: the owners' subset.
        split: train, validation or test.
        prompt: text that the image was generated from.
    """

    image: str | None = None
    scores: Mapping[str, str] = field(default_factory=lambda: {"quality": "mos"})
    group: str | None = None
    subset: str | None = None
    split: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class RatingsConfig:
    """What is learnt from.

    Attributes:
        path: a table (CSV, TSV, Parquet, XLSX, JSON lines), a folder in the Hub's imagefolder layout, or, if
            ``dataset`` is given, the folder of that set. Relative to the recipe's folder.
        dataset: name of a set whose layout is known, such as ``biq2021``.
        images: where the images lie, if not beside the table.
        low: lower end of the scores' scale; needed unless ``dataset`` is given.
        high: upper end of the scores' scale.
        higher_is_better: direction of the scores.
        columns: headings.
        missing: ``error``, or ``drop`` to leave out rows whose image is absent.
    """

    path: str
    dataset: str | None = None
    images: str | None = None
    low: float | None = None
    high: float | None = None
    higher_is_better: bool = True
    columns: ColumnNames = field(default_factory=ColumnNames)
    missing: Literal["error", "drop"] = "error"

    def __post_init__(self) -> None:
        if self.dataset is None and (self.low is None or self.high is None):
            raise ValueError("state low and high, the two ends of the scores' scale: they cannot be guessed")
        said = self.low, self.high, self.higher_is_better, self.columns
        if self.dataset is not None and said != (None, None, True, ColumnNames()):
            raise ValueError(
                f"scale and columns of {self.dataset} are known: leave out low, high, higher_is_better "
                "and columns"
            )


@dataclass(frozen=True)
class SplitConfig:
    """Which images are learnt from, which choose, and which are for the report.

    Attributes:
        kind: ``given``, the split of the table itself, or ``seeded``, at random without separating groups.
        file: a split written by :func:`foveal.ratings.splits.write_split`, relative to the recipe's folder.
            Its parts replace those of the table for the images that it names.
        validation: share of the training part that is held out for choices, where there is no validation
            part by then.
        test: share of all images that a ``seeded`` split keeps for the report; may be 0.
        seed: of the draw.
        limit: at most so many training images, drawn by the seed; 0 takes all. For short runs.
        validation_limit: likewise of the validation part.
    """

    kind: Literal["given", "seeded"] = "seeded"
    file: str | None = None
    validation: float = 0.1
    test: float = 0.0
    seed: int = 0
    limit: int = 0
    validation_limit: int = 0

    def __post_init__(self) -> None:
        if self.kind == "seeded" and self.file is not None:
            raise ValueError("a seeded split is drawn, not read: leave file out, or set kind to 'given'")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation is {self.validation}, expected above 0 and below 1")
        if not 0 <= self.test < 1:
            raise ValueError(f"test is {self.test}, expected 0 to below 1")
        if self.kind == "given" and self.test:
            raise ValueError("a given split has its own test part: leave test out, or set kind to 'seeded'")
        for name in ("seed", "limit", "validation_limit"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")


@dataclass(frozen=True)
class BackboneConfig:
    """The pretrained vision transformer.

    Attributes:
        name: a folder (relative to the recipe's, or as it stands), a known name, or a Hub id.
        revision: commit on the Hub; by default the pinned one.
        tuning: what of it is trained; by default nothing.
        attention: how its attention is computed. ``eager`` is the fastest to train on CPUs in bf16.
    """

    name: str
    revision: str | None = None
    tuning: TuningMode = field(default_factory=TuningMode)
    attention: Attention = "sdpa"


@dataclass(frozen=True)
class CardConfig:
    """What goes onto the card of the exported assessor.

    Attributes:
        name: lower-case name.
        version: of the weights.
        licence: SPDX identifier of the weights.
        summary: one line.
        training_data: what it has seen.
    """

    name: str = "my-assessor"
    version: str = "0.1"
    licence: str = "unstated"
    summary: str = ""
    training_data: str = ""

    def __post_init__(self) -> None:
        # What the exported file would refuse is refused now, not after hours of training.
        Card(
            name=self.name,
            version=self.version,
            licence=self.licence,
            summary=self.summary,
            training_data=self.training_data,
            views={"whole": ViewSpec("whole")},
            calibration=Calibration(coverage=0.9, factor=1.0, count=0),
        )


@dataclass(frozen=True, kw_only=True)
class _Tables:
    """Tables of the file whose fields do not depend on the kind of model."""

    ratings: RatingsConfig
    backbone: BackboneConfig
    split: SplitConfig = field(default_factory=SplitConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    fine_backbone: BackboneConfig | None = None
    text_backbone: BackboneConfig | None = None
    targets: tuple[str, ...] = ("quality",)
    start: str | None = None
    card: CardConfig = field(default_factory=CardConfig)

    def __post_init__(self) -> None:
        check_targets(self.targets)
        if self.text_backbone is not None and self.text_backbone.tuning != TuningMode():
            raise ValueError("text_backbone.tuning: text encoders stay frozen; leave it out")


@dataclass(frozen=True, kw_only=True)
class _File(_Tables):
    """The file as it stands: which fields its model has depends on the kind."""

    model: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Recipe(_Tables):
    """All that a run depends on, but for the weights of the backbone and the images.

    Attributes:
        ratings: what is learnt from.
        backbone: the pretrained vision transformer.
        fine_backbone: another one for the second stream of models that have two; by default the same one.
        text_backbone: the text encoder of models that read prompts or level names.
        split: which images are learnt from.
        training: how.
        targets: score columns, quality first.
        start: a trained model on the same backbone, whose weights the model begins with: the name of a
            shipped one, or a folder (relative to the recipe's, or as it stands). What the model has beyond
            them begins as usual.
        card: of the exported assessor.
        model: what stands on the backbone: a name of :data:`foveal.lab.models.registry.MODELS`.
        options: of the model: its configuration.
        folder: where relative paths begin: the folder of the recipe's file.
    """

    model: str
    options: Any
    folder: Path = Path()


def check_targets(targets: Sequence[str]) -> None:
    """Refuse score columns that no model can have.

    Raises:
        ValueError: there are none, the first is not ``quality``, or one stands twice.
    """
    if tuple(targets[:1]) != ("quality",) or len(set(targets)) < len(targets):
        raise ValueError(f"targets are {list(targets)}, expected 'quality' first and each one once")


def read_recipe(path: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        path: a TOML file.
        changes: values that replace those of the file, by dotted name: ``{"training.epochs": 3}``.

    Raises:
        RecipeError: the file is missing, is not TOML, or a field is unknown, missing or wrong.
    """
    path = Path(path)
    values = read_toml(path)
    try:
        return recipe_from(changed(values, changes or {}), path.parent)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def recipe_from(values: Mapping[str, Any], folder: Path = Path()) -> Recipe:
    """Make a recipe from tables.

    Args:
        values: as read from TOML.
        folder: where relative paths begin.

    Raises:
        RecipeError: a field is unknown, missing or wrong.
    """
    tables = dict(vars(build(_File, values, "")))
    model = dict(tables.pop("model"))
    if "kind" not in model:
        raise RecipeError("model.kind: missing; it has no default")
    kind = model.pop("kind")
    if not isinstance(kind, str) or kind not in MODELS:
        raise RecipeError(f"model.kind: {kind!r} is not one of {', '.join(map(repr, MODELS))}")
    options: Any = build(MODELS[kind].config, model, "model")
    return Recipe(**tables, model=kind, options=options, folder=folder)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        RecipeError: it is missing, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as TOML: {error}") from error


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others put in by their dotted names.

    Raises:
        RecipeError: a name leads through something that is not a table.
    """
    result = dict(values)
    for name, value in changes.items():
        first, _, rest = name.partition(".")
        if rest:
            inner = result.get(first, {})
            if not isinstance(inner, Mapping):
                raise RecipeError(f"{first}: expected a table, found {inner!r}")
            result[first] = changed(inner, {rest: value})
        else:
            result[first] = value
    return result
