"""Find images: files, folders, patterns, and lists on standard input."""

from __future__ import annotations

import fnmatch
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import BinaryIO

from foveal.errors import ImageNotFoundError

_ALSO_IMAGES = {".avif", ".heic", ".heif"}
# Pillow recognises these without being able to draw them, or hands them to an outside program.
_NOT_DRAWN = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
_LONGEST_PATH = 1 << 15


def discover(paths: Sequence[str], *, stdin: BinaryIO | None = None) -> Iterator[str]:
    """Find the images that the given paths stand for, in a fixed order.

    Args:
        paths: each a file (taken whatever its suffix, even if it is missing, so that it gets its row), a
            folder (searched to any depth, names sorted, hidden entries skipped, no folder entered twice), a
            pattern with ``*``, ``?``, ``[...]`` or ``**``, or ``-`` for a list on standard input, one file
            a line.
        stdin: where ``-`` reads from, as bytes.

    Returns:
        Paths, found lazily; the same file may come twice where paths overlap (see :func:`unique`).

    Raises:
        ImageNotFoundError: a folder or pattern holds no image (raised here, before anything is scored), or
            the list on standard input is empty or no list (raised while reading).
    """
    return itertools.chain.from_iterable([_expand(path, stdin) for path in paths])


def unique(paths: Iterable[str]) -> Iterator[str]:
    """Drop every further mention of a path, however it is spelled."""
    seen: set[str] = set()
    for path in paths:
        key = identity(path)
        if key not in seen:
            seen.add(key)
            yield path


def identity(path: str) -> str:
    """Absolute, tidied spelling under which a path is recognised; links are not followed."""
    return os.path.abspath(path)  # noqa: PTH100 - Path.absolute() keeps ".." and resolve() follows links


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of the formats that can be decoded, lower case with their dot."""
    from PIL import Image

    known = Image.registered_extensions()
    readable = {suffix for suffix, kind in known.items() if kind in Image.OPEN and kind not in _NOT_DRAWN}
    return frozenset(readable | _ALSO_IMAGES)


def _expand(path: str, stdin: BinaryIO | None) -> Iterator[str]:
    if path == "-":
        if stdin is None:
            raise ValueError("'-' needs a stream to read the list from")
        return _listed(stdin)
    if _is_folder(Path(path)):
        return _some(_images_under(path), path, "no images in this folder", "name files to score them anyway")
    if _has_magic(path) and not os.path.lexists(path):
        return _some(_images_matching(path), path, "no images match this pattern", "check its spelling")
    return iter((path,))


def _some(found: Iterator[str], source: str, reason: str, advice: str) -> Iterator[str]:
    """Pass everything on, but complain at once if there is nothing."""
    first = next(found, None)
    if first is None:
        raise ImageNotFoundError(source, reason, advice)
    return itertools.chain((first,), found)


def _listed(stream: BinaryIO) -> Iterator[str]:
    names = (_listed_name(line) for line in iter(lambda: stream.readline(_LONGEST_PATH), b""))
    yield from _some(filter(None, names), "standard input", "the list is empty", "give one file a line")


def _listed_name(line: bytes) -> str:
    if b"\0" in line or len(line) == _LONGEST_PATH:
        raise ImageNotFoundError("standard input", "this is not a list of files", "give one file a line")
    return os.fsdecode(line.rstrip(b"\r\n"))


def _images_under(folder: str) -> Iterator[str]:
    return (path for path, is_folder in _walk(folder) if not is_folder)


def _images_matching(pattern: str) -> Iterator[str]:
    pure = PurePath(pattern)
    for match in _matches(pure.anchor, pure.parts[1 if pure.anchor else 0 :]):
        if _is_folder(Path(match)):
            yield from _images_under(match)
        elif _has_image_suffix(match):
            yield match


def _matches(prefix: str, parts: tuple[str, ...]) -> Iterator[str]:
    """Expand a pattern part by part: unlike :mod:`glob`, sorted and safe with links that form loops."""
    if not parts:
        yield prefix
        return
    head, rest = parts[0], parts[1:]
    if head == "**":
        # A pattern that ends here means everything below, which the walk of one folder already gives.
        folders = (path for path, is_folder in _walk(prefix) if is_folder) if rest else iter((prefix,))
        for folder in folders:
            yield from _matches(folder, rest)
    elif _has_magic(head):
        for name, path, _ in _entries(prefix):
            if fnmatch.fnmatch(name, head) and (head.startswith(".") or not name.startswith(".")):
                yield from _matches(path, rest)
    elif os.path.lexists(path := str(PurePath(prefix, head))):
        yield from _matches(path, rest)


def _walk(top: str) -> Iterator[tuple[str, bool]]:
    """Folders (True) and images (False) below and including a folder, depth first, sorted by name.

    A folder that cannot be read is given as if it were an image, so that it ends as a row with an error.
    """
    visited: set[tuple[int, int]] = set()
    waiting = [(top, True)]
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            yield path, False
            continue
        try:
            state = Path(path).stat()
            if (state.st_dev, state.st_ino) in visited:
                continue
            visited.add((state.st_dev, state.st_ino))
            entries = _entries(path)
        except OSError:
            yield path, False
            continue
        yield path, True
        visible = [(child, inner) for name, child, inner in entries if not name.startswith(".")]
        waiting.extend(child for child in reversed(visible) if child[1] or _has_image_suffix(child[0]))


def _entries(folder: str) -> list[tuple[str, str, bool]]:
    """Name, path and whether it is a folder, of everything directly in a folder, sorted by name."""
    with os.scandir(folder or os.curdir) as entries:
        return sorted((e.name, e.path if folder else e.name, _is_folder(e)) for e in entries)


def _is_folder(path: Path | os.DirEntry[str]) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a link that points to itself, or a name too long for the file system
        return False


def _has_magic(pattern: str) -> bool:
    return any(mark in pattern for mark in "*?[")


def _has_image_suffix(path: str) -> bool:
    return PurePath(path).suffix.lower() in image_suffixes()
