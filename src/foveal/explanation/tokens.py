"""Text to tokens and back: byte-pair encoding on bytes, in plain Python.

The ``tokenizers`` library is not needed to explain; this gives the same tokens as its byte-level models whose
words are cut by :data:`WORDS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

WORDS = r" ?[A-Za-z]+| ?[^A-Za-z \n]+| +|\n"
"""Text is cut into words by this before bytes are merged within each: a word has its space before it.

Only ASCII letters are told apart: so every library reads the pattern alike, whichever Unicode it knows.
"""

_WORDS = re.compile(WORDS)
_MOST_REMEMBERED = 10_000


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level byte-pair encoding.

    Attributes:
        tokens: by number, bytes written as in :func:`byte_marks`; special ones as they are.
        merges: pairs of tokens that become one, the first learnt first.
        special: tokens that stand for themselves wherever their text is met, and are left out when decoded.
    """

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    special: tuple[str, ...]

    def __post_init__(self) -> None:
        known = set(self.tokens)
        if len(known) < len(self.tokens):
            raise ValueError("a token is there twice")
        lacking = [token for token in (*byte_marks(), *self.special) if token not in known]
        lacking += [first + second for first, second in self.merges if first + second not in known]
        if lacking:
            raise ValueError(f"{len(lacking)} tokens are missing, such as {lacking[0]!r}")

    def number(self, token: str) -> int:
        """Number of a token.

        Raises:
            ValueError: there is no such token.
        """
        if token not in self._numbers:
            raise ValueError(f"there is no token {token!r}")
        return self._numbers[token]

    def encode(self, text: str) -> list[int]:
        """Numbers of a text's tokens.

        Raises:
            UnicodeEncodeError: the text holds half a surrogate pair.
        """
        found: list[int] = []
        for part in self._parts.split(text) if self.special else [text]:
            if part in self.special:
                found.append(self._numbers[part])
            else:
                for word in _WORDS.findall(part):
                    found += self._merged(word)
        return found

    def decode(self, numbers: Iterable[int]) -> str:
        """Text of tokens; special ones are left out, and bytes that are not UTF-8 become U+FFFD."""
        told = (self.tokens[number] for number in numbers)
        marks = "".join(token for token in told if token not in self.special)
        return bytes(_bytes_by_mark()[mark] for mark in marks).decode("utf-8", "replace")

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        return {pair: rank for rank, pair in enumerate(self.merges)}

    @cached_property
    def _parts(self) -> re.Pattern[str]:
        return re.compile("(" + "|".join(map(re.escape, self.special)) + ")")

    @cached_property
    def _known_words(self) -> dict[str, list[int]]:
        return {}

    def _merged(self, word: str) -> list[int]:
        """Tokens of a word, remembered: descriptions and their edits say much the same."""
        known = self._known_words.get(word)
        if known is None:
            pieces = merge([byte_marks()[byte] for byte in word.encode()], self._ranks)
            known = [self._numbers[piece] for piece in pieces]
            if len(self._known_words) < _MOST_REMEMBERED:
                self._known_words[word] = known
        return known


def merge(pieces: Sequence[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Merge neighbours, the pair that was learnt first before others, and of equals the leftmost.

    Source: Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units",
    ACL 2016, algorithm 1.
    """
    merged = list(pieces)
    while len(merged) > 1:
        pairs = pairwise(merged)
        rank, place = min((ranks.get(pair, len(ranks)), place) for place, pair in enumerate(pairs))
        if rank == len(ranks):
            break
        merged[place : place + 2] = [merged[place] + merged[place + 1]]
    return merged


@lru_cache(maxsize=1)
def byte_marks() -> tuple[str, ...]:
    """A letter for each byte, so that vocabularies can be read: that of GPT-2 (Radford et al. 2019).

    Bytes that are visible in Latin-1 are themselves; the others are U+0100 and what follows, in order.
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in visible else next(others)) for byte in range(256))


@lru_cache(maxsize=1)
def _bytes_by_mark() -> dict[str, int]:
    return {mark: byte for byte, mark in enumerate(byte_marks())}
