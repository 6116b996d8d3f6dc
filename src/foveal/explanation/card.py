"""The card of an explainer: what it is, what it was trained on and how far it can be trusted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainerCard:
    """What a user must know of an explainer. A malformed card raises ValueError.

    Attributes:
        name: lower-case name: letters, digits, dot, dash, underscore.
        version: of the weights.
        licence: SPDX identifier.
        summary: one line.
        training_data: data sets and parts of them that it has seen.
        measured: measured figures by label, such as ``verdict SRCC on the BIQ2021 official test``.
        recipe: what repeats the training.
        created: date, ISO 8601.
    """

    name: str
    version: str
    licence: str
    summary: str
    training_data: str
    measured: Mapping[str, float] = field(default_factory=dict)
    recipe: str = ""
    created: str = ""

    def __post_init__(self) -> None:
        for name in ("name", "version", "licence", "summary", "training_data", "recipe", "created"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected text")
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} is not of lower-case letters, digits, dots and dashes")
        if not self.version:
            raise ValueError("version is empty")
        if not isinstance(self.measured, Mapping):
            raise ValueError("measured is not a table of figures")
        for label, figure in self.measured.items():
            if not _is_number(figure):
                raise ValueError(f"measured {label!r} is {figure!r}, expected a finite number")

    @property
    def model(self) -> str:
        """Name and version as explanations carry them: ``name@version``."""
        return f"{self.name}@{self.version}"

    def to_json(self) -> str:
        """The card as JSON text, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a card; fields that this version does not know are passed over.

        Raises:
            ValueError: the text is not JSON, a field is missing, or a value is not what it must be.
        """
        values: Any = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("the card is not a JSON object")
        known = {one.name for one in fields(cls)}
        try:
            return cls(**{name: value for name, value in values.items() if name in known})
        except TypeError as error:
            raise ValueError(f"the card is incomplete: {error}") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
