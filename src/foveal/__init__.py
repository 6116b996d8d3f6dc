"""Foveal: how good does an image look to people? Scores on 1-5, higher is better, with intervals, offline.

Everything heavier than this file is imported on first use.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foveal.assessment import Assessment, Failure, Interval
    from foveal.assessor import Assessor
    from foveal.errors import FovealError, ImageError
    from foveal.imaging.limits import Limits

__all__ = [
    "Assessment",
    "Assessor",
    "Failure",
    "FovealError",
    "ImageError",
    "Interval",
    "Limits",
    "__version__",
    "load",
    "score",
]

DEFAULT_MODEL = "foveal-compact"
"""The assessor that is meant when none is named."""

_HOMES = {
    "Assessment": "foveal.assessment",
    "Assessor": "foveal.assessor",
    "Failure": "foveal.assessment",
    "FovealError": "foveal.errors",
    "ImageError": "foveal.errors",
    "Interval": "foveal.assessment",
    "Limits": "foveal.imaging.limits",
}


def load(
    name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    limits: Limits | None = None,
) -> Assessor:
    """Make an assessor ready to use. Nothing is fetched: it comes with the package or lies on your disk.

    Args:
        name_or_path: name of a shipped assessor, or path of a model file.
        engine: ``auto``, ``openvino`` or ``onnxruntime``.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: images at once on the CPU; by default one for each CPU. Scores do not depend on it.
        limits: sizes of images that are accepted; by default those of :class:`foveal.imaging.limits.Limits`.

    Raises:
        UnknownModelError: neither a shipped assessor nor a file.
        ArtifactError: the file is not a usable model; see its subclasses.
        DeviceError: engine or device is unknown or not available here.
    """
    from foveal.artifact.file import read_artifact
    from foveal.assessor import Assessor
    from foveal.runtime import make_engine
    from foveal.weights import find_model

    artifact = read_artifact(find_model(name_or_path))
    runner = make_engine(artifact, engine=engine, device=device, threads=threads)
    return Assessor(artifact, runner, limits=limits)


def score(image: Any) -> Assessment:
    """Judge one image with the default assessor, which is loaded once; see :class:`foveal.Assessor`."""
    return _default()(image)


@cache
def _default() -> Assessor:
    return load()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("foveal")
    except PackageNotFoundError:  # run from its source folder
        return "0+unknown"
