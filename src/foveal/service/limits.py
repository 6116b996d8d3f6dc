"""Limits on what a request may send: bytes while they come, time, and the shape of JSON."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request

from foveal.service.errors import ServiceError
from foveal.service.settings import MIB

_JSON_PARTS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.S)
"""Strings, which may hold brackets, and brackets. Reads no byte twice: possessive, and a string without an
end runs to the end of the body."""
_JSON_MARKS = (b",", b"[", b"{", b":", b'"')
_MARKS_EACH = 32
"""Of them an image's entry may hold so many, apart from those in its texts; it needs twenty."""


class Held:
    """Bytes that one request keeps in memory."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.count = 0

    def add(self, count: int) -> None:
        """Keep more.

        Raises:
            ServiceError: ``too_busy``: all requests together would keep too much.
        """
        self._budget.take(count)
        self.count += count


class Budget:
    """How many bytes all requests together may keep. Used by one event loop.

    Args:
        limit: in bytes.
        retry_after: asked for the seconds after which there may be room.
    """

    def __init__(self, limit: int, retry_after: Callable[[], float]) -> None:
        self._limit = limit
        self._retry_after = retry_after
        self.used = 0

    def take(self, count: int) -> None:
        """Count bytes; see :meth:`Held.add`."""
        if self.used + count > self._limit:
            raise ServiceError(
                "too_busy", "too many bytes are being worked on", retry_after=self._retry_after()
            )
        self.used += count

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """Count for one request, until it ends."""
        held = Held(self)
        try:
            yield held
        finally:
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
    received = 0
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
        received += len(chunk)
        if received > most:
            raise _too_large(most)
        held.add(len(chunk))
        yield chunk


def read_json(body: bytes, *, depth: int, images: int, text: int) -> Any:
    """Build the values of a JSON body, once it is known that they are few.

    A body of empty arrays takes twenty times its size in memory: so brackets and commas are counted first.

    Args:
        body: UTF-8.
        depth: arrays and objects inside each other, at most.
        images: entries that it may describe.
        text: characters that the texts of one entry may have.

    Raises:
        ServiceError: ``invalid_json`` or ``json_too_deep``.
    """
    most = (images + 1) * (_MARKS_EACH + text)
    if sum(body.count(mark) for mark in _JSON_MARKS) > most or _depth(body) > depth:
        raise ServiceError("json_too_deep", f"it nests more than {depth} deep, or holds too many values")
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ServiceError("invalid_json", "the body is not JSON in UTF-8") from None


def _depth(body: bytes) -> int:
    """Deepest nesting of brackets outside of strings."""
    now = deepest = 0
    for match in _JSON_PARTS.finditer(body):
        mark = body[match.start()]
        if mark in b"[{":
            now += 1
            deepest = max(deepest, now)
        elif mark in b"]}":
            now -= 1
    return deepest


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _too_large(most: int) -> ServiceError:
    return ServiceError("body_too_large", f"the body has more bytes than the limit of {most / MIB:.4g} MiB")
