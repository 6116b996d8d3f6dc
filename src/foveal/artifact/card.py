"""The card of an assessor: what it is, what its score means, what it was trained on and how well it does."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, TypeVar

from foveal.assessment import HIGHEST, LOWEST
from foveal.imaging.views import GRID, SIDE

DIRECTION = "higher is better"
VIEW_KINDS = ("whole", "fragments", "crop")
_T = TypeVar("_T")
_LARGEST_VIEW = 4096
_MOST_DRAWS = 1000
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ASPECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_PROMPT = 4096

PROMPT_IDS, PROMPT_MASK = "prompt_ids", "prompt_mask"
"""Inputs of a graph that reads prompts, int64 (images, length) each; the mask is 1 for tokens of the text."""
NO_ASPECTS = frozenset(
    {"quality", "spread", "quality_map", "source", "low", "high", "model", "warnings", "error"}
)
"""Names that no aspect may have: other outputs of a graph, and columns of every table of results."""


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """What one input of the graph is fed with.

    Attributes:
        kind: ``whole`` (the image resized), ``fragments`` (spliced native-resolution crops) or ``crop`` (one
            native-resolution square from the centre).
        side: side of the square view in pixels; for fragments a multiple of the grid's 7.
        draw: number of the draw of fragments: several inputs may look at different ones.
    """

    kind: str
    side: int = SIDE
    draw: int = 0

    def __post_init__(self) -> None:
        if self.kind not in VIEW_KINDS:
            raise ValueError(
                f"unknown kind of view {self.kind!r}, this version knows {', '.join(VIEW_KINDS)}"
            )
        _require_whole("side of a view", self.side, GRID, _LARGEST_VIEW)
        if self.kind == "fragments" and self.side % GRID:
            raise ValueError(f"side of a fragments view is {self.side}, expected a multiple of {GRID}")
        _require_whole("draw of a view", self.draw, 0, _MOST_DRAWS)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Split-conformal calibration of the interval: quality -/+ factor * spread.

    Attributes:
        coverage: share of images that the interval is meant to cover, in (0, 1).
        factor: multiplies the spread that the graph gives; not negative.
        count: images that calibrated it.
        measured_coverage: share covered on images that calibrated nothing; None if not measured.
        method: how it was calibrated.
    """

    coverage: float
    factor: float
    count: int
    measured_coverage: float | None = None
    method: str = "split conformal"

    def __post_init__(self) -> None:
        _require_number("calibration coverage", self.coverage, 0.0, 1.0)
        _require_number("calibration factor", self.factor, 0.0, math.inf)
        _require_whole("calibration count", self.count, 0)
        if self.measured_coverage is not None:
            _require_number("measured coverage", self.measured_coverage, 0.0, 1.0)
        _require_text("calibration method", self.method)


@dataclass(frozen=True, slots=True)
class SideRange:
    """Longest sides, in pixels, of the images that an assessor was trained on."""

    min_side: int
    max_side: int

    def __post_init__(self) -> None:
        _require_whole("min_side", self.min_side, 1)
        _require_whole("max_side", self.max_side, self.min_side)


