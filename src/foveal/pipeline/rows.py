"""One row of results: what a table holds of one image."""

from __future__ import annotations

from dataclasses import dataclass, fields

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
    """

    source: str
    quality: float | None
    low: float | None
    high: float | None
    model: str
    warnings: tuple[str, ...] = ()
    error: str | None = None


COLUMNS = tuple(field.name for field in fields(Row))
"""Column names of every table of results, in order."""
_LONGEST_ERROR = 1000


def to_row(result: Assessment | Failure, model: str) -> Row:
    """Flatten one result; ``model`` stands in the rows of failures, which do not know it themselves."""
    if isinstance(result, Failure):
        return Row(result.source, None, None, None, model, error=error_text(result.error))
    interval = result.interval
    return Row(
        result.source or "", result.quality, interval.low, interval.high, result.model, tuple(result.warnings)
    )


def error_text(error: Exception) -> str:
    """Say what is wrong without the file's name, which has a column of its own."""
    if isinstance(error, ImageError):
        text = error.reason + (f"; {error.advice}" if error.advice else "")
    else:
        text = str(error) or type(error).__name__
    return text[:_LONGEST_ERROR]
