"""Around everything: request ids, a line of log a request, metrics, security headers, the last resort."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foveal.errors import bare
from foveal.service.drain import draining
from foveal.service.errors import ServiceError
from foveal.service.logs import log
from foveal.service.metrics import Metrics
from foveal.service.replies import error_reply
from foveal.service.state import Notes

REQUEST_ID = "X-Request-ID"
OTHER = "other"
"""Route of requests for paths that there are not: whatever clients ask for, labels stay few."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_REFUSED = 400
_GONE = 499
"""What the log says of requests whose client did not wait; a custom that nginx began."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Observed:
    """Outermost ASGI middleware: whatever happens behind it, the client gets a typed answer.

    Args:
        app: what is behind it.
        metrics: counts.
        routes: the service's paths.
        ending: whether the service is about to end.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, routes: Collection[str], ending: Callable[[], bool]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = frozenset(routes)
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, and tell of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        notes = Notes(_request_id(Headers(scope=scope)))
        scope["foveal.notes"] = notes
        begun, sender = time.perf_counter(), _Sender(send, notes.request_id, _waits(scope))
        self._metrics.begin()
        try:
            await self._guarded(scope, receive, sender, notes)
        finally:
            seconds = time.perf_counter() - begun
            route = scope["path"] if scope["path"] in self._routes else OTHER
            self._metrics.end(route, sender.status, seconds)
            _tell(notes, scope["method"], route, sender.status, seconds)

    async def _guarded(self, scope: Scope, receive: Receive, sender: _Sender, notes: Notes) -> None:
        try:
            await self._app(scope, receive, sender)
            return
        except ClientDisconnect:
            return
        except ServiceError as error:
            failure = bare(error)
        except asyncio.CancelledError:
            if not self._ending():
                raise
            failure = draining()  # the server does not wait any longer, and would say so in words of its own
        except Exception as error:
            log("request_failed", level=logging.ERROR, error=error, id=notes.request_id)
            failure = ServiceError("internal", "the service is at fault; its log tells more under this id")
        notes.code = failure.code
        if not sender.started:
            await error_reply(failure, notes.request_id)(scope, receive, sender)


class _Sender:
    """Passes messages on, with the headers that every response has.

    Args:
        send: where to.
        request_id: sent back.
        waits: whether the client sends its body only when it is asked to (Expect: 100-continue). If it is
            refused instead, its next bytes may be that body or another request (RFC 9110, 10.1.1).

    Attributes:
        started: whether the response has begun.
        status: of the response.
    """

    def __init__(self, send: Send, request_id: str, waits: bool) -> None:
        self._send = send
        self._request_id = request_id
        self._waits = waits
        self.started = False
        self.status = _GONE

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self._request_id
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if self._waits and self.status >= _REFUSED:
                headers["Connection"] = "close"
        await self._send(message)


def _waits(scope: Scope) -> bool:
    return Headers(scope=scope).get("expect", "").lower() == "100-continue"


def _request_id(headers: Mapping[str, str]) -> str:
    """The client's own id, if it can be written anywhere as it is; else a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if _WELL_FORMED.fullmatch(given) else uuid.uuid4().hex


def _tell(notes: Notes, method: str, route: str, status: int, seconds: float) -> None:
    more: dict[str, Any] = {}
    if notes.received or notes.images:
        more |= {"images": notes.images, "failed": notes.failed, "bytes": notes.received}
    if notes.waited is not None:
        more["queue_seconds"] = round(notes.waited, 6)
    if notes.code is not None:
        more["code"] = notes.code
    # Probes come every few seconds, and say nothing new as long as they succeed.
    quiet = route in _PROBES and status < 500
    log(
        "request",
        level=logging.DEBUG if quiet else logging.INFO,
        id=notes.request_id,
        method=method if method in _METHODS else OTHER,
        route=route,
        status=status,
        seconds=round(seconds, 6),
        **more,
    )
