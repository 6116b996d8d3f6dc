"""How descriptions are read and edited: what the diagnostics need to know of attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from foveal.lab.reasoning.levels import Floats


class Stated(Protocol):
    """What one statement of a description says."""

    @property
    def attribute(self) -> str:
        """Name of the attribute."""

    @property
    def degree(self) -> int:
        """From 0, none of it, to the attribute's most."""

    @property
    def polarity(self) -> int:
        """Whether that speaks for quality (+1), against it (-1), or neither (0)."""


@dataclass(frozen=True, eq=False)
class Parser:
    """A parser of descriptions and its inverse.

    Attributes:
        statements: text to the statements in it.
        edited: ``edited(text, attribute, degree)``, the text with that attribute's statement replaced; raises
            ValueError where the attribute is not mentioned.
        merits: whether more of an attribute is better (+1), worse (-1), or neither (0).
        most: highest degree of each attribute; 0 is the lowest.
        kinds: what kind of attribute each is, where there are kinds that should be told apart.
    """

    statements: Callable[[str], Sequence[Stated]]
    edited: Callable[[str, str, int], str]
    merits: Mapping[str, int]
    most: Mapping[str, int]
    kinds: Mapping[str, str] = field(default_factory=dict)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names, in the order of the columns of :meth:`degrees`."""
        return tuple(self.merits)

    def degrees(self, texts: Sequence[str]) -> Floats:
        """What texts say of each attribute: float64 (texts, attributes), NaN where nothing.

        Where an attribute is mentioned twice, the first statement counts.
        """
        column = {name: place for place, name in enumerate(self.attributes)}
        table = np.full((len(texts), len(column)), np.nan)
        for row, text in enumerate(texts):
            for one in self.statements(text):
                place = column.get(one.attribute)
                if place is not None and np.isnan(table[row, place]):
                    table[row, place] = one.degree
        return table

    def tones(self, texts: Sequence[str]) -> Floats:
        """Sum of the polarities of each text's statements: float64 (texts,)."""
        return np.array([float(sum(one.polarity for one in self.statements(text))) for text in texts])


def own_parser() -> Parser:
    """The parser of this package, for the vocabulary in which its models learn to describe."""
    from foveal.explanation.wordings import WORDINGS
    from foveal.explanation.words import edited, statements

    merits = {name: one.merit for name, one in WORDINGS.items()}
    most = {name: one.degrees - 1 for name, one in WORDINGS.items()}
    kinds = {name: "measured" if one.measured else "impressions" for name, one in WORDINGS.items()}
    return Parser(statements, edited, merits, most, kinds)
