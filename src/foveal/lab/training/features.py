"""Features of a frozen backbone, computed once and cached on disk, so that heads train in seconds.

A cache is one SQLite file. A row holds the features of one view of one image under one extractor; it is found
by the hash of the image file's bytes, not by its name, so that renamed files are known and changed ones are
computed again. Several extractors may share a file.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import sqlite3
import sys
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError
from foveal.imaging.decode import DEFAULT_LIMITS, decode
from foveal.imaging.sources import byte_stream
from foveal.imaging.views import CELL, SIDE, Pixels, content_offsets, crop_view, fragment_view, whole_view

if TYPE_CHECKING:
    from torch import Tensor, nn

Values = NDArray[Any]
"""Features of one view: float16 or float32, of the one shape that its extractor gives."""

_APPLICATION = 0x466F7643  # "FovC", in the file's header: tells a cache from other databases
_VERSION = 1  # of the tables
_CUTTING = 1  # of how views are decoded and cut: raise it when they change, and no cached row is found again
_BUSY_SECONDS = 120.0
_RETRY_SECONDS = 0.01
_DTYPES = ("float16", "float32")
_WORKERS = 2
_AHEAD = 16
_CHUNK = 1000

_TABLES = (
    """CREATE TABLE extractors (
        id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, dtype TEXT NOT NULL, shape TEXT NOT NULL
    )""",
    """CREATE TABLE features (
        content BLOB NOT NULL, view TEXT NOT NULL, extractor INTEGER NOT NULL,
        check_sum INTEGER NOT NULL, value BLOB NOT NULL, UNIQUE (content, view, extractor)
    )""",
)
_FIND = "FROM features WHERE content = ? AND view = ? AND extractor = ?"

_Layout = tuple[int, np.dtype[Any], tuple[int, ...]]
"""Number of an extractor in a file, type and shape of its features."""

_DELETE = "delete it, and the -wal and -shm files beside it; its features will be computed again"
_ADVICE = {
    sqlite3.SQLITE_NOTADB: _DELETE,
    sqlite3.SQLITE_CORRUPT: _DELETE,
    sqlite3.SQLITE_FULL: "free some space, or choose another path; what was stored before is still there",
    sqlite3.SQLITE_BUSY: "another process is writing for too long; end it, or wait for it",
}


class FeatureCacheError(FovealError):
    """The cache of features cannot be used; the message names the file and says what to do."""


@dataclass(frozen=True, order=True)
class ViewKey:
    """Which view of an image.

    Attributes:
        kind: ``whole`` (the whole picture, squashed), ``fragments`` (native-resolution crops from a grid) or
            ``crop`` (one native-resolution square).
        side: side of the view in pixels; of fragments a multiple of 32.
        draw: number of the draw. Fragments lie where the image's content and this number put them, as the
            assessor's do; so do crops, but for number 0, which is the middle. There is one whole view.

    Raises:
        ValueError: unknown kind, a side that the kind cannot have, or a draw that there is not.
    """

    kind: str
    side: int = SIDE
    draw: int = 0

    def __post_init__(self) -> None:
        """Refuse views that cannot be cut."""
        if self.kind not in ("whole", "fragments", "crop"):
            raise ValueError(f"view kind is {self.kind!r}, expected 'whole', 'fragments' or 'crop'")
        if self.side < 1 or (self.kind == "fragments" and self.side % CELL):
            raise ValueError(
                f"a side of {self.side} pixels, expected a positive one, of fragments a multiple of {CELL}"
            )
        if self.draw < 0 or (self.kind == "whole" and self.draw):
            raise ValueError(
                f"{self.kind} view has no draw {self.draw}; they count from 0, the whole view has no other"
            )

    def __str__(self) -> str:
        return f"{self.kind}:{self.side}:{self.draw}:{_CUTTING}"

    def cut(self, pixels: Pixels, whole: Pixels) -> Pixels:
        """Cut this view.

        Args:
            pixels: the image as decoded, uint8 (height, width, 3).
            whole: its :func:`foveal.imaging.views.whole_view`, which all draws depend on.

        Returns:
            uint8 (side, side, 3).
        """
        if self.kind == "whole":
            return whole if self.side == len(whole) else whole_view(pixels, self.side)
        if self.kind == "fragments":
            grid = self.side // CELL
            return fragment_view(pixels, content_offsets(whole, draw=self.draw, grid=grid), grid=grid)
        if not self.draw:
            return crop_view(pixels, side=self.side)
        down, right = content_offsets(whole, draw=self.draw, grid=1)[0, 0]
        return crop_view(pixels, (float(down), float(right)), self.side)


Key = tuple[bytes, ViewKey]
"""The :func:`content_hash` of an image file, and which view of it."""

Compute = Callable[[list[Pixels]], Values]
"""Views of one size, uint8 (side, side, 3) each -> their features, (views, ...), float16 or float32."""


def cache_folder() -> Path:
    """Folder of caches unless a caller names another: below ``$FOVEAL_CACHE``, else below the platform's."""
    if chosen := os.environ.get("FOVEAL_CACHE"):
        return Path(chosen).expanduser() / "features"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "foveal" / "features"


