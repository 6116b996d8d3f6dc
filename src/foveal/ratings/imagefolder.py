"""Ratings in the Hub's imagefolder layout: images, and a metadata file with the column ``file_name``.

As in https://huggingface.co/docs/datasets/image_dataset: the metadata file lies in the folder itself, or each
part of the split has a folder of its own with its own metadata file and images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np

from foveal.errors import RatingsError
from foveal.ratings.files import OnMissing
from foveal.ratings.own_table import PART_NAMES, Columns, Rows, rated, read_rows
from foveal.ratings.parquet import EXPORT
from foveal.ratings.table import DatasetCard, Floats, Ratings

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Names that a metadata file may have."""

# The Hub's own words, among them two that would be ambiguous in a column.
_PART_FOLDERS = {**PART_NAMES, "eval": "test", "evaluation": "test"}


def read_imagefolder(
    folder: str | Path,
    card: DatasetCard,
    columns: Columns | None = None,
    *,
    images: str | Path | None = None,
    missing: OnMissing = "error",
) -> Ratings:
    """Read ratings in the Hub's imagefolder layout.

    Args:
        folder: holds ``metadata.csv``, ``.jsonl`` or ``.parquet``; or folders ``train``, ``validation`` (val,
            valid, dev) and ``test`` that do. A folder without metadata holds images without ratings.
        card: range and direction of the scores; they cannot be guessed from the numbers.
        columns: which column holds what; by default ``file_name`` and, for quality, ``mos``.
        images: where image paths start, if not in ``folder``.
        missing: ``error``, or ``drop`` to leave out rows whose image is absent.

    Returns:
        Ratings named by their path from ``folder``, train first, then validation and test. Where no column is
        stated for the split, it is read from the folder that an image lies in.

    Raises:
        RatingsError: there is no metadata file, or more than one that may be meant; a table or images are
            missing, or a table is malformed.
        MissingExtraError: the metadata are in Parquet, and PyArrow is not installed.
    """
    folder = Path(folder)
    rows = read_imagefolder_rows(folder, columns or Columns())
    return rated(rows, card, Path(images) if images is not None else folder, missing)


def read_imagefolder_rows(folder: Path, columns: Columns) -> Rows:
    """Read what the metadata say, whatever images there are.

    Args:
        folder: as for :func:`read_imagefolder`.
        columns: which column holds what; ``file_name`` names the images by default.

    Returns:
        Rows of all parts, image paths from ``folder``.

    Raises:
        RatingsError: there is no metadata file, or more than one that may be meant, or it is malformed.
        MissingExtraError: the metadata are in Parquet, and PyArrow is not installed.
    """
    if not folder.is_dir():
        raise RatingsError(f"{folder}: there is no such folder; give the one that holds {METADATA[0]}")
    own, parts = _metadata(folder), _parts(folder)
    if own is not None and parts:
        raise RatingsError(f"{folder}: which is meant, {own.name} or {next(iter(parts.values()))}?")
    if own is not None:
        rows = read_rows(own, columns, "file_name")
        return rows if columns.split else replace(rows, split=tuple(map(_part_of, rows.names)))
    if not parts:
        raise _no_metadata(folder)
    return _joined([_read_part(path, columns) for path in parts.values()])


def _metadata(folder: Path) -> Path | None:
    found = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(found) > 1:
        raise RatingsError(f"{folder}: which of {', '.join(path.name for path in found)} is meant?")
    return found[0] if found else None


def _parts(folder: Path) -> Mapping[str, Path]:
    """Metadata files of the folders inside, by folder: those for training first, then validation and test."""
    found = {path.name: _metadata(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    parts = {name: metadata for name, metadata in found.items() if metadata is not None}
    unknown = [name for name in parts if name.lower() not in _PART_FOLDERS]
    if unknown:
        raise RatingsError(
            f"{folder}: folder {unknown[0]!r} holds a metadata file but is no part of a split; expected "
            "train, validation or test, or one metadata file for all images"
        )
    order = ("train", "validation", "test")
    ranked = sorted(parts, key=lambda name: (order.index(_PART_FOLDERS[name.lower()]), name))
    return MappingProxyType({name: parts[name] for name in ranked})


def _read_part(path: Path, columns: Columns) -> Rows:
    rows = read_rows(path, columns, "file_name")
    part = path.parent.name
    return replace(
        rows,
        names=tuple((PurePosixPath(part) / name).as_posix() for name in rows.names),
        split=rows.split if columns.split else (_PART_FOLDERS[part.lower()],) * len(rows.names),
    )


def _part_of(name: str) -> str:
    """The part that an image is in by its topmost folder, or the empty string."""
    above = PurePosixPath(name).parts[:-1]
    return _PART_FOLDERS.get(above[0].lower(), "") if above else ""


def _joined(parts: Sequence[Rows]) -> Rows:
    def columns(tables: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
        return {target: np.concatenate([table[target] for table in tables]) for target in tables[0]}

    def labels(cells: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
        return tuple(cell for some in cells for cell in some)

    prompts = [part.prompts for part in parts if part.prompts is not None]
    return Rows(
        names=labels([part.names for part in parts]),
        scores=columns([part.scores for part in parts]),
        std=columns([part.std for part in parts]),
        groups=labels([part.groups for part in parts]),
        subsets=labels([part.subsets for part in parts]),
        split=labels([part.split for part in parts]),
        prompts=labels(prompts) if prompts else None,
    )


def _no_metadata(folder: Path) -> RatingsError:
    shards = sorted([*folder.glob("*.parquet"), *folder.glob("*/*.parquet")])
    if shards:
        return RatingsError(
            f"{folder}: a dataset in Parquet files ({shards[0].relative_to(folder)}), not an imagefolder. If "
            f"they hold the images: {EXPORT}. If they hold paths, give one of the files as the table"
        )
    return RatingsError(
        f"{folder}: no ratings here: expected {', '.join(METADATA[:-1])} or {METADATA[-1]}, in it or in its "
        "folders train, validation and test; or give the path of a table"
    )
