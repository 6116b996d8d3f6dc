"""What all known sets have in common: label files, a folder of images, a card, and how these are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from foveal.errors import RatingsError
from foveal.ratings.files import OnMissing, find_images
from foveal.ratings.own_table import Rows, rated
from foveal.ratings.table import DatasetCard, Floats, Ratings

_NO_COLUMNS: Mapping[str, Floats] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Labels:
    """What the label files of a copy say, whatever images there are.

    Attributes:
        rows: the rated images, called as their owners call them.
        card: range and direction of the scores in these very files.
        files: path of each image from the image folder; its name if None.
        unrated: images that the owners ship in the same folders without a score of their own, by path.
        refused: names of rows that are left out because the label file contradicts itself about them.
    """

    rows: Rows
    card: DatasetCard
    files: tuple[str, ...] | None = None
    unrated: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Path of each image from the image folder."""
        return self.rows.names if self.files is None else self.files

    def rated(self, images: Path, missing: OnMissing) -> Ratings:
        """Find the images below a folder.

        Raises:
            RatingsError: images are missing, or what is said of them does not fit the card.
        """
        rows = self.rows
        # Images without a group are alone, called by their name and not by their path.
        groups = tuple(group or name for group, name in zip(rows.groups, rows.names, strict=True))
        found = rated(replace(rows, names=self.paths, groups=groups), self.card, images, missing)
        names = dict(zip(self.paths, rows.names, strict=True))
        return replace(found, names=tuple(names[path] for path in found.names))


@dataclass(frozen=True, slots=True)
class KnownSet:
    """A set of rated images in its owners' layout. Calling it reads a copy.

    Attributes:
        card: name, range and direction, licence, citation.
        size: rated images of a complete copy.
        targets: its score columns.
        layout: what lies where, for people.
        tables: label files of a complete copy, each by the names that it may have, from the set's folder; see
            :func:`locate`.
        folders: where images may start, from the set's folder; the first that exists counts.
        read: reads the label files of a copy.
    """

    card: DatasetCard
    size: int
    targets: tuple[str, ...]
    layout: str
    tables: tuple[tuple[str, ...], ...]
    folders: tuple[str, ...]
    read: Callable[[Path], Labels]

    @property
    def key(self) -> str:
        """What the set is called on the command line."""
        return self.card.name.lower().replace(" ", "-")

    def __call__(
        self, folder: str | Path, *, images: str | Path | None = None, missing: OnMissing = "error"
    ) -> Ratings:
        """Read a copy.

        Args:
            folder: holds the label files.
            images: where image paths start, if not where the owners have them.
            missing: ``error``, or ``drop`` to leave out rows whose image is absent.

        Returns:
            Ratings in the order of the label files, scores in the owners' units.

        Raises:
            RatingsError: label files or images are missing, or label files are malformed.
            MissingExtraError: what reads these label files is not installed.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise RatingsError(f"{folder}: there is no such folder; give the one that holds {self.layout}")
        try:
            return self.read(folder).rated(self.image_folder(folder, images), missing)
        except RatingsError as error:
            hint = f"`foveal ratings check {self.key} DIR` tells all that is wrong with a copy"
            raise RatingsError(f"{error}; {hint}") from error

    def image_folder(self, folder: Path, images: str | Path | None = None) -> Path:
        """Where image paths start.

        Raises:
            RatingsError: there is no such folder.
        """
        found = locate(folder, *self.folders) if images is None else Path(images)
        if found is None or not found.is_dir():
            where = found or folder / self.folders[0]
            raise RatingsError(f"{where}: there is no such folder; it should hold the images")
        return found


def locate(folder: Path, *names: str) -> Path | None:
    """The first of these files or folders that exists, whatever its case.

    A name with a star stands for the only file that fits it, and for none if there are several.
    """
    for name in names:
        if name == ".":
            return folder
        found = sorted(folder.glob(name)) if "*" in name else find_images(folder, [name])
        if len(found) == 1 and found[0] is not None:
            return found[0]
    return None


def require(folder: Path, *names: str) -> Path:
    """The first of these label files that exists, whatever its case.

    Raises:
        RatingsError: there is none of them.
    """
    path = locate(folder, *names)
    if path is None:
        raise RatingsError(f"{folder}: {' or '.join(names)} is missing")
    return path


def make_rows(
    names: Sequence[str],
    scores: Mapping[str, Floats],
    *,
    std: Mapping[str, Floats] = _NO_COLUMNS,
    groups: Sequence[str] = (),
    subsets: Sequence[str] = (),
    prompts: Sequence[str] | None = None,
) -> Rows:
    """Rows from columns; what is not given is empty."""
    none = ("",) * len(names)
    return Rows(
        names=tuple(names),
        scores=scores,
        std=std,
        groups=tuple(groups) or none,
        subsets=tuple(subsets) or none,
        split=none,
        prompts=None if prompts is None else tuple(prompts),
    )


def take_rows(rows: Rows, kept: Sequence[int]) -> Rows:
    """Rows by position, in the order given."""

    def pick(labels: Sequence[str]) -> tuple[str, ...]:
        return tuple(labels[index] for index in kept)

    chosen = np.array(kept, np.int64)
    return Rows(
        names=pick(rows.names),
        scores={target: values[chosen] for target, values in rows.scores.items()},
        std={target: values[chosen] for target, values in rows.std.items()},
        groups=pick(rows.groups),
        subsets=pick(rows.subsets),
        split=pick(rows.split),
        prompts=None if rows.prompts is None else pick(rows.prompts),
    )


def join_rows(tables: Mapping[str, Rows]) -> Rows:
    """Rows of several label files below each other, one for each part of the split, by part."""

    def labels(column: str) -> tuple[str, ...]:
        return tuple(label for rows in tables.values() for label in getattr(rows, column))

    first = next(iter(tables.values()))
    return Rows(
        names=labels("names"),
        scores={t: np.concatenate([rows.scores[t] for rows in tables.values()]) for t in first.scores},
        std={t: np.concatenate([rows.std[t] for rows in tables.values()]) for t in first.std},
        groups=labels("groups"),
        subsets=labels("subsets"),
        split=tuple(part for part, rows in tables.items() for _ in rows.names),
        prompts=None if first.prompts is None else labels("prompts"),
    )


def same_length(columns: Mapping[str, Sequence[object] | Floats], folder: Path) -> None:
    """Refuse label files whose entries belong together but differ in number.

    Raises:
        RatingsError: they do.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise RatingsError(f"{folder}: label files differ in the number of entries: {said}; fetch them again")
