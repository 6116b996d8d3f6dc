"""Addresses of files: paths on this machine, and URLs of whatever fsspec can read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from foveal.errors import MissingExtraError, StorageError

Options = Mapping[str, Mapping[str, Any]]
"""What file systems are opened with, by protocol, such as ``{"s3": {"anon": True}}``."""

# At least two letters, so that the drive of a Windows path is none.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# fsspec knows disks by both; ours write files on them in one step, as its own do not.
_FILE = re.compile(r"^(file|local)://")


def is_url(address: str) -> bool:
    """Whether this is a URL; everything else is a path."""
    return _URL.match(address) is not None


def without_file_protocol(address: str) -> str:
    """The path in a ``file://`` or ``local://`` URL; other addresses as they are."""
    return _FILE.sub("", address)


def resolve(base: str, name: str) -> str:
    """The full address of a file that is named from a folder.

    Args:
        base: path or URL of the folder.
        name: path from there, or an address of its own: a URL, or an absolute path where the base is a path.
    """
    name = without_file_protocol(name)
    if is_url(name):
        return name
    if is_url(base):
        return f"{base.rstrip('/')}/{name}"
    return os.path.join(base, name)  # noqa: PTH118 - Path would tidy the spelling


def absolute(address: str) -> str:
    """An address that means the same wherever a process runs."""
    address = without_file_protocol(address)
    return address if is_url(address) else os.path.abspath(address)  # noqa: PTH100 - resolve() follows links


def parent(address: str) -> str:
    """The folder that a file lies in, as path or URL; empty for a bare file name."""
    if is_url(address):
        return address.rsplit("/", 1)[0]
    return os.path.dirname(address)  # noqa: PTH120 - Path would make "." of nothing


def suffix(address: str) -> str:
    """Lower-case suffix of the file's name with its dot, query and fragment of a URL left out."""
    path = urlsplit(address).path if is_url(address) else address
    return PurePosixPath(path.replace(os.sep, "/")).suffix.lower()


def filesystem(url: str, options: Options) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    File names may hold ``::``. Only where a URL follows do they chain file systems (``zip://a.jpg::s3://...``).

    Raises:
        MissingExtraError: fsspec is not installed.
        StorageError: the protocol is unknown, or what speaks it is not installed.
    """
    fsspec = require_fsspec(url)
    protocol = url.partition("://")[0]
    given = options.get(protocol, {})
    try:
        if is_url(url.partition("::")[2]):
            found, path = fsspec.core.url_to_fs(url, **given)
            return found, path
        kind = fsspec.get_filesystem_class(protocol)
        named = kind._get_kwargs_from_urls(url)  # such as the host
        return fsspec.filesystem(protocol, **{**named, **given}), kind._strip_protocol(url)
    except (ImportError, ValueError) as error:
        raise StorageError(f"{url}: {error}") from error


def require_fsspec(url: str) -> ModuleType:
    """Import what reads URLs.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import fsspec.core
    except ImportError as error:
        raise MissingExtraError(url, "cluster") from error
    module: ModuleType = fsspec
    return module
