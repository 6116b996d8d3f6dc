"""Label files of plain lines: a few words each, without headings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foveal.errors import RatingsError
from foveal.ratings.table import Floats


def read_words(path: Path, count: int) -> tuple[list[str], ...]:
    """Read lines of so many words, separated by blanks, tabs or commas; empty lines are left out.

    Args:
        path: UTF-8, with lines ended in any way.
        count: words a line.

    Returns:
        The columns: ``count`` lists of n words.

    Raises:
        RatingsError: the file cannot be read, is empty, or a line has another number of words.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise RatingsError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise RatingsError(f"{path}: cannot be read: {error}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        words = re.findall(r"[^\s,]+", line)
        if words and len(words) != count:
            raise RatingsError(f"{path}: line {number} has {len(words)} words, expected {count}")
        if words:
            rows.append(words)
    if not rows:
        raise RatingsError(f"{path}: the file has no lines")
    return tuple(list(column) for column in zip(*rows, strict=True))


def to_numbers(words: Sequence[str], path: Path) -> Floats:
    """A column of words as float64 [n].

    Raises:
        RatingsError: a word is not a number.
    """
    values = np.empty(len(words))
    for index, word in enumerate(words):
        try:
            values[index] = float(word.replace("_", "?"))
        except ValueError:
            raise RatingsError(f"{path}: entry {index + 1}: {word!r} is not a number") from None
    return values
