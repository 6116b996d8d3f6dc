"""Ratings in MATLAB files (MAT): vectors of numbers and cells of names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import MissingExtraError, RatingsError
from foveal.ratings.table import Floats

MOST_VALUES = 1 << 20
"""What a variable may hold. The largest set has tens of thousands of rows; a bomb has billions."""


def variables(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Shapes of the variables in a MAT file, by name; the values are not read.

    Args:
        path: a MAT file of version 4 to 7. Version 7.3 is HDF5, which is refused.

    Raises:
        RatingsError: there is no such file, or it is not a MAT file of these versions.
        MissingExtraError: SciPy is not installed.
    """
    found: list[tuple[str, tuple[int, ...], str]] = _call(path, "whosmat")
    return {name: shape for name, shape, _ in found}


def read_vector(path: Path, name: str) -> Floats:
    """One variable of numbers, a row or a column in MATLAB, as float64 [n].

    Raises:
        RatingsError: the file cannot be read, lacks the variable, or it is no vector of real numbers.
        MissingExtraError: SciPy is not installed.
    """
    values = _flat(path, name)
    if values.dtype.kind not in "biuf":
        raise RatingsError(f"{path}: {name} holds {values.dtype}, expected real numbers")
    return values.astype(np.float64)


def read_names(path: Path, name: str) -> tuple[str, ...]:
    """One variable of texts, a cell array in MATLAB, n texts without blanks around them.

    Raises:
        RatingsError: the file cannot be read, lacks the variable, or it is no vector of texts.
        MissingExtraError: SciPy is not installed.
    """
    return tuple(_text(cell, f"{path}: {name}, entry {i + 1}") for i, cell in enumerate(_flat(path, name)))


def _flat(path: Path, name: str) -> NDArray[Any]:
    shapes = variables(path)
    if name not in shapes:
        raise RatingsError(f"{path}: there is no variable {name!r}; there are {', '.join(shapes) or 'none'}")
    shape = shapes[name]
    if math.prod(shape) > MOST_VALUES:
        raise RatingsError(f"{path}: {name} holds {math.prod(shape)} values, more than ratings can have")
    values: NDArray[Any] = _call(path, "loadmat", variable_names=[name])[name]
    if sum(length > 1 for length in values.shape) > 1:
        raise RatingsError(f"{path}: {name} has the shape {values.shape}, expected one row or one column")
    return values.reshape(-1)


def _text(cell: object, where: str) -> str:
    while isinstance(cell, np.ndarray) and cell.size == 1:
        cell = cell.item()
    if not isinstance(cell, str):
        raise RatingsError(f"{where} is not a text")
    return cell.strip()


def _call(path: Path, function: str, **arguments: object) -> Any:
    io = _require_scipy(path)
    try:
        with path.open("rb") as file:
            return getattr(io, function)(file, **arguments)
    except FileNotFoundError:
        raise RatingsError(f"{path}: there is no such file") from None
    except NotImplementedError as error:
        raise RatingsError(
            f"{path}: a MAT file of version 7.3, which is HDF5; save it in MATLAB with the option -v7"
        ) from error
    except Exception as error:  # what SciPy raises on malformed files is not limited by anything
        reason = str(error) or type(error).__name__
        raise RatingsError(f"{path}: cannot be read as a MAT file: {reason}; fetch it again") from error


def _require_scipy(path: Path) -> ModuleType:
    try:
        import scipy.io
    except ImportError as error:
        raise MissingExtraError(f"{path.name}: reading MAT", "evaluation") from error
    module: ModuleType = scipy.io
    return module
