"""The service as a process of its own, for tests of what only a process has: sockets, signals, memory."""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ENOUGH = 60.0
"""Seconds that nothing here takes, unless something is wrong."""


class Served:
    """A running service.

    Attributes:
        process: it.
        port: that it listens on.
        lines: of its log, as they come.
    """

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "foveal", "serve", "--port", "0", *arguments]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
        )
        self.lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()
        self.port = int(self.line("listening")["url"].rpartition(":")[2])
        self.line("ready")

    def line(self, event: str) -> dict[str, Any]:
        """The next line of the log about an event."""
        deadline = time.monotonic() + ENOUGH
        while True:
            line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            self.seen.append(line)
            if line["event"] == event:
                return line

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=ENOUGH)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ENOUGH)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            return read(connection.getresponse())
        finally:
            connection.close()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the end; the exit code."""
        return self.process.wait(ENOUGH)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.lines.put(json.loads(line))
            except ValueError:
                self.lines.put({"event": "text", "text": line})


@contextmanager
def served(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """A service that is ended with the context, if it has not ended before."""
    running = Served(*arguments, environment=environment)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGKILL)
        running.process.wait(ENOUGH)


def read(response: http.client.HTTPResponse) -> tuple[int, dict[str, str], bytes]:
    body = response.read()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, body


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read an answer from a bare connection."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return read(response)


def form(image: bytes) -> tuple[bytes, bytes]:
    """Head and body of a request for the score of an image."""
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        + image
        + b"\r\n--b--\r\n"
    )
    head = (
        b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n"
    )
    return head, body
