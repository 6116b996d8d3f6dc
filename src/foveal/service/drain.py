"""The life of a service: starting, ready, draining. It knows what is at work, and waits for it at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from foveal.service.errors import ServiceError

_T = TypeVar("_T")
_RETRY_AT_START = 1.0
_RETRY_ELSEWHERE = 5.0


class Life:
    """Whether a service takes work. Used by one event loop.

    Attributes:
        warm: the models are.
        at_work: requests whose body has come and whose answer has not been made.
        refused: requests whose body had begun to come, and was not waited for.
        cut: requests whose work was not waited for.
    """

    def __init__(self) -> None:
        self.warm = False
        self.at_work = 0
        self.refused = self.cut = 0
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = asyncio.Event()
        self._over = asyncio.Event()

    @property
    def draining(self) -> bool:
        """Whether it is about to end."""
        return self._draining.is_set()

    def check(self) -> None:
        """See whether new work is welcome.

        Raises:
            ServiceError: ``starting`` or ``draining``.
        """
        if self.draining:
            raise draining(headers={"Connection": "close"})
        if not self.warm:
            raise ServiceError("starting", "the models are not warm yet", retry_after=_RETRY_AT_START)

    async def coming(self, body: Coroutine[Any, Any, _T]) -> _T:
        """Read a body, unless the service is about to end before it is there: another one can have it.

        Raises:
            ServiceError: ``draining``. The connection stays open, so that the client can end its body and
                read this: closed with bytes on their way, it would be reset.
        """
        with self._busy():
            try:
                return await _before(self._draining, body)
            except _EndedError:
                self.refused += 1
                raise draining() from None

    async def done(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do the work of a request, unless the grace of the end runs out before it is done.

        Raises:
            ServiceError: ``draining``.
        """
        with self._busy():
            self.at_work += 1
            try:
                return await _before(self._over, work)
            except _EndedError:
                self.cut += 1
                raise draining(headers={"Connection": "close"}) from None
            finally:
                self.at_work -= 1

    @contextmanager
    def _busy(self) -> Iterator[None]:
        self._open += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def _until_idle(self) -> None:
        # Looked at again: a body that came just in time is work by now.
        while self._open:
            await self._idle.wait()

    async def drain(self, grace: float, lame_duck: float) -> bool:
        """Refuse new work and bodies that are still coming, and wait until none is at work.

        Args:
            grace: seconds to wait at most; work that is not done by then ends without a result.
            lame_duck: seconds to wait at least.

        Returns:
            Whether all work was finished.
        """
        self._draining.set()
        pause = asyncio.create_task(asyncio.sleep(lame_duck))
        try:
            async with asyncio.timeout(grace):
                await self._until_idle()
        except TimeoutError:
            pass
        await pause
        self._over.set()
        await self._until_idle()
        return not self.cut


def draining(headers: Mapping[str, str] | None = None) -> ServiceError:
    """The error for what a service that is about to end does not do any more."""
    return ServiceError(
        "draining", "the service is about to end", retry_after=_RETRY_ELSEWHERE, headers=headers
    )


class _EndedError(Exception):
    """The end came before the work was done."""


async def _before(end: asyncio.Event, work: Coroutine[Any, Any, _T]) -> _T:
    """Do work, or cancel it when the end comes first."""
    task = asyncio.ensure_future(work)
    ending = asyncio.ensure_future(end.wait())
    try:
        await asyncio.wait({task, ending}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise _EndedError
    finally:
        task.cancel()
        ending.cancel()
        del task  # holds what it raised, whose traceback holds this frame
