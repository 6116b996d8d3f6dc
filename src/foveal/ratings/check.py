"""Is a copy of a known set complete, and what is wrong with it: everything at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foveal.errors import RatingsError
from foveal.pipeline.discover import image_suffixes
from foveal.ratings.files import find_images, read_columns
from foveal.ratings.matlab import variables
from foveal.ratings.sets.known import KnownSet, Labels, locate
from foveal.ratings.sound_images import flaws
from foveal.ratings.table import duplicates, listing

_FETCH = "fetch it again"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a copy.

    Attributes:
        what: what it is, with a count and the first names.
        advice: what to do about it.
    """

    what: str
    advice: str


@dataclass(slots=True)
class CopyCheck:
    """What was found in a copy of a known set.

    Attributes:
        known: the set.
        folder: the copy.
        rows: rated images by its label files, None if they cannot be read.
        images: how many images of the set are there, None if that cannot be told.
        decoded: whether all pixels were decoded.
        problems: everything that is wrong; none for a complete copy.
        remarks: what else should be known.
    """

    known: KnownSet
    folder: Path
    rows: int | None = None
    images: int | None = None
    decoded: bool = False
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Nothing is wrong."""
        return not self.problems

    def to_text(self) -> str:
        """All that was found, a line each, the last with a line break."""
        size = f"{self.known.size:,}"
        lines = [f"{self.known.card.name} in {self.folder}"]
        for label, count in (("rated in the label files", self.rows), ("images on disk", self.images)):
            lines.append(f"  {label}: {'unknown' if count is None else f'{count:,}'} of {size}")
        lines += [f"  problem: {problem.what}; {problem.advice}" for problem in self.problems]
        lines += [f"  note: {remark}" for remark in self.remarks]
        if self.problems:
            lines.append(f"{len(self.problems)} problem{'s' * (len(self.problems) > 1)}")
        else:
            lines.append("complete: " + ("all images decode" if self.decoded else "all images open"))
        return "".join(line + "\n" for line in lines)

    def add(self, what: str, advice: str) -> None:
        """Note a problem, once."""
        if Problem(what, advice) not in self.problems:
            self.problems.append(Problem(what, advice))


def check_copy(
    known: KnownSet,
    folder: str | Path,
    *,
    images: str | Path | None = None,
    decode: bool = False,
    workers: int | None = None,
) -> CopyCheck:
    """Look for everything that is wrong with a copy of a known set.

    Label files that are missing or malformed; a number of rows other than the known one; names that stand
    twice; scores out of range or missing; images that are missing, extra, empty or unreadable.

    Args:
        known: the set.
        folder: holds its label files.
        images: where image paths start, if not where the owners have them.
        decode: decode all images on threads; otherwise only their headers are read.
        workers: threads; by default one for each CPU.

    Returns:
        What was found. A problem never hides another: only where the label files cannot be read are images
        counted without them.

    Raises:
        MissingExtraError: what reads these label files is not installed.
    """
    found = CopyCheck(known, Path(folder), decoded=decode)
    if not found.folder.is_dir():
        found.add(f"{folder}: there is no such folder", f"give the one that holds {known.layout}")
        return found
    labels = _read_labels(found)
    if labels is not None:
        _check_labels(found, labels)
    try:
        base = known.image_folder(found.folder, images)
    except RatingsError as error:
        found.add(str(error), "fetch the images, or say where they are with --images")
        return found
    paths = _rated_images(found, labels, base) if labels is not None else _any_images(found, base)
    _check_images(found, paths, decode, workers)
    return found


def _read_labels(found: CopyCheck) -> Labels | None:
    """Read the label files, noting which are missing and which malformed."""
    tables = [(names, locate(found.folder, *names)) for names in found.known.tables]
    for names, path in tables:
        if path is None:
            found.add(f"label file {' or '.join(names)} missing", "fetch it from the owners of the set")
    try:
        return found.known.read(found.folder)
    except RatingsError as error:
        wrong = [said for _, path in tables if path is not None and (said := _unreadable(path))]
        if not wrong and all(path is not None for _, path in tables):
            wrong = [str(error)]
        for said in wrong:
            found.add(said, f"{_FETCH}, or compare it with the layout: {found.known.layout}")
        return None


def _unreadable(path: Path) -> str:
    """Why a label file cannot be read as what it is, whatever it should hold; empty if it can."""
    readers: dict[str, Callable[[Path], object]] = {".mat": variables, ".txt": _read_text}
    try:
        readers.get(path.suffix.lower(), read_columns)(path)
    except RatingsError as error:
        return str(error)
    return ""


def _read_text(path: Path) -> None:
    try:
        if not path.read_text(encoding="utf-8-sig").strip():
            raise RatingsError(f"{path}: the file has no lines")
    except (OSError, ValueError) as error:
        raise RatingsError(f"{path}: cannot be read: {error}") from error


def _check_labels(found: CopyCheck, labels: Labels) -> None:
    names, size = labels.rows.names, found.known.size
    found.rows = len(names)
    if labels.refused:
        found.remarks.append(
            f"{listing(list(labels.refused), 'row')} left out: the label file contradicts itself about "
            f"them, so {size - len(labels.refused):,} of {size:,} images remain"
        )
    if len(names) + len(labels.refused) != size:
        found.add(f"{len(names) + len(labels.refused):,} rated images, expected {size:,}", _FETCH)
    twice = duplicates(names)
    if twice:
        found.add(f"{listing(twice, 'name')} more than once in the label files", _FETCH)
    _check_scores(found, labels)


def _check_scores(found: CopyCheck, labels: Labels) -> None:
    rows = labels.rows
    for target, column in rows.scores.items():
        scale = labels.card.scale(target)
        outside = ~np.isnan(column) & ~((column >= scale.low) & (column <= scale.high))
        _note_rows(found, labels, outside, f"with {target} outside {scale.low:g} to {scale.high:g}")
    missing = np.all([np.isnan(column) for column in rows.scores.values()], axis=0)
    _note_rows(found, labels, missing, "without a score")
    for target, column in rows.std.items():
        wrong = ~np.isnan(column) & ~((column >= 0) & np.isfinite(column))
        _note_rows(found, labels, wrong, f"with a negative or infinite standard deviation of {target}")


def _note_rows(found: CopyCheck, labels: Labels, wrong: NDArray[np.bool_], what: str) -> None:
    names = [labels.rows.names[index] for index in np.flatnonzero(wrong)]
    if names:
        found.add(f"{listing(names, 'row')} {what}", _FETCH)


def _rated_images(found: CopyCheck, labels: Labels, base: Path) -> list[Path]:
    """The rated images that are there, noting which are missing, which extra and which stand twice."""
    places = _places(found, base, labels.paths)
    missing = [name for name in dict.fromkeys(labels.paths) if name in places and places[name] is None]
    if missing:
        found.add(
            f"{listing(missing, 'image')} missing in {base}", "complete the download and unpack it again"
        )
    there = Counter(path for path in places.values() if path is not None)
    shared = [str(path) for path, count in there.items() if count > 1]
    if shared:
        found.add(f"{listing(shared, 'image')} meant by several names", _FETCH)
    _note_extra(found, labels, base, set(there))
    found.images = len(there)
    return sorted(there)


def _places(found: CopyCheck, base: Path, names: Sequence[str]) -> dict[str, Path | None]:
    """Where images are, None for missing ones; names that fit several files are noted and left out."""
    try:
        return dict(zip(names, find_images(base, names), strict=True))
    except RatingsError as error:
        if len(names) == 1:
            found.add(str(error), "keep the right one, and see that the folder may be read")
            return {}
    # Halves find the culprit in a few listings of the folder.
    half = len(names) // 2
    return {**_places(found, base, names[:half]), **_places(found, base, names[half:])}


def _note_extra(found: CopyCheck, labels: Labels, base: Path, known: set[Path]) -> None:
    unrated = {str(base / name).casefold() for name in labels.unrated}
    folders = sorted({(base / name).parent for name in labels.paths})
    extra = [
        str(path.relative_to(base))
        for folder in folders
        for path in _image_files(folder, "*")
        if path not in known and str(path).casefold() not in unrated
    ]
    if extra:
        found.add(
            f"{listing(extra, 'extra image')} in {base}", "take them out: nobody rated them in this set"
        )


def _any_images(found: CopyCheck, base: Path) -> list[Path]:
    """All images there are, where the label files do not tell which are meant."""
    paths = _image_files(base, "**/*")
    found.images = len(paths)
    if len(paths) < found.known.size:
        found.add(
            f"{len(paths):,} images in {base}, expected {found.known.size:,}",
            "complete the download and unpack it again",
        )
    return paths


def _image_files(folder: Path, pattern: str) -> list[Path]:
    suffixes = image_suffixes()
    return sorted(p for p in folder.glob(pattern) if p.suffix.lower() in suffixes and p.is_file())


def _check_images(found: CopyCheck, paths: Sequence[Path], decode: bool, workers: int | None) -> None:
    said = flaws(paths, whole=decode, workers=workers)
    empty = [path.name for path, flaw in zip(paths, said, strict=True) if flaw == "empty"]
    if empty:
        found.add(f"{listing(empty, 'image')} empty", "fetch them again")
    broken = [
        f"{path.name}: {flaw}" for path, flaw in zip(paths, said, strict=True) if flaw not in ("", "empty")
    ]
    if broken:
        found.add(f"{listing(broken, 'image')} unreadable", "fetch them again")
