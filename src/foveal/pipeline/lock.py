"""One run at a time on one folder of results, wherever it lies: a lock that has to be renewed.

Advisory locks of the operating system end with the machine, and object stores have none. So the owner writes
a small file and renews it every few seconds. Whoever finds one watches it: if it changes, its owner lives.
Nobody's clock is compared with another's.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from foveal.errors import OutputError
from foveal.pipeline.processes import is_running, machine, started
from foveal.pipeline.storage import Store

LOCK = "_lock.json"
"""Name of the lock in the folder."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a lock is renewed, and when it is taken for dead.

    Attributes:
        renewed: seconds between two renewals.
        patience: seconds without one after which the owner is dead.
    """

    renewed: float = 5.0
    patience: float = 60.0


PACE = Pace()


class RunLock:
    """Holds a folder of results for one run; a context manager.

    A lock whose owner died is taken over: at once if it was a process of this machine, else when it has not
    been renewed for the time of :class:`Pace`. Should two runs take over the same lock in the same instant on
    a store without exclusive writes, one of them notices at its next renewal; since partitions are the same
    whoever writes them, nothing is lost by it.

    Args:
        store: the folder.
        pace: the same for all runs.

    Raises:
        OutputError: another run holds it, or it cannot be written.
    """

    def __init__(self, store: Store, pace: Pace = PACE) -> None:
        self._store = store
        self._pace = pace
        self._token = secrets.token_hex(16)
        self._renewals = 0
        self._lost = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="foveal-lock", daemon=True)

    def __enter__(self) -> Self:
        while not self._store.create(LOCK, self._record()):
            found = self._store.read(LOCK)
            if found is not None and _owner(found).get("token") == self._token:
                break  # made by an attempt whose answer got lost
            self._await_or_break(found)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if not self._lost:
            with contextlib.suppress(OutputError):  # the next run finds it, and nobody renewing it
                self._store.delete(LOCK)

    def check(self) -> None:
        """Make sure that the folder is still ours.

        Raises:
            OutputError: it is not.
        """
        if self._lost:
            raise OutputError(
                f"{self._store.address}: this run has lost its lock ({self._lost}); "
                "finished partitions are kept: run again with --resume"
            )

    def _record(self) -> bytes:
        process = os.getpid()
        owner = {"token": self._token, "machine": machine(), "process": process, "started": started(process)}
        return json.dumps({**owner, "renewals": self._renewals}).encode()

    def _await_or_break(self, found: bytes | None) -> None:
        """Return when the lock of another is gone."""
        if found is None:
            return
        owner = _owner(found)
        if owner.get("machine") == machine():
            if is_running(owner.get("process"), owner.get("started")):
                raise self._held(owner)
        elif self._is_renewed(found):
            raise self._held(owner)
        if self._store.read(LOCK) == found:
            self._store.delete(LOCK)

    def _is_renewed(self, found: bytes) -> bool:
        until = time.monotonic() + self._pace.patience
        while time.monotonic() < until:
            time.sleep(self._pace.renewed / 2)
            now = self._store.read(LOCK)
            if now != found:
                return now is not None
        return False

    def _held(self, owner: dict[str, Any]) -> OutputError:
        who = f"process {owner.get('process', '?')} on {str(owner.get('machine', '?')).split(' ')[0]}"
        return OutputError(
            f"{self._store.address}: another run is writing it ({who}); wait for it or choose another folder"
        )

    def _keep(self) -> None:
        """Renew the lock until the end, or until it turns out to be lost."""
        renewed = time.monotonic()
        while not self._ended.wait(self._pace.renewed):
            try:
                if not self._renew():
                    self._lost = "another run has taken it over"
                    return
                renewed = time.monotonic()
            except OutputError as error:
                # Others wait for the whole of their patience: stop before they take over.
                if time.monotonic() - renewed > self._pace.patience / 2:
                    self._lost = str(error)
                    return

    def _renew(self) -> bool:
        found = self._store.read(LOCK)
        if found is None or _owner(found).get("token") != self._token:
            return False
        self._renewals += 1
        self._store.write(LOCK, self._record())
        return True


def _owner(record: bytes) -> dict[str, Any]:
    try:
        owner = json.loads(record)
    except ValueError:  # caught in the act of being written
        return {}
    return owner if isinstance(owner, dict) else {}
