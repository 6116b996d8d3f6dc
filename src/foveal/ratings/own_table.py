"""Ratings of one's own: any table of images and scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from foveal.errors import RatingsError
from foveal.ratings.files import OnMissing, column, numbers, present, read_columns, row_number
from foveal.ratings.table import DatasetCard, Floats, Ratings

PART_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "": "",
        "train": "train",
        "training": "train",
        "val": "validation",
        "valid": "validation",
        "validation": "validation",
        "dev": "validation",
        "test": "test",
        "testing": "test",
    }
)
"""What owners call the parts of a split, in small letters."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Headings of a table.

    Attributes:
        image: path of the image, relative to the image folder or absolute; also the image's name. By default
            ``image``, and ``file_name`` in an imagefolder.
        scores: heading of each target's scores, by target.
        std: heading of each target's standard deviation, by target.
        group: what must not be separated; images with an empty cell are alone.
        subset: the owners' subset.
        split: train (training), validation (val, valid, dev) or test (testing), in any case; empty for none.
        prompt: text that the image was generated from.
        sheet: name of the sheet, of a workbook (XLSX) only; the first that is not hidden by default.
    """

    image: str | None = None
    scores: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({"quality": "mos"}))
    std: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    group: str | None = None
    subset: str | None = None
    split: str | None = None
    prompt: str | None = None
    sheet: str | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """What a table says of n images, before those are looked for on disk.

    Attributes:
        names: path of each image as the table gives it, never empty.
        scores: float64 [n] by target, in the owners' units; NaN is a missing score.
        std: float64 [n] by target.
        groups: labels, empty for an image that is alone.
        subsets: labels, empty for none.
        split: train, validation, test, or empty for none.
        prompts: None if the table has none.
    """

    names: tuple[str, ...]
    scores: Mapping[str, Floats]
    std: Mapping[str, Floats]
    groups: tuple[str, ...]
    subsets: tuple[str, ...]
    split: tuple[str, ...]
    prompts: tuple[str, ...] | None


def read_table(
    path: str | Path,
    card: DatasetCard,
    columns: Columns | None = None,
    *,
    folder: str | Path | None = None,
    missing: OnMissing = "error",
) -> Ratings:
    """Read ratings from a table: CSV, TSV, Parquet, XLSX or JSONL, told by its suffix.

    Args:
        path: the table. Text is UTF-8; the first row of CSV, TSV and XLSX holds the headings.
        card: range and direction of the scores; they cannot be guessed from the numbers.
        columns: which column holds what; by default ``image`` and, for quality, ``mos``.
        folder: where image paths start; the table's own folder by default.
        missing: ``error``, or ``drop`` to leave out rows whose image is absent.

    Returns:
        Ratings in the table's order, scores in the owners' units.

    Raises:
        RatingsError: the table or images are missing, or the table is malformed.
        MissingExtraError: Parquet or XLSX, and what reads it is not installed.
    """
    path = Path(path)
    rows = read_rows(path, columns or Columns())
    return rated(rows, card, Path(folder) if folder is not None else path.parent, missing)


def read_rows(path: Path, columns: Columns, image: str = "image") -> Rows:
    """Read what a table says, whatever is on disk.

    Args:
        path: the table.
        columns: which column holds what.
        image: the images' column, if ``columns`` does not say.

    Raises:
        RatingsError: the table is missing or malformed, or lacks a column.
        MissingExtraError: what reads this format is not installed.
    """
    table = read_columns(path, sheet=columns.sheet)
    names = tuple(column(table, columns.image or image, path))
    if "" in names:
        raise RatingsError(f"{path}: row {row_number(names.index(''), path)} has no image")

    def labels(heading: str | None) -> tuple[str, ...]:
        return ("",) * len(names) if heading is None else tuple(column(table, heading, path))

    def values(headings: Mapping[str, str]) -> dict[str, Floats]:
        return {
            target: numbers(column(table, heading, path), heading, path)
            for target, heading in headings.items()
        }

    return Rows(
        names=names,
        scores=values(columns.scores),
        std=values(columns.std),
        groups=labels(columns.group),
        subsets=labels(columns.subset),
        split=tuple(_part(label, path) for label in labels(columns.split)),
        prompts=None if columns.prompt is None else labels(columns.prompt),
    )


def rated(rows: Rows, card: DatasetCard, folder: Path, missing: OnMissing) -> Ratings:
    """Find the images of a table.

    Args:
        rows: what the table says.
        card: range and direction of the scores.
        folder: where image paths start.
        missing: ``error``, or ``drop`` to leave out rows whose image is absent.

    Raises:
        RatingsError: images are missing, or what is said of them does not fit the card.
    """
    kept, images = present(folder, rows.names, missing, card.name)

    def pick(labels: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(labels[row] for row in kept)

    names = pick(rows.names)
    return Ratings(
        card=card,
        images=images,
        names=names,
        scores={target: values[kept] for target, values in rows.scores.items()},
        std={target: values[kept] for target, values in rows.std.items()},
        # Its own name for an image without a label, so that unlabelled images are not one large group.
        groups=tuple(label or name for label, name in zip(pick(rows.groups), names, strict=True)),
        subsets=pick(rows.subsets),
        split=pick(rows.split),
        prompts=None if rows.prompts is None else pick(rows.prompts),
    )


def _part(label: str, path: Path) -> str:
    part = PART_NAMES.get(label.lower())
    if part is None:
        raise RatingsError(f"{path}: unknown part {label!r}; expected train, validation or test")
    return part
