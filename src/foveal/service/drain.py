"""The life of a service: starting, ready, draining. It knows what is at work, and waits for it at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from foveal.service.errors import ServiceError

_RETRY_AT_START = 1.0
_RETRY_ELSEWHERE = 5.0


class Life:
    """Whether a service takes work. Used by one event loop."""

    def __init__(self) -> None:
        self.warm = False
        self.draining = False
        self.at_work = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def work(self) -> Iterator[None]:
        """Count a request while it is at work.

        Raises:
            ServiceError: ``starting`` or ``draining``.
        """
        if self.draining:
            raise ServiceError(
                "draining",
                "the service is about to end",
                retry_after=_RETRY_ELSEWHERE,
                headers={"Connection": "close"},
            )
        if not self.warm:
            raise ServiceError("starting", "the models are not warm yet", retry_after=_RETRY_AT_START)
        self.at_work += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.at_work -= 1
            if not self.at_work:
                self._idle.set()

    async def drain(self, grace: float, lame_duck: float) -> bool:
        """Refuse new work, and wait until none is at work.

        Args:
            grace: seconds to wait at most.
            lame_duck: seconds to wait at least.

        Returns:
            Whether all work was finished.
        """
        self.draining = True
        pause = asyncio.create_task(asyncio.sleep(lame_duck))
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            pass
        await pause
        return not self.at_work