def content_hash(image: str | os.PathLike[str]) -> bytes:
    """BLAKE2b of an image file's bytes, 20 bytes.

    Raises:
        ImageError: there is no such file, it cannot be read, is empty, or larger than can be decoded.
    """
    with byte_stream(image, os.fsdecode(image), DEFAULT_LIMITS) as file:
        digest = _blake()
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.digest()


def backbone_fingerprint(module: nn.Module) -> str:
    """BLAKE2b over names, types, shapes and bytes of all parameters and buffers, as 40 hexadecimal digits.

    Neither the device nor what is frozen counts, and normalisation counts where it is a buffer. What is not
    a tensor does not count (which layers are read, how tokens are pooled): an extractor's fingerprint must
    name that too.
    """
    import torch

    tensors: dict[str, Tensor] = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    digest = _blake()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        # The description has no zero byte, and says how many bytes follow: no two modules read alike.
        digest.update(f"{name!r} {tensor.dtype} {tuple(tensor.shape)}".encode() + b"\0")
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class FeatureCache:
    """Features of views under one extractor, in an SQLite file that several processes may share.

    Every batch is one transaction: a process that is killed leaves whole rows or none. For use by the thread
    that made it; close it, or use it as a context manager.

    Args:
        path: the file; made, with its folder, if it is not there.
        extractor: fingerprint of all that makes the features: backbone with :func:`backbone_fingerprint`,
            layers, pooling and its version. Another text finds nothing of what this one has stored.

    Raises:
        FeatureCacheError: the file is damaged, is something else, or cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], extractor: str) -> None:
        self.path = Path(path)
        self.extractor = extractor
        self._layout: _Layout | None = None
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __len__(self) -> int:
        """Rows of this extractor."""
        with self._explained():
            query = "SELECT count(*) FROM features JOIN extractors ON extractor = id WHERE fingerprint = ?"
            return int(self._connection.execute(query, (self.extractor,)).fetchone()[0])

    def get(self, keys: Iterable[Key]) -> dict[Key, Values]:
        """Look rows up.

        Args:
            keys: in any number.

        Returns:
            Those that are there; read-only arrays.

        Raises:
            FeatureCacheError: the file is damaged.
        """
        with self._explained(), self._transaction("DEFERRED"):
            known = self._known()
            if known is None:
                return {}
            number, dtype, shape = known
            found = {}
            for key in keys:
                place = key[0], str(key[1]), number
                row = self._connection.execute(f"SELECT check_sum, value {_FIND}", place).fetchone()
                if row is not None:
                    check_sum, value = row
                    found[key] = self._restored(check_sum, value, dtype, shape)
            return found

    def put(self, rows: Mapping[Key, Values]) -> None:
        """Store rows, all or none; one that is there already stays.

        Args:
            rows: finite float16 or float32 arrays, all of the type and shape that this extractor began with.

        Raises:
            ValueError: a value is of another type or shape, or not finite.
            FeatureCacheError: the disk is full, or the file is damaged or cannot be written.
        """
        if not rows:
            return
        arrays = {key: np.asarray(value, order="C") for key, value in rows.items()}
        with self._explained(), self._transaction():
            layout = self._known() or self._register(next(iter(arrays.values())))
            for array in arrays.values():
                self._check(array, layout)
            self._connection.executemany(
                "INSERT OR IGNORE INTO features VALUES (?, ?, ?, ?, ?)",
                (
                    (content, str(view), layout[0], zlib.crc32(array.data), array.data)
                    for (content, view), array in arrays.items()
                ),
            )
        self._layout = layout

    def features_of(
        self,
        images: Sequence[Path],
        views: Sequence[ViewKey],
        compute: Compute,
        *,
        batch: int = 32,
        progress: Callable[[int, int], None] | None = None,
    ) -> Values:
        """Features of some views of each image: read where they are stored, else computed and stored.

        Only images that miss something are decoded, once each. Each batch is stored as soon as it is
        computed, so that an interrupted call goes on where it was.

        Args:
            images: files of n images; files with the same bytes are computed once.
            views: which views of each.
            compute: the extractor; called with views of one size at a time, at most ``batch``.
            batch: views in a call.
            progress: called after each batch with how many views are computed, and how many there are to
                compute in all.

        Returns:
            float16 or float32 (n, views, ...).

        Raises:
            ImageError: an image cannot be read or decoded.
            ValueError: no image or view is asked for, ``batch`` is not positive, or ``compute`` gives
                something that cannot be stored.
            FeatureCacheError: the cache cannot be used, or an image changes while it is read.
        """
        if not images or not views or batch < 1:
            raise ValueError(
                f"{len(images)} images, {len(views)} views, a batch of {batch}; expected at least 1 each"
            )
        with ThreadPoolExecutor(_WORKERS) as pool:
            contents = list(pool.map(content_hash, images))
            missing = self._missing(contents, views)
            plans = {
                content: (image, missing[content])
                for content, image in zip(contents, images, strict=True)
                if content in missing
            }
            total, done = sum(len(needed) for needed in missing.values()), 0
            for keys, pixels in _batches(_cut_ahead(pool, plans), batch):
                self.put(dict(zip(keys, _computed(compute, pixels), strict=True)))
                done += len(keys)
                if progress is not None:
                    progress(done, total)
        return self._collected(contents, views)

    def _missing(self, contents: Iterable[bytes], views: Sequence[ViewKey]) -> dict[bytes, list[ViewKey]]:
        """Views of each content that are not stored."""
        wanted = {(content, view): None for content in contents for view in views}
        missing: dict[bytes, list[ViewKey]] = {}
        with self._explained(), self._transaction("DEFERRED"):
            layout = self._known()
            for content, view in wanted:
                place = content, str(view), layout and layout[0]
                if self._connection.execute(f"SELECT 1 {_FIND}", place).fetchone() is None:
                    missing.setdefault(content, []).append(view)
        return missing

    def _collected(self, contents: Sequence[bytes], views: Sequence[ViewKey]) -> Values:
        """Stored rows as one array."""
        parts = []
        for first in range(0, len(contents), _CHUNK):
            part = contents[first : first + _CHUNK]
            rows = self.get({(content, view): None for content in part for view in views})
            parts.append(np.stack([np.stack([rows[content, view] for view in views]) for content in part]))
        return np.concatenate(parts)

    def _open(self) -> None:
        connection = self._connection
        # A row of a cache may be lost with the power; what the file holds stays consistent.
        connection.execute("PRAGMA synchronous = NORMAL")
        if self._header() == (0, 0, 0):
            self._write_ahead()
            with self._transaction():
                if self._header() == (0, 0, 0):  # unless another process was faster
                    for statement in _TABLES:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                    connection.execute(f"PRAGMA user_version = {_VERSION}")
        if self._header() != (_APPLICATION, _VERSION, len(_TABLES)):
            raise FeatureCacheError(
                f"{self.path}: a database, but not a cache of features of this version of Foveal; "
                "give another path, or delete it"
            )

    def _write_ahead(self) -> None:
        """Switch the file to a write-ahead log; SQLite itself does not wait for others that write to it."""
        until = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(_RETRY_SECONDS)

    def _header(self) -> tuple[int, ...]:
        """Application, version, and number of tables: all 0 in a file that is new."""
        tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table'"
        queries = ("PRAGMA application_id", "PRAGMA user_version", tables)
        return tuple(int(self._connection.execute(query).fetchone()[0]) for query in queries)

    def _known(self) -> _Layout | None:
        """What the file says of this extractor, once it has stored anything."""
        if self._layout is None:
            query = "SELECT id, dtype, shape FROM extractors WHERE fingerprint = ?"
            row = self._connection.execute(query, (self.extractor,)).fetchone()
            if row is not None:
                number, dtype, shape = row
                self._layout = number, np.dtype(dtype), tuple(int(size) for size in shape.split())
        return self._layout

    def _register(self, example: Values) -> _Layout:
        """Enter this extractor with type and shape of its first features."""
        if example.dtype.name not in _DTYPES:
            raise ValueError(f"features are {example.dtype}, expected float16 or float32")
        number = self._connection.execute(
            "INSERT INTO extractors (fingerprint, dtype, shape) VALUES (?, ?, ?)",
            (self.extractor, example.dtype.name, " ".join(map(str, example.shape))),
        ).lastrowid
        return int(number or 0), np.dtype(example.dtype.name), example.shape

    def _check(self, array: Values, layout: _Layout) -> None:
        _, dtype, shape = layout
        if (array.dtype, array.shape) != (dtype, shape):
            raise ValueError(
                f"features are {array.dtype} {array.shape}, but this extractor's in {self.path} are {dtype} "
                f"{shape}; an extractor that gives others needs another fingerprint"
            )
        if not np.isfinite(array).all():
            raise ValueError("features hold NaN or infinities, which would stay in the cache: not stored")

    def _restored(self, check_sum: int, value: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Values:
        if zlib.crc32(value) != check_sum or len(value) != math.prod(shape) * dtype.itemsize:
            raise FeatureCacheError(f"{self.path}: a row has been altered; {_DELETE}")
        return np.frombuffer(value, dtype).reshape(shape)

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """Do all or nothing; for reading alone ``DEFERRED``, which spares locking the file row by row."""
        self._connection.execute(f"BEGIN {kind}")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite itself goes back when the disk is full
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what SQLite and the file system raise into an error that says what to do."""
        try:
            yield
        except sqlite3.ProgrammingError:  # closed, or another thread: the caller's mistake
            raise
        except (sqlite3.Error, OSError) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the details in the upper bits
            advice = _ADVICE.get(code, "check the disk and the permissions, or choose another path")
            raise FeatureCacheError(f"{self.path}: {error}; {advice}") from error


