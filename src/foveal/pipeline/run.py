"""Score many images into a table."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from itertools import tee
from typing import Literal, Protocol

from foveal.assessment import Assessment, Failure
from foveal.pipeline.discover import unique
from foveal.pipeline.prompts import FoundPrompts
from foveal.pipeline.sinks import Sink


class ImageStream(Protocol):
    """What scoring many images needs of an assessor (:class:`foveal.assessor.Assessor`)."""

    def stream(
        self,
        images: Iterable[str],
        *,
        prompts: Iterable[str | None] | str | None = None,
        workers: int | None = None,
        on_error: Literal["raise", "yield"] = "raise",
    ) -> Iterator[Assessment | Failure]:
        """Judge images one after another, in order."""


def score_many(
    assessor: ImageStream,
    sources: Iterable[str],
    sink: Sink | None = None,
    *,
    prompts: FoundPrompts | str | None = None,
    workers: int | None = None,
) -> Generator[Assessment | Failure, None, None]:
    """Score images, each once, and write every result before giving it.

    Args:
        assessor: judges the images.
        sources: paths; read lazily, so they may be without end.
        sink: table that gets a row for each; images that have a row in it already are passed over.
        prompts: one for all images, empty to judge without, or those of a table; then an image without a row
            in that table is a :class:`Failure`.
        workers: threads that decode; by default as the assessor chooses.

    Yields:
        The results of the images judged now, in order; an unreadable file is a :class:`Failure`.

    Raises:
        OutputError: the table cannot be written.
        PromptError: the assessor needs prompts, or reads none.
    """
    for result in _judged(assessor, pending(sources, sink), prompts, workers):
        if sink is not None:
            sink.append(result)
        yield result


def _judged(
    assessor: ImageStream, sources: Iterator[str], prompts: FoundPrompts | str | None, workers: int | None
) -> Iterator[Assessment | Failure]:
    if prompts is None:
        return assessor.stream(sources, workers=workers, on_error="yield")
    if isinstance(prompts, str):
        return assessor.stream(sources, prompts=prompts, workers=workers, on_error="yield")
    return _judged_by_table(assessor, sources, prompts, workers)


def _judged_by_table(
    assessor: ImageStream, sources: Iterator[str], prompts: FoundPrompts, workers: int | None
) -> Iterator[Assessment | Failure]:
    """Judge the images that have a row, and put the failures of the others where they belong."""
    taken: deque[tuple[str, str | None]] = deque()

    def known() -> Iterator[tuple[str, str]]:
        for source in sources:
            prompt = prompts.get(source)
            taken.append((source, prompt))
            if prompt is not None:
                yield source, prompt

    def unknown() -> Iterator[Failure]:
        while taken and taken[0][1] is None:
            yield prompts.failure(taken.popleft()[0])

    first, second = tee(known())
    images, texts = (source for source, _ in first), (prompt for _, prompt in second)
    for result in assessor.stream(images, prompts=texts, workers=workers, on_error="yield"):
        yield from unknown()
        taken.popleft()
        yield result
    yield from unknown()


def pending(sources: Iterable[str], sink: Sink | None) -> Iterator[str]:
    """Give the sources still to be scored: each once, without those that have their row."""
    return (source for source in unique(sources) if sink is None or source not in sink)
