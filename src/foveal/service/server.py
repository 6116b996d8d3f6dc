"""Run the application in this process: listen, serve, drain on SIGTERM, end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from foveal.errors import FovealError
from foveal.service.connections import guarded_protocol
from foveal.service.logs import log
from foveal.service.settings import Settings
from foveal.service.state import Service

_BACKLOG = 512
_HEAD = 16_384
"""Bytes of a request's head, at most."""
_OTHER_FILES = 256
_LAST_WORDS = 1
"""Seconds in which answers must leave once all work is done, and refused bodies must end."""


class ListenError(FovealError):
    """The service cannot listen where it is told to."""


class UnfinishedError(FovealError):
    """The grace of a shutdown ran out before all work was done."""


def listen(settings: Settings) -> socket.socket:
    """Open the port.

    Raises:
        ListenError: it is taken, or not of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise ListenError(
            f"{where}: cannot listen there ({_reason(error)}); choose another --host or --port"
        ) from error


def _reason(error: OSError) -> str:
    """Short: asyncio's and the socket module's own words repeat the address."""
    known = isinstance(error, socket.gaierror) or error.errno is None
    return str(error) if known else os.strerror(error.errno or 0)


def run(app: FastAPI, settings: Settings, listener: socket.socket) -> None:
    """Serve until a signal ends it.

    SIGTERM and SIGINT let it drain: new work is refused, what is in flight is finished. A second one ends it
    at once.

    Args:
        app: from :func:`foveal.service.app.create_app`.
        settings: how it behaves.
        listener: from :func:`listen`.

    Raises:
        UnfinishedError: it had to end before all work was done.
        KeyboardInterrupt: SIGINT ended it, and all work was done.
    """
    server = _Server(app, settings)
    _allow_files(2 * settings.max_connections + _OTHER_FILES)
    server.run([listener])
    if not server.finished:
        raise UnfinishedError(f"not all requests were answered within {settings.grace:g} s (--grace)")
    if server.signal == signal.SIGINT:
        raise KeyboardInterrupt


def _allow_files(count: int) -> None:
    """Raise this process's own limit on open files, which is 1,024 in many places, as far as it may."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Server(uvicorn.Server):
    """A server that drains before it closes its port, so that probes can see it.

    Attributes:
        signal: what ended it.
        finished: whether all work was done.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=guarded_protocol(settings),
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=_HEAD,
                timeout_keep_alive=settings.idle_seconds,  # type: ignore[arg-type]  # any number will do
                timeout_graceful_shutdown=_LAST_WORDS,
            )
        )
        self._service: Service = app.state.service
        self._settings = settings
        self._draining: asyncio.Task[None] | None = None
        self.signal: int | None = None
        self.finished = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Drain on the first signal; on the second one leave."""
        loop = asyncio.get_running_loop()

        def on_signal(number: int, _: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._on_signal, number)

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int) -> None:
        log("signal", name=signal.Signals(number).name)
        if self._draining is None:
            self.signal = number
            self._draining = asyncio.get_running_loop().create_task(self._drain())
        else:
            self.finished = False
            self.should_exit = self.force_exit = True

    async def _drain(self) -> None:
        life = self._service.life
        log("draining", requests=life.at_work, images=self._service.scoring.depth)
        done = await life.drain(self._settings.grace, self._settings.lame_duck)
        self.finished = self.finished and done
        if life.refused:
            await asyncio.sleep(_LAST_WORDS)
        level = logging.INFO if done else logging.ERROR
        log("drained" if done else "cut_off", level=level, refused=life.refused)
        self.should_exit = True
