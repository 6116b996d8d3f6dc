"""Changes of a recipe as they are given on a command line: ``training.epochs=3``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_PATHS = (
    "ratings.path",
    "ratings.images",
    "split.file",
    "small.trunk",
    "large.name",
    "descriptions.impressions",
)


def parse_changes(texts: Iterable[str]) -> dict[str, Any]:
    """Read changes.

    Args:
        texts: each ``FIELD=VALUE``, the value as in TOML; what is not TOML is text, so that quotes may be
            left out. A path is one from here, where such a file is; those in a recipe are from there.

    Returns:
        Values by dotted name, as :func:`foveal.lab.training.recipe.read_recipe` takes them.

    Raises:
        ValueError: a text is not ``FIELD=VALUE``.
    """
    return {name: _from_here(name, value) for name, value in map(_parse, texts)}


def _parse(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"{text!r} is not FIELD=VALUE")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def _from_here(name: str, value: Any) -> Any:
    is_path = name in _PATHS and isinstance(value, str) and Path(value).exists()
    return str(Path(value).absolute()) if is_path else value
