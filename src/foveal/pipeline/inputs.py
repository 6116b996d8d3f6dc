"""What ``foveal score --engine ray`` is given: folders, patterns, lists and tables, here or behind a URL.

Each becomes shards, small descriptions that a worker turns into the list of images; so the whole list is
never in one process. The order of images depends on nothing but their names and the tables.
"""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from foveal.errors import FovealError, SourceError
from foveal.pipeline.addresses import (
    Options,
    absolute,
    filesystem,
    is_url,
    parent,
    suffix,
    without_file_protocol,
)
from foveal.pipeline.discover import discover, image_suffixes
from foveal.pipeline.image_tables import TABLES, Columns, columns_of, group_rows, read_items
from foveal.pipeline.partitions import Item

_LIST = ".txt"


class Shard(Protocol):
    """A part of the images that is listed by one worker, in a fixed order."""

    @property
    def base(self) -> str:
        """Folder that its images are named from; empty where they have whole addresses."""

    @property
    def has_prompts(self) -> bool:
        """Whether each image comes with its prompt."""

    def items(self, options: Options) -> Iterator[Item]:
        """List the images; lazily.

        Raises:
            FovealError: they cannot be listed.
        """


def find_shards(inputs: Sequence[str], size: int, options: Options | None = None) -> list[Shard]:
    """Find out what the inputs are.

    Args:
        inputs: each an image, a folder (searched to any depth, names sorted, hidden entries skipped), a
            pattern, a list of images (``.txt``, one a line), or a table with a column ``image``, ``path`` or
            ``url`` and perhaps ``prompt`` (CSV, TSV, JSON lines, Parquet); as paths or as URLs.
        size: images in a partition; a shard of a Parquet file has about so many at the least.
        options: what file systems are opened with.

    Raises:
        SourceError: an input is missing, empty, or a table without a column of images.
        ImageNotFoundError: a folder or pattern on this machine holds no image.
        StorageError: a URL cannot be read here.
    """
    shards: list[Shard] = []
    for address in map(without_file_protocol, inputs):
        if address == "-":
            raise SourceError("standard input: workers cannot read it; write the list to a .txt file")
        shards.extend(_shards(address, size, options or {}))
    return shards


def _shards(address: str, size: int, options: Options) -> list[Shard]:
    kind = suffix(address)
    if kind in (*TABLES, _LIST) and _has_magic(address):
        return [shard for table in _matching(address, options) for shard in _shards(table, size, options)]
    if kind in TABLES and not _is_folder(address, options):
        return _table_shards(address, kind, size, options)
    if kind == _LIST and not _is_folder(address, options):
        with opened(address, options):  # a missing list is told at once
            return [ListShard(absolute(address))]
    if is_url(address):
        return [_remote_shard(address, options)]
    return [_local_shard(address)]


def _table_shards(address: str, kind: str, size: int, options: Options) -> list[Shard]:
    with opened(address, options) as file:
        columns = columns_of(file, kind, address)
        if kind != ".parquet":
            return [TableShard(absolute(address), columns)]
        groups = group_rows(file, size)
    return [TableShard(absolute(address), columns, first, last) for first, last in groups]


def _remote_shard(address: str, options: Options) -> Shard:
    if _has_magic(address):
        return RemoteImages(address, is_pattern=True)
    if suffix(address) in image_suffixes() or not _is_folder(address, options):
        return OneImage(address)
    return RemoteImages(address)


def _local_shard(address: str) -> Shard:
    next(discover([address]), None)  # complains of folders and patterns without images
    here = os.getcwd() if not os.path.isabs(address) else ""  # noqa: PTH109, PTH117 - no tidying of names
    return LocalImages(address, here)


@dataclass(frozen=True, slots=True)
class OneImage:
    """An image with an address of its own."""

    address: str
    base = ""
    has_prompts = False

    def items(self, options: Options) -> Iterator[Item]:
        """Give it."""
        yield self.address, None


@dataclass(frozen=True, slots=True)
class LocalImages:
    """What a path or pattern stands for; the names are those that ``foveal score`` finds.

    Attributes:
        path: file, folder or pattern.
        base: folder that a relative one starts from: workers run elsewhere.
    """

    path: str
    base: str
    has_prompts = False

    def items(self, options: Options) -> Iterator[Item]:
        """Search for them."""
        folder = os.path.join(self.base, "") if self.base else ""  # noqa: PTH118
        is_pattern = _has_magic(self.path) and not os.path.lexists(folder + self.path)
        start = glob.escape(folder) if is_pattern else folder
        return ((path.removeprefix(folder), None) for path in discover([start + self.path]))


