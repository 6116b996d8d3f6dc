"""Fetch the images that a request names by URL; what comes in is counted while it comes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from foveal.service.batcher import Pool
from foveal.service.errors import ServiceError, of_image
from foveal.service.fetch import Fetcher
from foveal.service.intake import Item
from foveal.service.limits import Held
from foveal.service.settings import MIB


async def fetched(
    items: Sequence[Item], fetcher: Fetcher, pool: Pool[bytes], held: Held, *, most: int
) -> list[Item]:
    """The same images, those with a URL fetched or with the error of it.

    Args:
        items: of one request.
        fetcher: fetches.
        pool: where.
        held: of the request.
        most: bytes of all images of the request. Which of them is one too many depends on which comes last.

    Raises:
        QueueFullError: too many are being fetched.
        ServiceError: ``too_busy``: all requests together would keep too much.
    """
    found = list(items)
    wanted = [number for number, item in enumerate(items) if item.url is not None]
    if not wanted:
        return found
    fetch = _Fetch(fetcher, held, most)
    ticket = pool.submit([partial(fetch, items[number].url or "") for number in wanted])
    outcomes = await asyncio.wrap_future(ticket.future)
    for number, outcome in zip(wanted, outcomes, strict=True):
        if isinstance(outcome, bytes):
            found[number] = replace(found[number], url=None, data=outcome)
            continue
        error = of_image(outcome)
        if error.code == "too_busy":
            raise error
        found[number] = replace(found[number], url=None, error=error)
    return found


class _Fetch:
    """Fetches the images of one request, from several threads, as long as all of them are not too large.

    Args:
        fetcher: fetches each.
        held: of the request.
        most: bytes of all its images.
    """

    def __init__(self, fetcher: Fetcher, held: Held, most: int) -> None:
        self._fetcher = fetcher
        self._held = held
        self._most = most
        self._lock = threading.Lock()
        self._count = held.count

    def __call__(self, url: str) -> bytes:
        with self._held.part() as part:
            try:
                return self._fetcher(url, partial(self._add, part))
            except BaseException:
                self._leave(part)
                raise

    def _add(self, part: Held, count: int) -> None:
        """Count bytes that one thread is about to keep."""
        if not self._held.open:
            raise ServiceError("timed_out", "nobody waits for it any more")
        with self._lock:
            too_large = self._count + count > self._most
            self._count += -part.count if too_large else count
        if too_large:
            part.keep(0)  # at once, and not counted a second time: the others may have its room
            raise ServiceError(
                "image_too_large", f"the images of one request have more than {self._most / MIB:.4g} MiB"
            )
        part.add(count)

    def _leave(self, part: Held) -> None:
        with self._lock:
            self._count -= part.count
