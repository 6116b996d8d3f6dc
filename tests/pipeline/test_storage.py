"""Folders of results, on a disk and behind a URL: files are whole or not there."""

from __future__ import annotations

import errno
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from foveal.errors import OutputError, StorageError
from foveal.pipeline.retry import DELAYS, may_pass, patiently
from foveal.pipeline.storage import LocalStore, RemoteStore, Store, open_store


@pytest.fixture(params=["path", "file URL", "memory", "renaming"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A new folder: on the disk, in an object store, and in a file system that renames."""
    if request.param == "memory":
        return open_store(f"memory://{uuid.uuid4()}/out")
    if request.param == "renaming":
        store = open_store(f"memory://{uuid.uuid4()}/out")
        store._whole = False  # type: ignore[attr-defined]
        return store
    return open_store(f"file://{tmp_path}/out" if request.param == "file URL" else str(tmp_path / "out"))


def test_files_are_written_read_replaced_and_deleted(store: Store) -> None:
    assert store.read("a") is None
    assert list(store.names()) == []
    store.write("a", b"one")
    store.write("b", b"")
    assert store.read("a") == b"one"
    assert store.read("b") == b""
    store.write("a", b"two")
    assert store.read("a") == b"two"
    assert sorted(store.names()) == ["a", "b"]
    store.delete("a")
    store.delete("a")
    assert store.read("a") is None
    assert sorted(store.names()) == ["b"]


def test_a_file_is_created_once(store: Store) -> None:
    assert store.create("lock", b"first")
    assert not store.create("lock", b"second")
    assert store.read("lock") == b"first"
    store.delete("lock")
    assert store.create("lock", b"third")


def test_a_file_that_is_renewed_is_there_all_the_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or another run could create the lock in between, and workers would miss it."""
    store.create("lock", b"one")
    there = []
    if isinstance(store, RemoteStore):
        for name in ("rm_file", "rm", "mv", "copy", "pipe_file"):
            do = getattr(store._files, name)

            def looking(*args: Any, do: Callable[..., Any] = do, **options: Any) -> Any:
                done = do(*args, **options)
                there.append(store.read("lock") is not None)
                return done

            monkeypatch.setattr(store._files, name, looking)
    store.renew("lock", b"two")
    there.append(store.read("lock") == b"two")
    assert all(there)


def test_of_many_creators_one_succeeds(tmp_path: Path) -> None:
    store, successes = LocalStore(str(tmp_path)), []
    gate = threading.Barrier(8)

    def create(number: int) -> None:
        gate.wait()
        if store.create("lock", str(number).encode()):
            successes.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(successes) == 1
    assert store.read("lock") == str(successes[0]).encode()


def test_other_readers_of_the_folder_never_see_half_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(str(tmp_path))
    store.write("a", b"old")
    seen = []

    def killed(self: Path, target: Path) -> None:
        seen.extend(sorted(path.name for path in tmp_path.iterdir()))
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.write("a", b"new")
    # Whatever lies there meanwhile has a name that readers of Parquet folders pass over.
    assert [name for name in seen if not name.startswith("_")] == ["a"]
    assert store.read("a") == b"old"
    assert list(store.names()) == ["a"]


def test_what_dead_writers_left_is_swept_away_and_nothing_else(store: Store) -> None:
    store.write("part", b"x")
    store.write("_manifest.json", b"x")
    if isinstance(store, LocalStore):
        Path(store.address, "_unfinished-0123").write_bytes(b"half")
    else:
        assert isinstance(store, RemoteStore)
        store._files.pipe_file(store._at("_unfinished-0123"), b"half")
    store.sweep()
    assert sorted(store.names()) == ["_manifest.json", "part"]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    store = LocalStore(str(tmp_path))
    store.write("a", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(OutputError, match=r"a cannot be written \(File too large\)"):
            store.write("a", b"n" * 1000)
        with pytest.raises(OutputError, match="lock cannot be written"):
            store.create("lock", b"n" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(store.names()) == ["a"]
    assert store.read("a") == b"old"


def test_folders_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="file: cannot be made"):
        open_store(str(tmp_path / "file"))
    with pytest.raises(OutputError, match=r"there is no folder .*gone; create it first"):
        open_store(str(tmp_path / "gone" / "out"))


def test_protocols_that_nobody_speaks() -> None:
    with pytest.raises(StorageError, match="nonsense://x"):
        open_store("nonsense://x")


class Flaky:
    """Fails as often as it is told to, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


class AnswerError(Exception):
    """An HTTP answer, as aiohttp raises it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


BUSY = OSError(errno.EBUSY, "Please reduce your request rate.")


def test_what_may_pass_is_tried_again_after_growing_delays() -> None:
    slept: list[float] = []
    action = Flaky(TimeoutError(), BUSY, AnswerError(503))
    assert patiently(action, sleep=slept.append) == "done"
    assert tuple(slept) == DELAYS
    with pytest.raises(TimeoutError):
        patiently(Flaky(*[TimeoutError()] * 4), sleep=slept.append)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(),
        PermissionError(),
        OSError(errno.ENOSPC, "full"),
        AnswerError(404),
        ValueError("bad"),
    ],
)
def test_what_will_not_pass_is_told_at_once(error: Exception) -> None:
    action = Flaky(error)
    with pytest.raises(type(error)):
        patiently(action, sleep=lambda seconds: pytest.fail("slept"))
    assert action.calls == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_answers_of_busy_servers_may_pass(status: int) -> None:
    assert may_pass(AnswerError(status))


def test_a_busy_store_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal.pipeline.retry.time.sleep", lambda seconds: None)
    store = open_store(f"memory://{uuid.uuid4()}/out")
    assert isinstance(store, RemoteStore)
    refused = Flaky(BUSY, BUSY)
    put: Callable[..., Any] = store._files.pipe_file

    def busy(path: str, content: bytes, **mode: str) -> None:
        refused()
        put(path, content, **mode)

    monkeypatch.setattr(store._files, "pipe_file", busy)
    store.write("a", b"x")
    assert refused.calls == 3
    assert store.read("a") == b"x"


def test_a_store_that_stays_busy_is_an_output_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal.pipeline.retry.time.sleep", lambda seconds: None)
    store = open_store(f"memory://{uuid.uuid4()}/out")
    assert isinstance(store, RemoteStore)

    def busy(path: str) -> bytes:
        raise BUSY

    monkeypatch.setattr(store._files, "cat_file", busy)
    with pytest.raises(OutputError, match=r"a cannot be read \(Please reduce your request rate\.\)"):
        store.read("a")


@pytest.mark.skipif(os.name == "nt", reason="folders are not listed this way there")
@pytest.mark.parametrize("protocol", ["file", "local"])
def test_the_same_folder_by_path_and_by_url(tmp_path: Path, protocol: str) -> None:
    open_store(str(tmp_path)).write("a", b"x")
    by_url = open_store(f"{protocol}://{tmp_path}")
    assert by_url.read("a") == b"x"
    assert isinstance(by_url, LocalStore)  # which writes in one step
    assert fsspec.filesystem("file").cat_file(str(tmp_path / "a")) == b"x"
