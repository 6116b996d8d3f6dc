"""What an explainer says of one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.assessment import Assessment, Interval


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a description alone.

    Attributes:
        level: likeliest level word.
        value: what that word is worth on 1-5, higher is better.
        quality: expected value of all level words, on the same scale.
        probabilities: of each level word, from best to worst; they add up to 1.
    """

    level: str
    value: float
    quality: float
    probabilities: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "level": self.level,
            "value": self.value,
            "quality": self.quality,
            "probabilities": dict(self.probabilities),
        }


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The verdict if one attribute had been described otherwise, and all else as it was.

    Attributes:
        attribute: which one.
        degree: what is said of it instead: 0 is the least; see ``WORDINGS`` for the most.
        phrase: the same in words.
        quality: what the verdict would be, expected value on 1-5.
        change: by how much that differs from the verdict as it is; above 0 is better.
        level: likeliest level word then.
    """

    attribute: str
    degree: int
    phrase: str
    quality: float
    change: float
    level: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "attribute": self.attribute,
            "degree": self.degree,
            "phrase": self.phrase,
            "quality": self.quality,
            "change": self.change,
            "level": self.level,
        }


@dataclass(frozen=True, slots=True)
class Told:
    """What was said of an attribute, or what a meter reads.

    Attributes:
        degree: 0 (least) to 4 (most), of an impression to 8.
        phrase: the same in words.
        place: where it stands out; None if nothing is said of that.
        value: a meter's number, in its own unit; None of what was said.
    """

    degree: int
    phrase: str
    place: str | None = None
    value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        own = {"degree": self.degree, "phrase": self.phrase, "place": self.place}
        return own if self.value is None else own | {"value": self.value}


@dataclass(frozen=True, slots=True)
class Seen:
    """One attribute of an image.

    Attributes:
        attribute: its name.
        polarity: whether what is said of it speaks for the image (1), against it (-1) or neither (0).
        said: what the description says.
        measured: what a meter reads; None where no formula measures it.
        differs: whether the two lie two degrees apart or more.
        what_if: verdicts if something else had been said, by degree.
    """

    attribute: str
    polarity: int
    said: Told
    measured: Told | None
    differs: bool
    what_if: tuple[WhatIf, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "attribute": self.attribute,
            "polarity": self.polarity,
            "said": self.said.to_dict(),
            "measured": None if self.measured is None else self.measured.to_dict(),
            "differs": self.differs,
            "what_if": [one.to_dict() for one in self.what_if],
        }


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two parts of an explanation that do not fit together.

    Attributes:
        kind: ``verdict-score``, ``description-verdict`` or ``said-measured``.
        text: a sentence for people.
        attribute: of which attribute, if of one.
    """

    kind: str
    text: str
    attribute: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"kind": self.kind, "text": self.text, "attribute": self.attribute}


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """The score of one image, and reasons. All qualities lie on the 1-5 scale; higher is better.

    Attributes:
        assessment: score and interval of the assessor, which looks at the image and knows no words.
        description: what is seen, in words.
        seen: the same by attribute, in the order of the description.
        verdict: what follows from the description alone.
        up: the one change of an attribute that would raise the verdict most; None if none would.
        down: the one that would lower it most; None if none would.
        quality_map: local quality, float32 (rows, columns): places of the image in a regular grid.
        disagreements: what does not fit together; empty if all does.
        model: name and version of the explainer, ``name@version``.
        warnings: what the reader should know before trusting any of it.
    """

    assessment: Assessment
    description: str
    seen: tuple[Seen, ...]
    verdict: Verdict
    up: WhatIf | None
    down: WhatIf | None
    quality_map: NDArray[np.float32]
    disagreements: tuple[Disagreement, ...]
    model: str
    warnings: tuple[str, ...]

    @property
    def source(self) -> str | None:
        """Name of the image, where it has one."""
        return self.assessment.source

    @property
    def quality(self) -> float:
        """Predicted mean opinion score, 1 (bad) to 5 (excellent)."""
        return self.assessment.quality

    @property
    def interval(self) -> Interval:
        """Prediction interval around the quality."""
        return self.assessment.interval

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "source": self.source,
            "quality": self.quality,
            "interval": [self.interval.low, self.interval.high],
            "coverage": self.interval.coverage,
            "description": self.description,
            "verdict": self.verdict.to_dict(),
            "attributes": [one.to_dict() for one in self.seen],
            "up": None if self.up is None else self.up.to_dict(),
            "down": None if self.down is None else self.down.to_dict(),
            "map": [[round(float(value), 4) for value in row] for row in self.quality_map],
            "disagreements": [one.to_dict() for one in self.disagreements],
            "warnings": list(self.warnings),
            "model": self.model,
            "assessor": self.assessment.model,
        }
