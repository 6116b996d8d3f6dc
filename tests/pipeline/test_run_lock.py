"""The lock of a folder of results: one run at a time, and no lock outlives its owner for long."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.errors import OutputError
from foveal.pipeline import lock as lock_module
from foveal.pipeline.lock import LOCK, Pace, RunLock
from foveal.pipeline.processes import is_running, machine, started
from foveal.pipeline.storage import LocalStore

FAST = Pace(renewed=0.02, patience=0.4)
OVER = 1 << 22
"""More than any process number (the most on Linux)."""


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "out"))


def stands(store: LocalStore) -> bool:
    return store.read(LOCK) is not None


def leave(store: LocalStore, **owner: object) -> None:
    """A lock whose owner is gone without a word."""
    dead = {"token": "dead", "machine": "elsewhere 1 2", "process": 1, "started": None, "renewals": 0}
    store.write(LOCK, json.dumps({**dead, **owner}).encode())


def eventually(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.005)
    return False


def test_it_stands_as_long_as_the_run_and_no_longer(store: LocalStore) -> None:
    with RunLock(store, FAST) as lock:
        assert stands(store)
        lock.check()
    assert not stands(store)


def test_it_is_renewed(store: LocalStore) -> None:
    with RunLock(store, FAST):
        first = store.read(LOCK)
        assert eventually(lambda: store.read(LOCK) != first)


def test_a_second_run_of_this_machine_is_refused_at_once(store: LocalStore) -> None:
    with (
        RunLock(store, FAST) as lock,
        pytest.raises(OutputError, match=rf"another run is writing it \(process {os.getpid()} on"),
        RunLock(store, Pace(renewed=0.02, patience=3600)),
    ):
        pass
    lock.check()


def test_a_run_of_another_machine_is_refused_while_it_renews(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunLock(store, FAST):
        monkeypatch.setattr(lock_module, "machine", lambda: "elsewhere")
        with pytest.raises(OutputError, match="another run is writing it"), RunLock(store, FAST):
            pass
        monkeypatch.undo()
    assert not stands(store)


def test_the_lock_of_a_dead_process_of_this_machine_is_taken_over_at_once(store: LocalStore) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    leave(store, machine=machine(), process=process.pid)
    with RunLock(store, Pace(renewed=0.02, patience=3600)) as lock:
        lock.check()


@pytest.mark.skipif(started(os.getpid()) is None, reason="the start of a process is not known here")
def test_a_process_number_that_was_given_out_again_is_no_owner(store: LocalStore) -> None:
    leave(store, machine=machine(), process=os.getpid(), started=1)
    with RunLock(store, Pace(renewed=0.02, patience=3600)) as lock:
        lock.check()


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b'{"token": "dead", "machine": "elsewhere"}'])
def test_a_lock_that_nobody_renews_is_taken_over(store: LocalStore, record: bytes) -> None:
    store.write(LOCK, record)
    with RunLock(store, Pace(renewed=0.02, patience=0.1)) as lock:
        lock.check()
        assert stands(store)


def test_a_run_that_was_robbed_says_so_and_leaves_the_lock_to_its_owner(store: LocalStore) -> None:
    with RunLock(store, FAST) as lock:
        leave(store, token="another")  # noqa: S106 - no password

        def robbed() -> bool:
            try:
                lock.check()
            except OutputError:
                return True
            return False

        assert eventually(robbed)
        with pytest.raises(OutputError, match=r"lost its lock \(another run has taken it over\).*--resume"):
            lock.check()
    assert json.loads(store.read(LOCK) or b"")["token"] == "another"  # noqa: S105


def test_a_store_that_fails_for_a_while_loses_no_lock_and_for_long_does(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = []

    def broken(name: str) -> bytes:
        failures.append(name)
        raise OutputError("the disk is gone")

    with RunLock(store, Pace(renewed=0.01, patience=1.0)) as lock:
        monkeypatch.setattr(store, "read", broken)
        assert eventually(lambda: len(failures) > 2)
        lock.check()
        assert eventually(lambda: bool(lock._lost))
        with pytest.raises(OutputError, match="the disk is gone"):
            lock.check()
        monkeypatch.undo()


def test_of_many_runs_at_once_one_works(store: LocalStore) -> None:
    working, most, ran, refused = [0], [0], [0], [0]
    gate, counting = threading.Barrier(8), threading.Lock()

    def run() -> None:
        gate.wait()
        try:
            with RunLock(store, FAST):
                with counting:
                    working[0] += 1
                    most[0] = max(most[0], working[0])
                    ran[0] += 1
                time.sleep(0.05)
                with counting:
                    working[0] -= 1
        except OutputError:
            refused[0] += 1

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert ran[0] + refused[0] == 8
    assert refused[0] >= 1
    assert not stands(store)


def test_a_lock_whose_making_was_answered_too_late_is_ours(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = store.create

    def made_but_unanswered(name: str, content: bytes) -> bool:
        create(name, content)
        return False

    monkeypatch.setattr(store, "create", made_but_unanswered)
    with RunLock(store, FAST) as lock:
        lock.check()


class Turns:
    """Lets one thread at a time take a step, by chance: each seed is another way of coming together."""

    def __init__(self, seed: int, threads: int) -> None:
        self._chance = random.Random(seed)
        self._changed = threading.Condition()
        self._running = threads
        self._waiting: list[int] = []

    def __call__(self) -> None:
        """Wait for the next step."""
        with self._changed:
            me = threading.get_ident()
            self._waiting.append(me)
            self._pick()
            self._changed.wait_for(lambda: me not in self._waiting)

    def leave(self) -> None:
        """Take no more steps."""
        with self._changed:
            self._running -= 1
            self._pick()

    def _pick(self) -> None:
        if self._waiting and len(self._waiting) == self._running:
            self._waiting.remove(self._chance.choice(self._waiting))
            self._changed.notify_all()


class Stepwise(LocalStore):
    """A folder whose users take turns."""

    def __init__(self, address: str, turn: Turns) -> None:
        super().__init__(address)
        self._turn = turn

    def read(self, name: str) -> bytes | None:
        self._turn()
        return super().read(name)

    def create(self, name: str, content: bytes) -> bool:
        self._turn()
        return super().create(name, content)

    def write(self, name: str, content: bytes) -> None:
        self._turn()
        super().write(name, content)

    def delete(self, name: str) -> None:
        self._turn()
        super().delete(name)


@pytest.mark.parametrize("claimed", [False, True], ids=["dead", "its heir, too"])
def test_of_many_takers_of_a_dead_lock_one_works(tmp_path: Path, claimed: bool) -> None:
    for seed in range(60):
        store = LocalStore(str(tmp_path / str(seed)))
        leave(store, machine=machine(), process=OVER)
        if claimed:
            leave_claim(store)
        assert takers_that_work(store, seed) == 1, seed
        assert stands(store)


def leave_claim(store: LocalStore) -> None:
    """Of one who died while it took over the dead lock."""
    heir = {"token": "heir", "machine": machine(), "process": OVER}
    store.create(lock_module._claim_on(store.read(LOCK) or b""), json.dumps(heir).encode())


def takers_that_work(store: LocalStore, seed: int, takers: int = 3) -> int:
    """How many of the runs that come at once hold the folder at the end; none lets go of it."""
    working: list[RunLock] = []
    turn = Turns(seed, takers)

    def run() -> None:
        lock = RunLock(Stepwise(store.address, turn), Pace(renewed=3600, patience=3600))
        with contextlib.suppress(OutputError):
            working.append(lock.__enter__())
        turn.leave()

    threads = [threading.Thread(target=run) for _ in range(takers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for lock in working:
        lock._ended.set()  # no renewals: nobody takes turns any more
    return len(working)


def test_what_inheriting_leaves_behind_is_swept_away(store: LocalStore) -> None:
    leave(store, machine=machine(), process=OVER)
    leave_claim(store)
    with RunLock(store, FAST) as lock:
        store.sweep()
        lock.check()
        assert list(store.names()) == [LOCK]


def test_an_heir_elsewhere_that_is_at_work_is_left_alone(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has claimed the dead lock, and is about to write its own."""
    leave(store, machine=machine(), process=OVER)
    dead = store.read(LOCK) or b""
    heir = json.dumps({"token": "heir", "machine": "elsewhere 1 2", "process": 7}).encode()
    store.create(lock_module._claim_on(dead), heir)
    writing = threading.Timer(0.1, store.renew, (LOCK, heir))
    writing.start()
    with (
        pytest.raises(OutputError, match=r"another run is writing it \(process 7 on elsewhere\)"),
        RunLock(store, Pace(renewed=0.02, patience=30)),
    ):
        pass
    assert store.read(LOCK) == heir


def test_an_owner_that_wakes_too_late_leaves_the_lock_of_its_heir(store: LocalStore) -> None:
    with RunLock(store, Pace(renewed=3600, patience=7200)):
        leave(store, token="heir")  # noqa: S106 - no password
    assert json.loads(store.read(LOCK) or b"")["token"] == "heir"  # noqa: S105


def test_a_lock_that_is_shown_late_is_waited_for(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [None, None, b"{}"]
    monkeypatch.setattr(store, "read", lambda name: answers.pop(0))
    assert lock_module.stands(store, delays=(0, 0, 0))
    monkeypatch.undo()
    assert not lock_module.stands(store, delays=(0, 0))


def test_processes_that_run_and_that_do_not() -> None:
    assert is_running(os.getpid(), started(os.getpid()))
    assert not is_running(OVER)
    assert is_running("nonsense")
