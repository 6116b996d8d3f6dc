"""Output files that survive a kill: a lock against a second writer, and appending by whole records."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from pathlib import Path
from typing import IO, Any, Protocol

from foveal.errors import OutputError
from foveal.pipeline.processes import is_running, machine, started

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
# What some network and cluster file systems say as they are mounted by default.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_SYNC_EVERY = 1.0


class Lock(Protocol):
    """Keeps other processes from writing a file."""

    def release(self) -> None:
        """Let others write."""


class NoLocksError(OutputError):
    """The file system knows no advisory locks."""


def lock_output(output: Path) -> Lock:
    """Make sure that nobody else writes a file, also by a symbolic link to it.

    Raises:
        OutputError: another process is writing it, or nothing can be made beside it.
    """
    output = output.resolve() if output.is_symlink() else output
    try:
        return WriterLock(output)
    except NoLocksError:
        return OwnerFile(output)


class WriterLock:
    """Advisory lock on ``<output>.lock``, so that two runs never write one table. Freed by any death."""

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(output.name + ".lock")
        while True:
            self._file = _open(self.path)
            try:
                _lock(self._file)
            except OSError as error:
                self._file.close()
                if error.errno in _HELD:
                    raise _held(output) from error
                if error.errno in _NO_LOCKS:
                    self.path.unlink(missing_ok=True)
                    raise NoLocksError(f"{self.path}: cannot lock ({error.strerror})") from error
                raise OutputError(f"{self.path}: cannot lock ({error.strerror})") from error
            if self._still_there():
                return
            self._file.close()

    def release(self) -> None:
        """Let others write; the lock file goes away."""
        if sys.platform == "win32":  # which does not delete open files
            self._file.close()
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            # Another process has opened it meanwhile (Windows), or the folder is gone: nothing is lost.
            return
        finally:
            self._file.close()

    def _still_there(self) -> bool:
        """Whether the locked file is the one at the path: its last owner may just have deleted it."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except OSError:
            return False


class OwnerFile:
    """The file ``<output>.owner``, which only one process can make: for where there are no advisory locks.

    It outlives a death. The next run sees that if it is on the same machine; on another it asks for the file
    to be deleted.
    """

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(output.name + ".owner")
        process = os.getpid()
        owner = {"machine": machine(), "process": process, "started": started(process)}
        while not self._made(json.dumps(owner)):
            found = self._found()
            if found.get("machine") != machine():
                raise OutputError(
                    f"{output}: a process of another machine is writing it, or has died; wait for it, "
                    f"or delete {self.path} if it has"
                )
            if is_running(found.get("process"), found.get("started")):
                raise _held(output)
            self.release()

    def release(self) -> None:
        """Let others write; the file goes away."""
        self.path.unlink(missing_ok=True)

    def _made(self, owner: str) -> bool:
        try:
            with self.path.open("x", encoding="ascii") as file:
                file.write(owner)
        except FileExistsError:
            return False
        except OSError as error:
            raise OutputError(f"{self.path}: cannot open for writing ({error.strerror})") from error
        return True

    def _found(self) -> dict[str, Any]:
        """The owner; empty if the file is just being written, or its owner died meanwhile."""
        try:
            owner = json.loads(self.path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return {}
        return owner if isinstance(owner, dict) else {}


def _held(output: Path) -> OutputError:
    return OutputError(f"{output}: another process is writing it; wait for it or choose another file")


class RecordFile:
    """A file that grows by whole records.

    Every record goes to the operating system at once, so that even ``kill -9`` loses none, and to the disk
    every second. After a failed write the file is cut back to its last whole record.
    """

    def __init__(self, path: Path, keep: int) -> None:
        """Open or create the file and cut it to its first ``keep`` bytes."""
        self.path = path
        self._file = _open(path)
        self._end = keep
        self._synced = time.monotonic()
        try:
            self._file.truncate(keep)
        except OSError as error:
            self._file.close()
            raise self._cannot_write(error) from error

    def append(self, record: bytes) -> None:
        """Write one record.

        Raises:
            OutputError: the disk is full, the file cannot be written for another reason, or somebody has
                deleted it.
        """
        try:
            rest = memoryview(record)
            while rest:
                rest = rest[os.write(self._file.fileno(), rest) :]
            self._end += len(record)
            if time.monotonic() - self._synced > _SYNC_EVERY:
                self._sync()
                self._synced = time.monotonic()
        except OSError as error:
            self._cut_back()
            raise self._cannot_write(error) from error

    def close(self) -> None:
        """Bring everything to the disk and close; harmless when closed already."""
        if self._file.closed:
            return
        try:
            self._sync()
        except OSError as error:
            raise self._cannot_write(error) from error
        finally:
            self._file.close()

    def _sync(self) -> None:
        """Bring everything to the disk, and make sure that it is still the file that others find there."""
        os.fsync(self._file.fileno())
        try:
            same = os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except FileNotFoundError:
            same = False
        if not same:
            raise OutputError(
                f"{self.path}: was deleted or replaced while it was being written; its rows are lost: "
                "run again"
            )

    def _cut_back(self) -> None:
        try:
            self._file.truncate(self._end)
        except OSError:
            return  # reading back skips half a record anyway

    def _cannot_write(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self.path}: cannot write ({error.strerror}); "
            "whole rows are kept: mend that and run again with --resume"
        )


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("ab", buffering=0)
    except OSError as error:
        raise OutputError(f"{path}: cannot open for writing ({error.strerror})") from error
