"""Hashes: of what files hold, and of all that a result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from foveal.evaluation.benchmark.config import BenchmarkError


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        BenchmarkError: it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read ({error.strerror})") from error


def hash_files(folder: str | Path, patterns: Sequence[str]) -> dict[str, str]:
    """Hash of each file directly in a folder whose name fits one of the patterns, by name.

    Raises:
        BenchmarkError: a file cannot be read.
    """
    found = {path for pattern in patterns for path in Path(folder).glob(pattern) if path.is_file()}
    return {path.name: hash_file(path) for path in sorted(found)}


def key_of(values: Mapping[str, object]) -> str:
    """SHA-256 of plain values, whatever their order: the same values have the same key, on every machine.

    Args:
        values: text, numbers, truth values, None, and lists and mappings of them.

    Raises:
        TypeError: something else is among them.
    """
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """Installed version of each package; those that are not installed are left out."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
