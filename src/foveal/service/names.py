"""Resolve the names of hosts within a time: the system's own resolver cannot be told when to give up."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

Resolver = Callable[[str, int], Sequence[str]]
"""From a host and a port to its addresses, in the order in which they should be tried."""
MOST_AT_ONCE = 16
"""Names that may be asked for at once; those whose name server hangs count, though nobody waits any more."""


def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Lookups:
    """Asks a resolver on threads of its own, which are left behind when it takes too long.

    They are few: a thread that hangs keeps its place until the system gives up, and who finds no place in
    time gets no answer. Safe to use from several threads.

    Args:
        resolver: what is asked.
        most: threads.
    """

    def __init__(self, resolver: Resolver = resolve, most: int = MOST_AT_ONCE) -> None:
        self._resolver = resolver
        self._places = threading.Semaphore(most)

    def __call__(self, host: str, port: int, seconds: float) -> Sequence[str]:
        """Ask for the addresses of a host.

        Raises:
            TimeoutError: there is no answer within ``seconds``.
            Exception: what the resolver raises, an OSError most of all.
        """
        deadline = time.monotonic() + seconds
        if not self._places.acquire(timeout=seconds):
            raise TimeoutError
        answer: Future[Sequence[str]] = Future()
        # A daemon: it must not keep the process either.
        threading.Thread(target=self._ask, args=(host, port, answer), name="lookup", daemon=True).start()
        return answer.result(max(0.0, deadline - time.monotonic()))

    def _ask(self, host: str, port: int, answer: Future[Sequence[str]]) -> None:
        try:
            answer.set_result(self._resolver(host, port))
        except Exception as error:
            answer.set_exception(error)
        finally:
            self._places.release()
