"""Where an image comes from: its name, and its bytes with all that can go wrong before they are read."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveal.errors import EmptyImageError, ImageNotFoundError, NotAnImageError
from foveal.imaging.limits import Limits

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[Any]
"""All that can be decoded: a path, encoded bytes, a binary file object, a Pillow image, or a NumPy array."""

_CHUNK = 2**20


def name_of(source: object) -> str:
    """Name of an image for messages and tables: its path where it has one, else the kind of source in <>."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source) or "''"
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    if isinstance(source, np.ndarray):
        return "<array>"
    own = getattr(source, "filename" if isinstance(source, Image.Image) else "name", None)
    if isinstance(own, str) and own:
        return own
    kind = (
        "image"
        if isinstance(source, Image.Image)
        else "file object"
        if hasattr(source, "read")
        else type(source).__name__
    )
    return f"<{kind}>"


@contextmanager
def byte_stream(source: object, name: str, limits: Limits) -> Iterator[BinaryIO]:
    """Give the encoded image as a seekable binary stream at its start.

    Args:
        source: path, bytes or binary file object. A file object is read whole, from its start where it can
            seek; it is neither closed nor rewound.
        name: name of the source for messages.
        limits: the file size is checked before reading.

    Raises:
        ImageNotFoundError: no such file, a directory or device, or it may not be read.
        EmptyImageError: no bytes.
        FileTooLargeError: more bytes than the limit.
        NotAnImageError: the source is of another kind, or a file object in text mode.
    """
    if isinstance(source, str | os.PathLike):
        with _open_file(Path(os.fsdecode(source)), name, limits) as file:
            yield file
        return
    if hasattr(source, "read"):
        source = _read_all(source, name, limits)
    if not isinstance(source, bytes | bytearray | memoryview):
        advice = "give a path, bytes, a binary file object, a Pillow image or a NumPy array"
        raise NotAnImageError(name, "is not an image source", advice)
    _check_length(name, memoryview(source).nbytes, limits)
    yield io.BytesIO(source)


def _open_file(path: Path, name: str, limits: Limits) -> BinaryIO:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageNotFoundError(name, "is a directory", "give the image files in it")
        if not stat.S_ISREG(status.st_mode):
            # Opening a pipe that nobody writes to would block for ever.
            raise ImageNotFoundError(name, "is not a regular file", "read it yourself and give its bytes")
        _check_length(name, status.st_size, limits)
        return path.open("rb")
    except FileNotFoundError as error:
        raise ImageNotFoundError(name, "there is no such file", "check the path") from error
    except PermissionError as error:
        raise ImageNotFoundError(
            name, "may not be read", "check the permissions of the file and its folder"
        ) from error
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error


def _read_all(file: Any, name: str, limits: Limits) -> bytes:
    """Read until the end or until the limit is passed, whatever portions a raw file or socket gives."""
    try:
        if hasattr(file, "seekable") and file.seekable():
            file.seek(0)
        data = bytearray()
        while len(data) <= limits.max_bytes and (chunk := file.read(_CHUNK)):
            data += chunk
        return bytes(data)
    except TypeError as error:
        raise NotAnImageError(name, "does not give bytes", 'open the file in binary mode, "rb"') from error
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error


def _check_length(name: str, count: int, limits: Limits) -> None:
    if count == 0:
        raise EmptyImageError(name, "has no bytes", "write or fetch the file again")
    limits.check_bytes(name, count)


def unreadable(name: str, error: Exception) -> ImageNotFoundError:
    """The error for a file that exists but does not give its bytes."""
    return ImageNotFoundError(
        name, f"cannot be read ({error})", "check the path, the disk and whether it is still open"
    )
