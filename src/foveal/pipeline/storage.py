"""A folder of results, on a disk or in an object store: small files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

from foveal.errors import OutputError
from foveal.pipeline.addresses import Options, filesystem, is_url, without_file_protocol
from foveal.pipeline.retry import patiently

_T = TypeVar("_T")

UNFINISHED = "_unfinished-"
"""Beginning of passing files; readers of Parquet folders (Arrow, Spark, DuckDB) pass over such names."""

# Here one request makes an object, whole; elsewhere files grow, so they are renamed when they are complete.
_OBJECT_STORES = {"abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oss", "r2", "s3", "s3a"}


class Store(Protocol):
    """A folder. All methods raise OutputError where it cannot be used, and may be called by many at once."""

    address: str
    """Path or URL."""

    def read(self, name: str) -> bytes | None:
        """All bytes of a file; None where there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all; one that is there is replaced."""

    def renew(self, name: str, content: bytes) -> None:
        """Write over a small file that is there: readers may see it half-written, but never see none."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless there is one; False where there is."""

    def delete(self, name: str) -> None:
        """Delete a file; nothing happens where there is none."""

    def names(self) -> Iterator[str]:
        """Names of all files."""

    def sweep(self) -> None:
        """Delete what was left behind by writers that died. Nobody may be writing."""


def open_store(address: str, options: Options | None = None) -> Store:
    """Open a folder of results; it is made if only itself is missing.

    Args:
        address: path, or URL of anything that fsspec writes.
        options: what file systems are opened with.

    Raises:
        OutputError: it is not a folder, cannot be made, or its parent is missing.
        StorageError: the protocol is unknown, or what speaks it is not installed.
    """
    address = without_file_protocol(address)
    return RemoteStore(address, options or {}) if is_url(address) else LocalStore(address)


class LocalStore:
    """A folder on a disk, also one that several machines share."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._folder = Path(address)
        with self._usable("cannot be made"):
            try:
                self._folder.mkdir(exist_ok=True)
            except FileNotFoundError as error:
                raise OutputError(
                    f"{address}: there is no folder {self._folder.parent}; create it first"
                ) from error

    def read(self, name: str) -> bytes | None:
        """All bytes of a file; None where there is none."""
        with self._usable(f"{name} cannot be read"):
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write beside it, bring it to the disk, rename."""
        beside = self._folder / f"{UNFINISHED}{secrets.token_hex(8)}"
        with self._usable(f"{name} cannot be written"):
            try:
                _write_new(beside, content)
                beside.replace(self._folder / name)
                _sync_folder(self._folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    beside.unlink(missing_ok=True)
                raise

    def renew(self, name: str, content: bytes) -> None:
        """Write over a file: renaming replaces it in one step."""
        self.write(name, content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless there is one; exclusive also on network file systems."""
        with self._usable(f"{name} cannot be written"):
            try:
                _write_new(self._folder / name, content)
            except FileExistsError:
                return False
            return True

    def delete(self, name: str) -> None:
        """Delete a file."""
        with self._usable(f"{name} cannot be deleted"):
            (self._folder / name).unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        """Names of all files."""
        with self._usable("cannot be listed"), os.scandir(self._folder) as entries:
            for entry in entries:
                yield entry.name

    def sweep(self) -> None:
        """Delete what was left behind by writers that died."""
        for name in list(self.names()):
            if name.startswith(UNFINISHED):
                self.delete(name)

    @contextlib.contextmanager
    def _usable(self, trouble: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self.address}: {trouble} ({error.strerror or error})") from error


class RemoteStore:
    """A folder anywhere else, through fsspec."""

    def __init__(self, address: str, options: Options) -> None:
        self.address = address.rstrip("/")
        self._files, path = filesystem(self.address, options)
        self._path = path.rstrip("/")
        self._whole = self.address.partition("://")[0] in _OBJECT_STORES

    def read(self, name: str) -> bytes | None:
        """All bytes of a file; None where there is none."""
        try:
            content: bytes = self._ask(lambda: self._files.cat_file(self._at(name)), f"{name} cannot be read")
        except FileNotFoundError:
            return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Put an object with one request; elsewhere write beside it and rename."""
        if self._whole:
            self._put(name, content)
            return
        beside = f"{UNFINISHED}{secrets.token_hex(8)}"
        self._put(beside, content)
        self.delete(name)  # some file systems do not rename onto a file
        self._ask(lambda: self._files.mv(self._at(beside), self._at(name)), f"{name} cannot be written")

    def renew(self, name: str, content: bytes) -> None:
        """Write over a file where it lies; renaming would leave a moment without it."""
        self._put(name, content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless there is one.

        Exclusive in S3, Google's and Azure's stores, by a condition on the request; elsewhere fsspec looks
        whether there is one, then writes.
        """
        try:
            self._put(name, content, mode="create")
        except FileExistsError:
            return False
        return True

    def delete(self, name: str) -> None:
        """Delete a file."""
        with contextlib.suppress(FileNotFoundError):
            self._ask(lambda: self._files.rm_file(self._at(name)), f"{name} cannot be deleted")

    def names(self) -> Iterator[str]:
        """Names of all files."""
        self._files.invalidate_cache()
        try:
            found = self._ask(lambda: self._files.ls(self._path, detail=False), "cannot be listed")
        except FileNotFoundError:
            return
        finally:
            self._files.invalidate_cache()
        yield from (path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def sweep(self) -> None:
        """Delete what was left behind by writers that died."""
        for name in list(self.names()):
            if name.startswith(UNFINISHED):
                self.delete(name)

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"

    def _put(self, name: str, content: bytes, **mode: str) -> None:
        def put() -> None:
            if not self._whole:
                self._files.makedirs(self._path, exist_ok=True)
            self._files.pipe_file(self._at(name), content, **mode)

        self._ask(put, f"{name} cannot be written")

    def _ask(self, action: Callable[[], _T], trouble: str) -> _T:
        """Do something with patience; whether a file is there is for the caller to judge."""
        try:
            return patiently(action)
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as error:  # each service has exceptions of its own
            if _precondition_failed(error):
                raise FileExistsError(str(error)) from error
            raise OutputError(f"{self.address}: {trouble} ({_reason(error)})") from error


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet; where that fails, nothing of it is left."""
    with path.open("xb") as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise


def _sync_folder(folder: Path) -> None:
    """Bring a renaming to the disk, where folders can be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _precondition_failed(error: BaseException) -> bool:
    """Whether an exclusive write was refused; some services of S3 do not name the condition."""
    response = getattr(error.__cause__, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return code in ("PreconditionFailed", "ConditionalRequestConflict", "412")


def _reason(error: Exception) -> Any:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
