"""One run at a time on one folder of results, wherever it lies: a lock that has to be renewed.

Advisory locks of the operating system end with the machine, and object stores have none. So the owner writes
a small file and renews it every few seconds. Whoever finds one watches it: if it changes, its owner lives.
Nobody's clock is compared with another's.

A dead lock is never deleted, or two takers could delete in turn, the second one the lock of the first. A
taker claims it instead, by creating a file that is named by the dead record, and the one who succeeds writes
its own record over the dead one. So the lock stands all the time, and all that a store needs is exclusive
creation.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from foveal.errors import OutputError
from foveal.pipeline.processes import is_running, machine, started
from foveal.pipeline.retry import DELAYS
from foveal.pipeline.storage import UNFINISHED, Store

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


def stands(store: Store, delays: Sequence[float] = DELAYS) -> bool:
    """Whether a run holds the folder; asked again after each delay: some file systems show new files late."""
    for delay in delays:
        if store.read(LOCK) is not None:
            return True
        time.sleep(delay)
    return store.read(LOCK) is not None


class RunLock:
    """Holds a folder of results for one run; a context manager.

    A lock whose owner died is taken over: at once if it was a process of this machine, else when it has not
    been renewed for the time of :class:`Pace`. Where files can be created exclusively, one run begins,
    however many start or take over at once. Elsewhere two may begin in the same instant; and everywhere an
    owner that stood still for longer than that may wake up when it has been inherited. One of the two notices
    at its next renewal; since partitions are the same whoever writes them, nothing is lost by it.

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
            if found is None:  # let go of meanwhile
                continue
            if self._is_ours(found):
                break  # taken over, or made by an attempt whose answer got lost
            if self._is_dead(found, found):
                self._take_over(found)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if not self._lost:
            with contextlib.suppress(OutputError):  # the next run finds it, and nobody renewing it
                if self._is_ours(self._store.read(LOCK)):
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

    def _is_ours(self, record: bytes | None) -> bool:
        return record is not None and _owner(record).get("token") == self._token

    def _is_dead(self, record: bytes, found: bytes) -> bool:
        """Whether who wrote a record is dead; False, too, where the lock is gone meanwhile.

        Args:
            record: the lock, or a claim on it.
            found: the lock, which a living writer of either would change.

        Raises:
            OutputError: its writer lives.
        """
        owner = _owner(record)
        if owner.get("machine") != machine():
            return self._stands_still(found)
        if is_running(owner.get("process"), owner.get("started")):
            raise self._held(owner)
        return True

    def _stands_still(self, found: bytes) -> bool:
        until = time.monotonic() + self._pace.patience
        while time.monotonic() < until:
            time.sleep(self._pace.renewed / 2)
            now = self._store.read(LOCK)
            if now is None:
                return False
            if now != found:
                raise self._held(_owner(now))
        return True

    def _take_over(self, found: bytes) -> None:
        """Write our record over that of a dead run, unless another does."""
        claim = self._claim(found)
        if claim is None:
            return
        try:
            # Whoever inherits withdraws its claim afterwards. Ours may be a late one, so look before writing.
            if self._store.read(LOCK) == found:
                self._store.renew(LOCK, self._record())
        finally:
            with contextlib.suppress(OutputError):  # the run sweeps it away
                self._store.delete(claim)

    def _claim(self, found: bytes) -> str | None:
        """Become the only heir of a dead run; None where another was quicker."""
        dead = found
        while not self._store.create(claim := _claim_on(dead), self._record()):
            rival = self._store.read(claim)
            if rival is not None and self._is_ours(rival):
                break  # made by an attempt whose answer got lost
            if rival is None or not self._is_dead(rival, found):
                return None
            dead = rival  # it died over this: its own heir inherits
        return claim

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
        if not self._is_ours(found):
            return False
        self._renewals += 1
        self._store.renew(LOCK, self._record())
        return True


def _owner(record: bytes) -> dict[str, Any]:
    try:
        owner = json.loads(record)
    except ValueError:  # caught in the act of being written
        return {}
    return owner if isinstance(owner, dict) else {}


def _claim_on(record: bytes) -> str:
    """Name of the file whose maker inherits from the writer of a record; swept away if it is left behind."""
    return f"{UNFINISHED}claim-{hashlib.sha256(record).hexdigest()[:32]}"
