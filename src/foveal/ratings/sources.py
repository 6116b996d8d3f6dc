"""Ratings by what the user has: a known set, a table, or an imagefolder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from foveal.errors import RatingsError
from foveal.ratings.files import OnMissing
from foveal.ratings.imagefolder import read_imagefolder_rows
from foveal.ratings.own_table import Columns, Rows, rated, read_rows
from foveal.ratings.sets.known import KnownSet
from foveal.ratings.sets.registry import KNOWN_SETS
from foveal.ratings.table import DatasetCard, Floats, Ratings

DATASETS: Mapping[str, KnownSet] = MappingProxyType({known.key: known for known in KNOWN_SETS})
"""Sets whose layout and scale are known, by name in small letters."""


def read_ratings(
    path: str | Path,
    *,
    dataset: str | None = None,
    images: str | Path | None = None,
    card: DatasetCard | None = None,
    columns: Columns | None = None,
    missing: OnMissing = "error",
) -> Ratings:
    """Read human scores of images.

    Args:
        path: the folder of a known set; or a table (CSV, TSV, Parquet, XLSX, JSONL); or a folder in the Hub's
            imagefolder layout.
        dataset: name of a known set, as :func:`known_set` takes it; None for a table or imagefolder.
        images: where image paths start; by default where the set's owners put them, the table's folder, or
            the imagefolder.
        card: range and direction of the scores. Known sets have their own; for all else it must be given.
        columns: which column of a table or imagefolder holds what; by default ``image`` (in an imagefolder
            ``file_name``) and, for quality, ``mos``. Known sets have their own.
        missing: ``error``, or ``drop`` to leave out rows whose image is absent.

    Returns:
        Ratings in the table's order, scores in the owners' units.

    Raises:
        RatingsError: the set's name is unknown; there is no card, or one too many; tables or images are
            missing or malformed.
        MissingExtraError: Parquet, XLSX or MAT, and what reads it is not installed.
    """
    path = Path(path)
    if dataset is not None:
        if card is not None or columns is not None:
            raise RatingsError(f"{dataset}: its scale and columns are known; leave out card and columns")
        return known_set(dataset)(path, images=images, missing=missing)
    columns = columns or Columns()
    is_folder = path.is_dir()
    rows = read_imagefolder_rows(path, columns) if is_folder else read_rows(path, columns)
    if card is None:
        raise RatingsError(_ask_for_scale(path, rows, columns))
    start = path if is_folder else path.parent
    return rated(rows, card, Path(images) if images is not None else start, missing)


def known_set(name: str) -> KnownSet:
    """A known set by its name.

    Args:
        name: one of :data:`DATASETS`; case, blanks and hyphens do not matter.

    Raises:
        RatingsError: no set has this name.
    """
    for key, known in DATASETS.items():
        if _letters(key) == _letters(name):
            return known
    raise RatingsError(
        f"{name}: no set of this name is known, only {', '.join(DATASETS)}; read its table with a card that "
        "states its scale"
    )


def _letters(name: str) -> str:
    return "".join(mark for mark in name.lower() if mark.isalnum())


def _ask_for_scale(path: Path, rows: Rows, columns: Columns) -> str:
    seen = "; ".join(
        f"{target} (column {columns.scores[target]!r}) {_range(values)}"
        for target, values in rows.scores.items()
    )
    return (
        f"{path}: what do its scores mean? Range and direction cannot be guessed from the numbers: state a "
        "card (DatasetCard) with name, low and high, the ends of the scale that people were given, and "
        f"higher_is_better, which is false for differential scores (DMOS). Seen: {seen}"
    )


def _range(values: Floats) -> str:
    known = values[~np.isnan(values)]
    return f"from {known.min():g} to {known.max():g}" if known.size else "has no scores"
