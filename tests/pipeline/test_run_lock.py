"""The lock of a folder of results: one run at a time, and no lock outlives its owner for long."""

from __future__ import annotations

import json
import os
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


def test_processes_that_run_and_that_do_not() -> None:
    assert is_running(os.getpid(), started(os.getpid()))
    assert not is_running(OVER)
    assert is_running("nonsense")