@dataclass(frozen=True, slots=True)
class RemoteImages:
    """All images under a URL, or all that match one with ``*``."""

    url: str
    is_pattern: bool = False
    base = ""
    has_prompts = False

    def items(self, options: Options) -> Iterator[Item]:
        """Search for them, depth first, names sorted."""
        files, path = filesystem(self.url, options)
        with _listing(self.url):
            found = self._matching(files, path) if self.is_pattern else _under(files, path)
            for name in found:
                yield files.unstrip_protocol(name), None

    def _matching(self, files: Any, path: str) -> Iterator[str]:
        files.invalidate_cache()
        found = sorted(files.glob(path))
        return (name for name in found if _is_image(name) and not _last(name).startswith("."))


@dataclass(frozen=True, slots=True)
class ListShard:
    """A text file with one image a line, named from the file's folder."""

    address: str
    has_prompts = False

    @property
    def base(self) -> str:
        """The folder of the list."""
        return parent(self.address)

    def items(self, options: Options) -> Iterator[Item]:
        """Read line by line; empty ones are passed over."""
        with opened(self.address, options) as file:
            for line in io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape"):
                if name := line.rstrip("\r\n"):
                    yield name, None


@dataclass(frozen=True, slots=True)
class TableShard:
    """A table, or some row groups of a Parquet file; images are named from the table's folder."""

    address: str
    columns: Columns
    first_group: int = 0
    last_group: int = -1

    @property
    def base(self) -> str:
        """The folder of the table."""
        return parent(self.address)

    @property
    def has_prompts(self) -> bool:
        """Whether it has a column of prompts."""
        return self.columns.prompt is not None

    def items(self, options: Options) -> Iterator[Item]:
        """Read row by row."""
        groups = range(self.first_group, self.last_group + 1)
        with opened(self.address, options) as file:
            yield from read_items(file, suffix(self.address), self.columns, self.address, groups)


@contextmanager
def opened(address: str, options: Options) -> Iterator[BinaryIO]:
    """Open a list or table for reading.

    Raises:
        SourceError: there is no such file, or it cannot be read, also while it is being read.
    """
    try:
        if is_url(address):
            files, path = filesystem(address, options)
            with files.open(path, "rb") as file:
                yield cast("BinaryIO", file)
        else:
            with Path(address).open("rb") as file:
                yield file
    except FovealError:
        raise
    except FileNotFoundError as error:
        raise SourceError(f"{address}: there is no such file; check the address") from error
    except Exception as error:  # each service has exceptions of its own
        raise SourceError(f"{address}: cannot be read ({_reason(error)})") from error


@contextmanager
def _listing(url: str) -> Iterator[None]:
    try:
        yield
    except FovealError:
        raise
    except Exception as error:  # each service has exceptions of its own
        raise SourceError(f"{url}: cannot be listed ({_reason(error)})") from error


def _under(files: Any, top: str) -> Iterator[str]:
    """Images below a folder, depth first, sorted by name, hidden entries skipped: as on a disk."""
    waiting = [(top.rstrip("/"), True)]
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            yield path
            continue
        files.invalidate_cache()  # or it would hold the whole listing, and an old one at that
        for entry in sorted(_entries(files, path), key=lambda entry: _last(entry["name"]), reverse=True):
            name, folder = entry["name"], entry["type"] == "directory"
            if not _last(name).startswith(".") and (folder or _is_image(name)):
                waiting.append((name.rstrip("/") if folder else name, folder))


def _entries(files: Any, folder: str) -> list[dict[str, Any]]:
    """What lies directly in a folder; some stores list the folder itself, too."""
    found: list[dict[str, Any]] = files.ls(folder if not is_url(folder) else folder + "/", detail=True)
    return [entry for entry in found if entry["name"].rstrip("/") != folder]


def _matching(pattern: str, options: Options) -> list[str]:
    """Tables or lists that match a pattern, sorted."""
    if is_url(pattern):
        files, path = filesystem(pattern, options)
        with _listing(pattern):
            found = [files.unstrip_protocol(name) for name in sorted(files.glob(path))]
    else:
        found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - keeps the spelling
    if not found:
        raise SourceError(f"{pattern}: nothing matches this pattern; check its spelling")
    return found


def _is_folder(address: str, options: Options) -> bool:
    if not is_url(address):
        return os.path.isdir(address)  # noqa: PTH112
    files, path = filesystem(address, options)
    with _listing(address):
        return bool(files.isdir(path))


def _is_image(name: str) -> bool:
    return suffix(name) in image_suffixes()


def _has_magic(address: str) -> bool:
    """Whether this is a pattern; in URLs ``?`` and ``[`` have other meanings."""
    return any(mark in address for mark in ("*" if is_url(address) else "*?["))


def _last(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
