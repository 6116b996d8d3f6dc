"""Who may call: the right name, the same site, and, if one is set, the token."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from foveal.service.errors import ServiceError
from foveal.service.settings import Settings

PROBES = frozenset({"/healthz", "/readyz"})
"""Paths that answer under any name: probes call machines by their addresses, and learn next to nothing."""
OPEN_PATHS = PROBES | {"/"}
"""Paths that need no token: the page is an empty form, and probes have none."""
METRICS = "/metrics"
_STRANGERS = frozenset({"cross-site", "same-site"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """ASGI middleware that lets a request in or raises a :class:`ServiceError`, before its body is read.

    Args:
        app: what is behind it.
        settings: names, token, and whether metrics are open.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = frozenset(settings.hosts)
        self._token = None if settings.token is None else _digest(settings.token.encode())
        self._open = OPEN_PATHS | {METRICS} if settings.open_metrics else OPEN_PATHS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it on."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if scope["path"] not in PROBES:
                self._check_host(headers)
            self._check_site(scope["method"], headers)
            if self._token is not None and scope["path"] not in self._open:
                self._check_token(headers)
        await self._app(scope, receive, send)

    def _check_host(self, headers: Mapping[str, str]) -> None:
        if self._hosts and _without_port(headers.get("host", "")) not in self._hosts:
            raise ServiceError("wrong_host", "this service is not known by the name in the header Host")

    def _check_site(self, method: str, headers: Mapping[str, str]) -> None:
        """Browsers say from where a request comes: pages of other sites must not make this one work."""
        if method not in _SAFE_METHODS and headers.get("sec-fetch-site", "") in _STRANGERS:
            raise ServiceError("cross_site", "a page of another site sent this request")

    def _check_token(self, headers: Mapping[str, str]) -> None:
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        # Digests are equally long: neither length nor content of the token shows in the time it takes.
        right = hmac.compare_digest(_digest(shown.strip().encode("utf-8", "replace")), self._token or b"")
        if scheme.lower() != "bearer" or not right:
            raise ServiceError(
                "unauthorized",
                "send the header Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": 'Bearer realm="foveal"'},
            )


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _without_port(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()
