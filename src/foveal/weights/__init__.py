"""The assessors that come with the package."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from foveal.errors import UnknownModelError

_FOLDER = Path(__file__).parent
_SUFFIX = ".foveal.safetensors"


def available() -> dict[str, Path]:
    """Shipped assessors: their files by name, sorted."""
    return {path.name.removesuffix(_SUFFIX): path for path in sorted(_FOLDER.glob(f"*{_SUFFIX}"))}


def find_model(name_or_path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The file of a shipped assessor, or the path that was given.

    Raises:
        UnknownModelError: neither a shipped assessor nor a file.
    """
    shipped = available()
    if isinstance(name_or_path, str) and name_or_path in shipped:
        return shipped[name_or_path]
    with contextlib.suppress(OSError, ValueError):  # names that no file can have
        if Path(name_or_path).exists():
            return name_or_path
    names = ", ".join(shipped) or "none"
    raise UnknownModelError(f"{name_or_path}: neither a shipped assessor ({names}) nor a model file")
