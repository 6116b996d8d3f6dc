"""Ratings of one's own: any table of images and scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from foveal.errors import RatingsError
from foveal.ratings.files import OnMissing, column, numbers, present, read_columns
from foveal.ratings.table import DatasetCard, Floats, Ratings

_PARTS = {
    "": "",
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


@dataclass(frozen=True, slots=True)
class Columns:
    """Headings of a table.

    Attributes:
        image: path of the image, relative to the image folder or absolute; also the image's name.
        scores: heading of each target's scores, by target.
        std: heading of each target's standard deviation, by target.
        group: what must not be separated; images with an empty cell are alone.
        subset: the owners' subset.
        split: train, validation (val) or test, in any case; empty for none.
        prompt: text that the image was generated from.
    """

    image: str = "image"
    scores: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({"quality": "mos"}))
    std: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    group: str | None = None
    subset: str | None = None
    split: str | None = None
    prompt: str | None = None


def read_csv_table(
    path: str | Path,
    card: DatasetCard,
    columns: Columns | None = None,
    *,
    folder: str | Path | None = None,
    missing: OnMissing = "error",
) -> Ratings:
    """Read ratings from a CSV file (UTF-8, comma separated, first row headings).

    Args:
        path: the table.
        card: range and direction of the scores; they cannot be guessed from the numbers.
        columns: which column holds what; by default ``image`` and, for quality, ``mos``.
        folder: where image paths start; the table's own folder by default.
        missing: ``error``, or ``drop`` to leave out rows whose image is absent.

    Returns:
        Ratings in the table's order.

    Raises:
        RatingsError: the table or images are missing, or the table is malformed.
    """
    path = Path(path)
    columns = columns or Columns()
    table = read_columns(path)
    names = column(table, columns.image, path)
    if "" in names:
        raise RatingsError(f"{path}: row {names.index('') + 2} has no image")
    rows, images = present(Path(folder) if folder is not None else path.parent, names, missing, card.name)

    def labels(heading: str | None) -> tuple[str, ...]:
        if heading is None:
            return ()
        cells = column(table, heading, path)
        return tuple(cells[row] for row in rows)

    def values(headings: Mapping[str, str]) -> dict[str, Floats]:
        cells = {target: column(table, heading, path) for target, heading in headings.items()}
        return {target: numbers(cells[target], headings[target], path)[rows] for target in headings}

    kept = tuple(names[row] for row in rows)
    return Ratings(
        card=card,
        images=images,
        names=kept,
        scores=values(columns.scores),
        std=values(columns.std),
        groups=_groups(labels(columns.group), kept),
        subsets=labels(columns.subset),
        split=tuple(_part(label, path) for label in labels(columns.split)),
        prompts=None if columns.prompt is None else labels(columns.prompt),
    )


def _groups(labels: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Give an image without a label its name, so that unlabelled images are not one large group."""
    return tuple(label or name for label, name in zip(labels, names, strict=True)) if labels else ()


def _part(label: str, path: Path) -> str:
    part = _PARTS.get(label.lower())
    if part is None:
        raise RatingsError(f"{path}: unknown part {label!r}; expected train, validation or test")
    return part
