"""The assessors that come with the package."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent
_SUFFIX = ".foveal.safetensors"


def available() -> dict[str, Path]:
    """Shipped assessors: their files by name, sorted."""
    return {path.name.removesuffix(_SUFFIX): path for path in sorted(_FOLDER.glob(f"*{_SUFFIX}"))}
