"""Limits on what a request may send: bytes of one and of all while they come, and time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from starlette.requests import Request

from foveal.service.errors import ServiceError
from foveal.service.settings import MIB


class Held:
    """Bytes that one request keeps in memory, or a thread that works for it.

    Attributes:
        count: of them.
        received: bytes of the request's body.
        open: whether the request goes on.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.count = 0
        self.received = 0
        self.open = True

    def add(self, count: int) -> None:
        """Keep more.

        Raises:
            ServiceError: ``too_busy``: all requests together would keep too much. This one is over then, and
                keeps nothing from this moment on: else those behind it would be refused for its sake.
        """
        try:
            self._budget.take(count)
        except ServiceError:
            self.keep(0)
            raise
        self.count += count

    def keep(self, count: int) -> None:
        """Keep only so many of them from now on."""
        self._budget.give_back(self.count - count)
        self.count = count

    @contextmanager
    def part(self) -> Iterator[Held]:
        """Count what a thread keeps while it works for this request.

        In the end that is the request's. It is nobody's if the work fails, or the request has ended before.
        """
        part = Held(self._budget)
        try:
            yield part
        except BaseException:
            part.keep(0)
            raise
        self._budget.hand_over(part, self)


class Budget:
    """How many bytes all requests together may keep. Safe to use from several threads.

    Args:
        limit: in bytes.
        retry_after: asked for the seconds after which there may be room.
    """

    def __init__(self, limit: int, retry_after: Callable[[], float]) -> None:
        self._limit = limit
        self._retry_after = retry_after
        self._lock = threading.Lock()
        self.used = 0

    def take(self, count: int) -> None:
        """Count bytes; see :meth:`Held.add`."""
        with self._lock:
            if self.used + count <= self._limit:
                self.used += count
                return
        raise ServiceError("too_busy", "too many bytes are being worked on", retry_after=self._retry_after())

    def give_back(self, count: int) -> None:
        """Count bytes no more."""
        with self._lock:
            self.used -= count

    def hand_over(self, part: Held, whole: Held) -> None:
        """Count what a part keeps for the whole, or for nobody if that has ended."""
        with self._lock:
            if whole.open:
                whole.count += part.count
            else:
                self.used -= part.count

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """Count for one request, until it ends."""
        held = Held(self)
        try:
            yield held
        finally:
            with self._lock:
                held.open = False
                self.used -= held.count


async def chunks(request: Request, held: Held, *, most: int, seconds: float) -> AsyncIterator[bytes]:
    """The body of a request as it comes.

    Args:
        request: whose body it is. What it says of its length is believed only to refuse it.
        held: counts the bytes.
        most: bytes of the whole body.
        seconds: for the whole body.

    Raises:
        ServiceError: ``body_too_large``, ``body_timeout`` or ``too_busy``.
        ClientDisconnect: the client has gone.
    """
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > most:
        raise _too_large(most)
    stream = request.stream()
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise ServiceError("body_timeout", f"the body did not come within {seconds:g} s") from None
        if chunk is None:
            return
        held.received += len(chunk)
        if held.received > most:
            raise _too_large(most)
        held.add(len(chunk))
        yield chunk


def _too_large(most: int) -> ServiceError:
    return ServiceError("body_too_large", f"the body has more bytes than the limit of {most / MIB:.4g} MiB")
