"""An explanation in short sentences, the same on pages and terminals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.explanation.explanation import Explanation, WhatIf

GRADES = ("bad", "poor", "fair", "good", "excellent")
"""Names of 1, 2, 3, 4 and 5: the absolute category rating of ITU-T P.910."""

FIRMLY = "how firmly the words decide, not how often they are right"
"""What a verdict's probabilities are: the judge learnt a rule over descriptions, and cannot know how far that
is from the one image's rating."""

_DOWN, _ACROSS = ("at the top", "", "at the bottom"), ("on the left", "", "on the right")
_CORNERS = {
    ("at the top", "on the left"): "at the upper left",
    ("at the top", "on the right"): "at the upper right",
    ("at the bottom", "on the left"): "at the lower left",
    ("at the bottom", "on the right"): "at the lower right",
}


def label(attribute: str) -> str:
    """Name of an attribute for people."""
    return attribute.replace("_", " ")


def grade(quality: float) -> str:
    """Nearest category of a quality on 1-5."""
    return GRADES[min(4, max(0, int(quality - 0.5)))]


def share(probability: float) -> str:
    """A probability in per cent."""
    return f"{probability:.0%}".replace("%", " %")


def moves(explanation: Explanation) -> tuple[str, ...]:
    """Which attribute moves the verdict most, up and down; a sentence for each direction that there is."""
    said = {one.attribute: one.said.phrase for one in explanation.seen}
    found = []
    for verb, change in (("raise", explanation.up), ("lower", explanation.down)):
        if change is not None:
            name = label(change.attribute).capitalize()
            found.append(
                f"{name} could {verb} the verdict most: “{change.phrase}” instead of "
                f"“{said[change.attribute]}” would make it {moved(change)}, “{change.level}”."
            )
    return tuple(found) or ("No single attribute, said otherwise, would move the verdict.",)


def moved(change: WhatIf) -> str:
    """What a verdict would be, and by how much that differs: ``3.45 (+0.62)``, ``3.45 (no change)``."""
    by = f"{change.change:+.2f}" if round(change.change, 2) else "no change"
    return f"{change.quality:.2f} ({by})"


def local(quality_map: NDArray[np.float32]) -> str:
    """Where local quality is lowest and highest."""
    rows, columns = quality_map.shape
    parts = []
    for word, place in (("weakest", int(quality_map.argmin())), ("strongest", int(quality_map.argmax()))):
        row, column = divmod(place, columns)
        value = quality_map[row, column]
        parts.append(f"{word} {value:.2f} {_where(row, rows, column, columns)}")
    return ", ".join(parts)


def _where(row: int, rows: int, column: int, columns: int) -> str:
    down, across = _DOWN[3 * row // rows], _ACROSS[3 * column // columns]
    return _CORNERS.get((down, across), down or across or "in the centre")
