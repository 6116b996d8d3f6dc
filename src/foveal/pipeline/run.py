"""Score many images into a table."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Literal, Protocol

from foveal.assessment import Assessment, Failure
from foveal.pipeline.discover import unique
from foveal.pipeline.sinks import Sink


class ImageStream(Protocol):
    """What scoring many images needs of an assessor (:class:`foveal.assessor.Assessor`)."""

    def stream(
        self,
        images: Iterable[str],
        *,
        workers: int | None = None,
        on_error: Literal["raise", "yield"] = "raise",
    ) -> Iterator[Assessment | Failure]:
        """Judge images one after another, in order."""


def score_many(
    assessor: ImageStream, sources: Iterable[str], sink: Sink | None = None, *, workers: int | None = None
) -> Generator[Assessment | Failure, None, None]:
    """Score images, each once, and write every result before giving it.

    Args:
        assessor: judges the images.
        sources: paths; read lazily, so they may be without end.
        sink: table that gets a row for each; images that have a row in it already are passed over.
        workers: threads that decode; by default as the assessor chooses.

    Yields:
        The results of the images judged now, in order; an unreadable file is a :class:`Failure`.

    Raises:
        OutputError: the table cannot be written.
    """
    for result in assessor.stream(pending(sources, sink), workers=workers, on_error="yield"):
        if sink is not None:
            sink.append(result)
        yield result


def pending(sources: Iterable[str], sink: Sink | None) -> Iterator[str]:
    """Give the sources still to be scored: each once, without those that have their row."""
    return (source for source in unique(sources) if sink is None or source not in sink)
