"""Descriptions in words: written from degrees, read back into statements, edited attribute by attribute."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from foveal.explanation.wordings import WORDINGS

TOLD: tuple[str, ...] = (
    "rendering", "scene", "centre", "surroundings", "sharpness", "detail", "noise", "blocking", "banding",
    "motion_blur", "brightness", "contrast", "local_contrast", "highlights", "colourfulness", "haze",
    "clutter",
)  # fmt: skip
"""Attributes that a description tells, in this order."""

# A place behind a phrase. Models forget to close a bracket: it then ends with the phrase.
_PLACE = re.compile(r"^ \([^),.]*\)")
_SENTENCES = (2, 2, 3, 3, 4, 3)
"""How many of them each sentence holds."""


@dataclass(frozen=True)
class Statement:
    """One attribute as a description tells it.

    Attributes:
        attribute: its name, one of :data:`~foveal.explanation.wordings.WORDINGS`.
        degree: 0 (least) upwards; how many there are, its wording says.
        polarity: whether it speaks for the image (1), against it (-1) or neither (0).
        start: first letter of its phrase in the text.
        end: behind its last letter.
    """

    attribute: str
    degree: int
    polarity: int
    start: int
    end: int


def write(
    degrees: Mapping[str, int],
    *,
    phrasing: Sequence[int] = (0,),
    places: Mapping[str, str] | None = None,
) -> str:
    """Describe an image by the degrees of its attributes.

    Args:
        degrees: of each attribute that is to be told; told in the order of :data:`TOLD`.
        phrasing: which way of saying it is taken, for each attribute in turn, begun anew at its end; numbers
            beyond the ways there are count round. ``(0,)`` says everything in the usual way.
        places: where an attribute stands out, such as ``{"sharpness": "strongest in the centre"}``.

    Returns:
        Sentences without any word of verdict.

    Raises:
        ValueError: an attribute has no such degree, or there is nothing to tell.
        KeyError: an attribute is unknown.
    """
    told = [name for name in TOLD if name in degrees] + [name for name in degrees if name not in TOLD]
    if not told:
        raise ValueError("a description needs an attribute to tell of")
    phrases = []
    for number, name in enumerate(told):
        ways = _ways(name, degrees[name])
        phrase = ways[phrasing[number % len(phrasing)] % len(ways)]
        where = (places or {}).get(name)
        phrases.append(f"{phrase} ({where})" if where else phrase)
    return " ".join(_capital(", ".join(group)) + "." for group in _grouped(phrases))


def statements(text: str) -> tuple[Statement, ...]:
    """What a description says of each attribute, in the order of the text.

    The longest phrase wins where one holds another; of an attribute that is told twice, the first counts.
    """
    found: dict[str, Statement] = {}
    for match in _pattern().finditer(text):
        name, degree = _phrases()[match.group().lower()]
        if name not in found:
            polarity = WORDINGS[name].polarity(degree)
            found[name] = Statement(name, degree, polarity, match.start(), match.end())
    return tuple(sorted(found.values(), key=lambda statement: statement.start))


def degrees_of(text: str) -> dict[str, int]:
    """Degree of each attribute that the text tells of."""
    return {statement.attribute: statement.degree for statement in statements(text)}


def edited(text: str, attribute: str, degree: int) -> str:
    """The same description with another degree of one attribute, all else left as it is.

    A place that stood behind the phrase goes with it.

    Raises:
        ValueError: the text does not tell of the attribute, or that has no such degree.
    """
    phrase = _ways(attribute, degree)[0]
    for statement in statements(text):
        if statement.attribute == attribute:
            begins = text[statement.start : statement.start + 1].isupper()
            rest = _PLACE.sub("", text[statement.end :])
            return text[: statement.start] + (_capital(phrase) if begins else phrase) + rest
    raise ValueError(f"the description does not tell of {attribute}")


def _ways(attribute: str, degree: int) -> tuple[str, ...]:
    wording = WORDINGS[attribute]
    if not 0 <= degree < wording.degrees:
        raise ValueError(f"{attribute}: degree is {degree}, expected 0 to {wording.degrees - 1}")
    return wording.written[degree]


def _grouped(phrases: list[str]) -> list[list[str]]:
    groups, start, number = [], 0, 0
    while start < len(phrases):
        count = _SENTENCES[number % len(_SENTENCES)]
        groups.append(phrases[start : start + count])
        start, number = start + count, number + 1
    return groups


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@lru_cache(maxsize=1)
def _phrases() -> dict[str, tuple[str, int]]:
    known: dict[str, tuple[str, int]] = {}
    for name, wording in WORDINGS.items():
        for degree in range(wording.degrees):
            for phrase in (*wording.written[degree], *wording.understood[degree]):
                known.setdefault(phrase.lower(), (name, degree))
    return known


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    longest_first = sorted(_phrases(), key=len, reverse=True)
    return re.compile(
        r"(?<![\w-])(?:" + "|".join(map(re.escape, longest_first)) + r")(?![\w-])", re.IGNORECASE
    )
