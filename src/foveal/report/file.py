"""A page on disk: there as a whole, or what was there before."""

from __future__ import annotations

import os
from pathlib import Path

from foveal.errors import OutputError

SUFFIXES = (".html", ".htm")


def check_target(path: str | Path) -> None:
    """Refuse a place where no page can be written, before any work is done.

    Raises:
        OutputError: the name is not that of a page (so that no picture is overwritten by a slip), there is
            no such folder, or it may not be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path}: a report is a page; choose a name that ends in .html")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}; create it first")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; choose another name")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} may not be written; choose another")


def write_page(path: str | Path, html: str) -> int:
    """Write a page, in place of one that is there already.

    Returns:
        How many bytes it has.

    Raises:
        OutputError: it cannot be written; a page that was there before still is.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    content = html.encode()
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)
    return len(content)
