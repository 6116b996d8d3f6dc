"""HTTP/1.1 connections that cannot be held open for nothing: slow heads, endless bodies, readers that stop.

The server's own protocol waits for ever for the head of a request and for a client that takes no answer, and
says what it refuses in plain text. Here every wait has its end, and every refusal its code.
"""

from __future__ import annotations

import asyncio
import http
import uuid
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from foveal.service.errors import ServiceError
from foveal.service.replies import error_reply
from foveal.service.settings import Settings

_LINGER = 1.0
"""Seconds between a refusal and the end of the connection, so that the client can read it."""
_RETRY = 1.0
_HARD = 1.5
"""Connections over the limit are told so; those over this many times the limit are not."""


def guarded_protocol(settings: Settings) -> type[H11Protocol]:
    """The protocol with the limits of a service."""
    return type("GuardedProtocol", (_GuardedProtocol,), {"settings": settings})


class _GuardedProtocol(H11Protocol):
    """One connection.

    At any time it waits for one of three things: the head of a request, the application, or a client that
    takes what it is sent. The first and the last have a deadline here; the application sees to its own.
    """

    settings: Settings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head = _Deadline(self.loop, self.settings.header_seconds, self._no_head)
        self._write = _Deadline(self.loop, self.settings.write_seconds, self._abort)
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or tell it that there are too many."""
        super().connection_made(transport)
        open_now, most = len(self.connections), self.settings.max_connections
        if open_now > _HARD * most:
            transport.abort()
        elif open_now > most:
            self._refuse(ServiceError("too_many_connections", "try again shortly", retry_after=_RETRY))
        else:
            self._head.start()

    def data_received(self, data: bytes) -> None:
        """Take bytes; those outside of a request must soon make the head of one."""
        if self._refused:
            return
        if not self._is_answering:
            # Not begun anew with every byte: a drip is as slow as silence. This also ends a body that goes on
            # after its answer.
            self._head.start()
        super().data_received(data)
        if self._is_answering:
            self._head.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._head.stop()
        self._write.stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not take what it is sent."""
        super().pause_writing()
        self._write.start()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self._write.stop()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no request; what they hold is not repeated."""
        self._refuse(ServiceError("invalid_http", "this is not an HTTP/1.1 request"))

    @property
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # there is none before the first request
        return cycle is not None and not cycle.response_complete

    def _no_head(self) -> None:
        if self.conn.trailing_data[0] and self.conn.our_state is h11.IDLE:
            seconds = self.settings.header_seconds
            self._refuse(ServiceError("header_timeout", f"the head did not come within {seconds:g} s"))
        else:
            self.transport.abort()

    def _abort(self) -> None:
        self.transport.abort()

    def _refuse(self, error: ServiceError) -> None:
        """Send an error, end the sending side, and soon the connection.

        What still comes in is dropped: closing at once would make the system send a reset, and the client
        would never read why.
        """
        self._refused = True
        self.connections.discard(self)  # while it lingers it keeps nobody else out
        self._head.stop()
        if self._is_answering:
            if self.cycle.response_started:
                self.transport.abort()
                return
            self.cycle.disconnected = True  # for the application the client has gone
            self.cycle.message_event.set()
        reply = error_reply(error, uuid.uuid4().hex)
        phrase = http.HTTPStatus(error.status).phrase
        headers = [*reply.raw_headers, (b"connection", b"close")]
        lines = [f"HTTP/1.1 {error.status} {phrase}".encode(), *(b": ".join(pair) for pair in headers)]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(reply.body)]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER, self.transport.abort)


class _Deadline:
    """Calls a function when its time has come, unless it is stopped before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, call: Callable[[], None]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._call = call
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; if it runs already, it goes on."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._over)

    def stop(self) -> None:
        """Forget it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        self._timer = None
        self._call()
