"""Output files that survive a kill: a lock against a second writer, and appending by whole records."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import IO

from foveal.errors import OutputError

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_SYNC_EVERY = 1.0


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
                    raise OutputError(
                        f"{output}: another process is writing it; wait for it or choose another file"
                    ) from error
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
            OutputError: the disk is full, or the file cannot be written for another reason.
        """
        try:
            rest = memoryview(record)
            while rest:
                rest = rest[os.write(self._file.fileno(), rest) :]
            self._end += len(record)
            if time.monotonic() - self._synced > _SYNC_EVERY:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            self._cut_back()
            raise self._cannot_write(error) from error

    def close(self) -> None:
        """Bring everything to the disk and close; harmless when closed already."""
        if self._file.closed:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._cannot_write(error) from error
        finally:
            self._file.close()

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