class _Bytes(io.BytesIO):
    """The bytes of a file, which keep its name for messages."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def _cut(image: Path, content: bytes, views: Sequence[ViewKey]) -> list[tuple[Key, Pixels]]:
    """Cut views of one image, from the very bytes that were hashed."""
    with byte_stream(image, str(image), DEFAULT_LIMITS) as file:
        data = file.read()
    if _blake(data).digest() != content:
        raise FeatureCacheError(f"{image}: changed while features were computed; start again")
    pixels = decode(_Bytes(data, str(image))).pixels
    whole = whole_view(pixels)
    return [((content, view), view.cut(pixels, whole)) for view in views]


def _cut_ahead(
    pool: ThreadPoolExecutor, plans: Mapping[bytes, tuple[Path, Sequence[ViewKey]]]
) -> Iterator[tuple[Key, Pixels]]:
    """Cut all planned views in order, some images ahead of the one that is asked for."""
    pending: deque[Future[list[tuple[Key, Pixels]]]] = deque()
    for content, (image, views) in plans.items():
        pending.append(pool.submit(_cut, image, content, views))
        if len(pending) > _AHEAD:
            yield from pending.popleft().result()
    while pending:
        yield from pending.popleft().result()


def _batches(cuts: Iterable[tuple[Key, Pixels]], size: int) -> Iterator[tuple[list[Key], list[Pixels]]]:
    """Batches of views of one side each; the last ones may be smaller."""
    waiting: dict[int, tuple[list[Key], list[Pixels]]] = {}
    for key, pixels in cuts:
        keys, views = waiting.setdefault(len(pixels), ([], []))
        keys.append(key)
        views.append(pixels)
        if len(keys) == size:
            yield waiting.pop(len(pixels))
    yield from waiting.values()


def _computed(compute: Compute, views: list[Pixels]) -> Values:
    values = np.asarray(compute(views))
    if not values.ndim or len(values) != len(views):
        raise ValueError(f"compute gave features of shape {values.shape} for {len(views)} views")
    return values


def _blake(data: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(data, digest_size=20)
