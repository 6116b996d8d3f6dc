"""A folder of results that is there as a whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from foveal.errors import OutputError


def refuse_existing(folder: str | Path) -> None:
    """Refuse a place where :func:`write_folder` would not write, before any work is done.

    Raises:
        OutputError: there is a file, or a folder that is not empty.
    """
    folder = Path(folder)
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise OutputError(f"{folder}: exists already and is not empty; remove it or choose another")
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder}: is a file; choose a folder that is not there yet")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be looked into ({error.strerror})") from error


def write_folder(folder: str | Path, files: Mapping[str, str]) -> None:
    """Write text files, UTF-8, into a new folder.

    They are written into a folder beside it, which is then renamed: whatever happens, the folder is either
    complete or not there.

    Args:
        folder: not there yet, or empty; folders above it are made.
        files: text by file name.

    Raises:
        OutputError: it is there already, or cannot be written.
    """
    folder = Path(folder).absolute()
    refuse_existing(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
        partial.mkdir()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
    try:
        for name, text in files.items():
            # Names of files may hold bytes that are no text.
            (partial / name).write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
