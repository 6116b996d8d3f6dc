"""Judge images one by one in a process of their own, for a partition that has ended the life of its workers.

A picture can make a decoder crash, or take more memory than there is. Then it is a bad file like others: it
becomes a row with an error, and the rest of its partition is judged.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from foveal.assessment import Assessment, Failure
from foveal.assessor import Assessor
from foveal.errors import CorruptImageError
from foveal.imaging.decode import name_of

Judged = Assessment | Failure

_assessor: Assessor | None = None
"""That of the process; set once, when it starts."""


def judged_apart(
    make: Callable[[], Assessor], images: Iterable[Any], prompts: Iterable[str | None]
) -> Generator[Judged, None, None]:
    """Judge images in another process, which is started again when one of them ends it.

    Args:
        make: gives the assessor, in that process.
        images: what it judges, of kinds that can be sent there.
        prompts: one for each; of no account for an assessor that reads none.

    Yields:
        One result an image, in order; a :class:`Failure` for those that ended the process.
    """
    pool = _start(make)
    try:
        for image, prompt in zip(images, prompts, strict=True):
            try:
                yield pool.submit(_judge, image, prompt).result()
            except BrokenProcessPool:
                pool.shutdown()
                pool = _start(make)
                yield Failure(name_of(image), _ended(image))
    finally:
        pool.shutdown(cancel_futures=True)


def _start(make: Callable[[], Assessor]) -> ProcessPoolExecutor:
    # Forking would copy threads' locks in whatever state they are.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_load, initargs=(make,))


def _load(make: Callable[[], Assessor]) -> None:
    global _assessor  # noqa: PLW0603 - a process has one
    _assessor = make()


def _judge(image: Any, prompt: str | None) -> Judged:
    if _assessor is None:
        raise RuntimeError("the process has not been started by judged_apart")
    prompts = None if _assessor.card.prompt is None else [prompt]
    (result,) = _assessor.stream([image], prompts=prompts, workers=1, on_error="yield")
    return result


def _ended(image: Any) -> CorruptImageError:
    return CorruptImageError(
        name_of(image),
        "ended the process that judged it, twice at the least",
        "its decoding crashes or takes more memory than there is; write it again or make it smaller",
    )
