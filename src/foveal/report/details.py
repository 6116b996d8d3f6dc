"""Why an image looks as it does, as plain values for a page: what is seen and measured, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from foveal.explanation.explainer import Explainer
from foveal.explanation.explanation import Explanation, Seen, Told
from foveal.explanation.picture import overlay, thumbnail
from foveal.explanation.sentences import label, local, moves
from foveal.imaging.decode import decode
from foveal.imaging.limits import Limits
from foveal.imaging.views import Pixels
from foveal.report.thumbnails import jpeg

LONGEST = 480
"""Longer side of an explained picture, in pixels."""


@dataclass(slots=True)
class Details:
    """Explanations of some images.

    Attributes:
        by_key: what the page shows of each; see :func:`described`.
        model: what explained them, ``name@version``; None if nothing did.
        missing: keys of images that could not be explained: gone, or not readable any more.
        full: whether some were left out because they would have made the page too large.
        problem: why there are no explanations though they were wanted; None if there are.
    """

    by_key: dict[int, dict[str, Any]] = field(default_factory=dict)
    model: str | None = None
    missing: set[int] = field(default_factory=set)
    full: bool = False
    problem: str | None = None

    @property
    def size(self) -> int:
        """Characters of all pictures, which is nearly all that there is."""
        return sum(map(_size, self.by_key.values()))


def explain_all(
    explainer: Explainer,
    wanted: Iterable[tuple[int, str]],
    *,
    limits: Limits,
    budget: int,
    advance: Callable[[], None] = lambda: None,
) -> Details:
    """Explain images one after another; one that fails is counted and stops nothing.

    Args:
        explainer: looks, describes, judges.
        wanted: key and path of each, the most important first.
        limits: sizes of images that are accepted.
        budget: characters that all pictures may take together.
        advance: called after each image.
    """
    found = Details(model=explainer.card.model)
    for key, source in wanted:
        try:
            decoded = decode(source, limits=limits)
            one = described(explainer(decoded, name=source), decoded.pixels)
        except Exception:  # as for thumbnails: the score stands
            found.missing.add(key)
        else:
            budget -= _size(one)
            if budget < 0:
                found.full = True
                break
            found.by_key[key] = one
        advance()
    return found


def described(explanation: Explanation, pixels: Pixels) -> dict[str, Any]:
    """What a page shows of an explanation, ready for JSON.

    Args:
        explanation: of the image.
        pixels: the image, uint8 (height, width, 3).
    """
    picture, verdict = thumbnail(pixels, LONGEST), explanation.verdict
    own_map = explanation.assessment.quality_map
    quality_map = explanation.quality_map if own_map is None else own_map
    return {
        "picture": jpeg(picture),
        "map": jpeg(overlay(picture, quality_map)),
        "local": local(quality_map),
        "description": explanation.description,
        "attributes": [_attribute(one) for one in explanation.seen],
        "verdict": [verdict.level, round(verdict.quality, 2)],
        "moves": list(moves(explanation)),
        "disagreements": [one.text for one in explanation.disagreements],
    }


def _size(one: dict[str, Any]) -> int:
    return len(one["picture"]) + len(one["map"])


def _attribute(one: Seen) -> dict[str, Any]:
    return {
        "name": label(one.attribute),
        "polarity": one.polarity,
        "said": _told(one.said),
        "measured": None if one.measured is None else _told(one.measured),
        "differs": one.differs,
    }


def _told(told: Told) -> str:
    return told.phrase if told.place is None else f"{told.phrase} ({told.place})"