@dataclass(frozen=True, slots=True)
class AspectSpec:
    """A further score beside quality, on the same scale.

    Attributes:
        needs_prompt: it cannot be judged without the text that the image was made from.
    """

    needs_prompt: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.needs_prompt, bool):
            raise ValueError(f"needs_prompt is {self.needs_prompt!r}, expected true or false")


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """How an assessor reads prompts.

    Attributes:
        length: tokens that the graph takes, special ones included; longer prompts are cut.
    """

    length: int

    def __post_init__(self) -> None:
        _require_whole("length of prompts", self.length, 1, _LONGEST_PROMPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """All that a user must know of an assessor before trusting it. A malformed card raises ValueError.

    Attributes:
        name: lower-case name, also of its file: letters, digits, dot, dash, underscore.
        version: of the weights.
        licence: SPDX identifier.
        summary: one line.
        training_data: data sets and parts of them that it has seen.
        views: what to feed each input of the graph with, by input name; at least one.
        calibration: of its interval.
        aspects: further scores by name; each is an output of the graph, float32 (images,) on 1-5.
        prompt: how it reads prompts; None if it reads none.
        trained_on: sizes of the training images, for warnings; None if unknown.
        measured: measured figures by label, such as ``BIQ2021 official test SRCC``.
        recipe: what repeats the training.
        created: date, ISO 8601.
        range: lowest and highest quality; always 1 and 5.
        direction: always ``higher is better``.
    """

    name: str
    version: str
    licence: str
    summary: str
    training_data: str
    views: Mapping[str, ViewSpec]
    calibration: Calibration
    aspects: Mapping[str, AspectSpec] = field(default_factory=dict)
    prompt: PromptSpec | None = None
    trained_on: SideRange | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    recipe: str = ""
    created: str = ""
    range: tuple[float, float] = (LOWEST, HIGHEST)
    direction: str = DIRECTION

    def __post_init__(self) -> None:
        for name in ("name", "version", "licence", "summary", "training_data", "recipe", "created"):
            _require_text(name, getattr(self, name))
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} is not of lower-case letters, digits, dots and dashes")
        if not self.version:
            raise ValueError("version is empty")
        if not self.views:
            raise ValueError("a card needs at least one view")
        for label, figure in self.measured.items():
            _require_number(f"measured {label!r}", figure, -math.inf, math.inf)
        if tuple(self.range) != (LOWEST, HIGHEST):
            raise ValueError(f"range is {self.range}, every assessor speaks on {LOWEST:g} to {HIGHEST:g}")
        if self.direction != DIRECTION:
            raise ValueError(f"direction is {self.direction!r}, expected {DIRECTION!r}")
        self._check_aspects()

    def _check_aspects(self) -> None:
        for name, spec in self.aspects.items():
            if not _ASPECT.fullmatch(name):
                raise ValueError(f"aspect {name!r} is not of letters, digits, dots, dashes and underscores")
            if name.lower() in NO_ASPECTS:
                raise ValueError(f"no aspect may be called {name!r}, that name has a meaning already")
            if spec.needs_prompt and self.prompt is None:
                raise ValueError(f"aspect {name!r} needs a prompt, but the card has no prompt")
        taken = {PROMPT_IDS, PROMPT_MASK} & self.views.keys()
        if taken and self.prompt is not None:
            raise ValueError(f"no view may be called {min(taken)!r}, that is where the prompt goes in")

    @property
    def needing_prompt(self) -> tuple[str, ...]:
        """Aspects that cannot be judged without a prompt, sorted."""
        return tuple(name for name in sorted(self.aspects) if self.aspects[name].needs_prompt)

    @property
    def model(self) -> str:
        """Name and version as assessments carry them: ``name@version``."""
        return f"{self.name}@{self.version}"

    def to_json(self) -> str:
        """The card as JSON text, keys sorted."""
        values = asdict(self)
        # Cards without them are the same text as before there were any: the same file has the same checksum.
        for late in ("aspects", "prompt"):
            if not values[late]:
                del values[late]
        return json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a card; fields that this version does not know are passed over.

        Raises:
            ValueError: the text is not JSON, a field is missing, or a value is not what it must be.
        """
        values = _known(cls, json.loads(text))
        views = _mapping("views", values.get("views"))
        values["views"] = {name: _build(ViewSpec, f"view {name!r}", spec) for name, spec in views.items()}
        values["calibration"] = _build(Calibration, "calibration", values.get("calibration"))
        # Before there were aspects, a card could hold any list of names under this heading, and was readable.
        if isinstance(values.get("aspects"), list):
            del values["aspects"]
        aspects = _mapping("aspects", values.get("aspects", {}))
        values["aspects"] = {
            name: _build(AspectSpec, f"aspect {name!r}", spec) for name, spec in aspects.items()
        }
        if values.get("prompt") is not None:
            values["prompt"] = _build(PromptSpec, "prompt", values["prompt"])
        if values.get("trained_on") is not None:
            values["trained_on"] = _build(SideRange, "trained_on", values["trained_on"])
        values["measured"] = _mapping("measured", values.get("measured", {}))
        if "range" in values:
            values["range"] = _pair("range", values["range"])
        return _build(cls, "card", values)


def _build(kind: type[_T], what: str, values: object) -> _T:
    """Make a dataclass from a JSON object, passing over fields it does not know."""
    try:
        return kind(**_known(kind, values))
    except TypeError as error:
        raise ValueError(f"{what} is incomplete: {error}") from error


def _known(kind: type[Any], values: object) -> dict[str, Any]:
    names = {item.name for item in fields(kind)}
    return {key: value for key, value in _mapping(kind.__name__.lower(), values).items() if key in names}


def _mapping(what: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is missing or not a JSON object")
    return value


def _pair(what: str, value: object) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{what} is not a pair of numbers")
    return value[0], value[1]


def _require_text(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{what} is {value!r}, expected text")


def _require_number(what: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{what} is {value!r}, expected a finite number")
    if not low <= value <= high:
        raise ValueError(f"{what} is {value!r}, expected {low:g} to {high:g}")


def _require_whole(what: str, value: object, low: int, high: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{what} is {value!r}, expected a whole number")
    if value < low or (high is not None and value > high):
        raise ValueError(f"{what} is {value}, expected {low} to {'any' if high is None else high}")
