"""The input of every figure here: two columns of numbers on the same images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LEAST = 3
"""Two points always lie on a line: a correlation of fewer than three says nothing."""


def checked_pairs(predicted: ArrayLike, rated: ArrayLike) -> tuple[Floats, Floats]:
    """Both columns as float64 [n], fit for a correlation.

    Raises:
        ValueError: a column is not one-dimensional, holds NaN or infinities, or is constant; lengths
            differ; there are fewer than three points.
    """
    columns = (checked_column(predicted, "predicted"), checked_column(rated, "rated"))
    if len(columns[0]) != len(columns[1]):
        raise ValueError(f"{len(columns[0])} predicted scores but {len(columns[1])} rated")
    if len(columns[0]) < LEAST:
        raise ValueError(f"a correlation needs at least {LEAST} points, there are {len(columns[0])}")
    for name, column in zip(("predicted", "rated"), columns, strict=True):
        if column.min() == column.max():
            raise ValueError(
                f"{name} scores are all {column[0]:g}: a correlation with a constant is undefined"
            )
    return columns


def checked_column(values: ArrayLike, name: str) -> Floats:
    """One column as float64 [n].

    Raises:
        ValueError: it is not one-dimensional, or holds NaN or infinities.
    """
    column = np.asarray(values, np.float64)
    if column.ndim != 1:
        raise ValueError(f"{name} has shape {column.shape}, expected (n,)")
    wrong = ~np.isfinite(column)
    if wrong.any():
        raise ValueError(
            f"{name} holds {int(wrong.sum())} NaN or infinite values, first at {int(np.argmax(wrong))}"
        )
    return column
