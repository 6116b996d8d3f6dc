"""One row of results: what a table holds of one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from foveal.assessment import Assessment, Failure
from foveal.errors import ImageError


@dataclass(frozen=True, slots=True)
class Row:
    """One image in a table of results.

    Attributes:
        source: path of the image, as it was found.
        quality: score on the 1-5 scale, higher is better; None where the image could not be judged.
        low: lower end of the prediction interval.
        high: upper end of the prediction interval.
        model: assessor that judged it, ``name@version``.
        warnings: what the reader should know before trusting the score.
        error: why there is no score; None where there is one.
        aspects: further scores by name, of assessors that give them; each has a column of its own. None
            where there is no score: then there is an error, or a warning that says why.
    """

    source: str
    quality: float | None
    low: float | None
    high: float | None
    model: str
    warnings: tuple[str, ...] = ()
    error: str | None = None
    aspects: Mapping[str, float | None] = field(default_factory=dict)


_SCORES, _REST = ("source", "quality", "low", "high"), ("model", "warnings", "error")
COLUMNS = (*_SCORES, *_REST)
"""Column names of every table of results, in order; aspects stand between ``high`` and ``model``."""
_LONGEST_ERROR = 1000


class OtherColumnsError(ValueError):
    """A table of results has the columns of an assessor with other aspects."""


def columns(aspects: Sequence[str] = ()) -> tuple[str, ...]:
    """Column names of a table of results with these aspects, in order.

    Raises:
        ValueError: two columns would have the same name.
    """
    names = (*_SCORES, *aspects, *_REST)
    if len(set(names)) < len(names):
        raise ValueError(f"aspects are {list(aspects)}, expected each once and none of {', '.join(COLUMNS)}")
    return names


def check_columns(found: Sequence[str], aspects: Sequence[str]) -> None:
    """Make sure that a table that was read has the columns of :func:`columns`.

    Raises:
        OtherColumnsError: it is a table of results, but with other aspects.
        ValueError: it is no table of results.
    """
    found, expected = tuple(found), columns(aspects)
    if found == expected:
        return
    if found[: len(_SCORES)] == _SCORES and found[-len(_REST) :] == _REST:
        raise OtherColumnsError(f"columns are {', '.join(found)}, expected {', '.join(expected)}")
    raise ValueError(f"expected {', '.join(expected)}")


def to_row(result: Assessment | Failure, model: str, aspects: Sequence[str] = ()) -> Row:
    """Flatten one result.

    Args:
        result: of the stream of an assessor.
        model: stands in the rows of failures, which do not know it themselves.
        aspects: what the assessor gives beside quality; rows without one of them have None there.

    Raises:
        ValueError: the result has an aspect that is not among them, and would lose it.
    """
    if isinstance(result, Failure):
        empty = dict.fromkeys(aspects)
        return Row(result.source, None, None, None, model, error=error_text(result.error), aspects=empty)
    if not result.aspects.keys() <= set(aspects):
        raise ValueError(f"aspects are {sorted(result.aspects)}, but the row has only {sorted(aspects)}")
    interval = result.interval
    return Row(
        result.source or "",
        result.quality,
        interval.low,
        interval.high,
        result.model,
        tuple(result.warnings),
        aspects={name: result.aspects.get(name) for name in aspects},
    )


def to_values(row: Row, aspects: Sequence[str] = ()) -> dict[str, Any]:
    """A row as one plain value a column, in order."""
    scores = {name: row.aspects.get(name) for name in aspects}
    return {
        "source": row.source,
        "quality": row.quality,
        "low": row.low,
        "high": row.high,
        **scores,
        "model": row.model,
        "warnings": list(row.warnings),
        "error": row.error,
    }


def from_values(values: Mapping[str, Any], aspects: Sequence[str] = ()) -> Row:
    """Make a row from what :func:`to_values` gave."""
    return Row(
        **{**{name: values[name] for name in COLUMNS}, "warnings": tuple(values["warnings"])},
        aspects={name: values[name] for name in aspects},
    )


def error_text(error: Exception) -> str:
    """Say what is wrong without the file's name, which has a column of its own."""
    if isinstance(error, ImageError):
        text = error.reason + (f"; {error.advice}" if error.advice else "")
    else:
        text = str(error) or type(error).__name__
    return text[:_LONGEST_ERROR]
