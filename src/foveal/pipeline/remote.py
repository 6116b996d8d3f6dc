"""Bytes of images behind URLs, fetched ahead of the judging, so that the network's delays cost no time."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from foveal.errors import FovealError, ImageError, ImageNotFoundError
from foveal.imaging.limits import Limits
from foveal.pipeline.addresses import Options, filesystem, is_url
from foveal.pipeline.retry import patiently
from foveal.runtime.ordered import ordered_map

FETCHERS = 8
"""Images that a worker fetches at once."""

_FORBIDDEN = (401, 403)
_NOT_THERE = (404, 410)


class Fetched(io.BytesIO):
    """The bytes of an image, with its name."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name = name


class NotFetched:
    """Stands for an image that could not be fetched: whoever reads it gets the reason."""

    def __init__(self, error: ImageError) -> None:
        self.name = error.source
        self._error = error

    def read(self, size: int = -1) -> NoReturn:
        """Raise the reason."""
        raise self._error


@contextmanager
def fetched_ahead(
    addresses: Sequence[str], *, options: Options, limits: Limits, fetchers: int = FETCHERS
) -> Iterator[Iterator[object]]:
    """Images ready to be decoded, in order: paths as they are, what is behind a URL as a file in memory.

    At most twice as many images as fetchers are in memory.

    Args:
        addresses: paths and URLs; an empty one is an image that nobody has named.
        options: what file systems are opened with.
        limits: files with more bytes are not fetched whole.
        fetchers: images that are fetched at once.
    """
    if not any(map(is_url, addresses)) and all(addresses):
        yield iter(addresses)
        return
    images = ordered_map(
        lambda address: _ready(address, options, limits), addresses, workers=fetchers, ahead=2 * fetchers
    )
    try:
        yield images
    finally:
        images.close()


def _ready(address: str, options: Options, limits: Limits) -> object:
    if not address:
        return NotFetched(ImageNotFoundError("''", "the list names no image here", "give its path or URL"))
    if not is_url(address):
        return address
    try:
        return Fetched(address, fetch(address, options, limits))
    except ImageError as error:
        return NotFetched(error)


def fetch(url: str, options: Options, limits: Limits) -> bytes:
    """All bytes of an image behind a URL.

    Args:
        url: anything that fsspec reads.
        options: what file systems are opened with.
        limits: a byte more than allowed is fetched at the most, where the service gives parts of files.

    Raises:
        ImageNotFoundError: there is none, it may not be read, or the service does not give it.
    """
    try:
        files, path = filesystem(url, options)
        content: bytes = patiently(lambda: files.cat_file(path, start=0, end=limits.max_bytes + 1))
    except FovealError as error:  # nobody here speaks this protocol
        raise ImageNotFoundError(url, str(error).removeprefix(f"{url}: ")) from error
    except Exception as error:  # each service has exceptions of its own
        raise _unreadable(url, error) from error
    return content


def _unreadable(url: str, error: Exception) -> ImageNotFoundError:
    status = getattr(error, "status", None)  # of an HTTP answer
    if isinstance(error, FileNotFoundError) or status in _NOT_THERE:
        return ImageNotFoundError(url, "there is no such file", "check the URL")
    if isinstance(error, PermissionError) or status in _FORBIDDEN:
        return ImageNotFoundError(url, "may not be read", "check the permissions and credentials")
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ImageNotFoundError(url, f"cannot be read ({reason})", "check the URL, the service and the network")
