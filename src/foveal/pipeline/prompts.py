"""Prompts from a table: which text each image was made from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from foveal.assessment import Failure
from foveal.errors import MissingPromptError, PromptError
from foveal.pipeline.discover import identity

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class _Line:
    """One image of the table.

    Attributes:
        number: its row, as messages call it.
        name: path of the image as it stands in the table.
        place: that path from the table's folder, absolute.
        prompt: text, empty where there is explicitly none.
    """

    number: int
    name: str
    place: str
    prompt: str


@dataclass(frozen=True, slots=True)
class FoundPrompts:
    """Prompts of the images that are to be judged.

    Attributes:
        table: where they come from.
        by_image: prompt by the image's path as :func:`foveal.pipeline.discover.identity` spells it.
        images: images in the table.
        unused: those of them that are not to be judged.
    """

    table: Path
    by_image: Mapping[str, str]
    images: int
    unused: int

    def get(self, source: str) -> str | None:
        """The prompt of an image; None if the table has no row for it."""
        return self.by_image.get(identity(source))

    def failure(self, source: str) -> Failure:
        """The row of an image that the table has no row for."""
        reason = f"no prompt: {self.table} has no row for this image"
        return Failure(source, MissingPromptError(source, reason, "add one; its prompt may be empty"))


class PromptTable:
    """A table with columns ``image`` and ``prompt``: CSV, TSV, Parquet, XLSX or JSONL, told by its suffix.

    A row belongs to the image at its path, taken from the table's folder. Where there is no such file, it
    belongs to the image whose path ends with that of the row: a file name alone is enough if it is unique.

    Args:
        path: the table.

    Raises:
        RatingsError: it is missing or malformed, or lacks a column.
        PromptError: a row has no image, or two give one image different prompts.
        MissingExtraError: what reads this format is not installed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: dict[str, _Line] = {}
        self._by_file_name: dict[str, list[_Line]] = {}
        for line in _read(path):
            other = self._lines.setdefault(line.place, line)
            if other.prompt != line.prompt:
                raise PromptError(
                    f"{path}: rows {other.number} and {line.number} have different prompts for "
                    f"{line.name!r}; keep one"
                )
        for line in self._lines.values():
            self._by_file_name.setdefault(PurePath(line.name).name, []).append(line)

    def find(self, sources: Iterable[str]) -> FoundPrompts:
        """Find the prompts of images.

        Args:
            sources: all that are to be judged; only all together tell whether a name is unique.

        Raises:
            PromptError: a row could be about several of the images.
        """
        images: dict[str, dict[str, str]] = {}
        prompts: dict[str, str] = {}
        for source in sources:
            key = identity(source)
            line = self._line(key)
            if line is not None:
                prompts[key] = line.prompt
                images.setdefault(line.place, {})[key] = source
        for place, fitting in images.items():
            if len(fitting) > 1:
                raise self._ambiguous(self._lines[place], list(fitting.values()))
        return FoundPrompts(self._path, prompts, len(self._lines), len(self._lines) - len(images))

    def _line(self, key: str) -> _Line | None:
        if key in self._lines:
            return self._lines[key]
        parts = PurePath(key).parts
        fitting = [
            line
            for line in self._by_file_name.get(parts[-1], ())
            if _ends_with(parts, PurePath(line.name).parts) and not os.path.lexists(line.place)
        ]
        return max(fitting, key=lambda line: len(PurePath(line.name).parts), default=None)

    def _ambiguous(self, line: _Line, sources: list[str]) -> PromptError:
        named = ", ".join(sources[:_SHOWN]) + (", ..." if len(sources) > _SHOWN else "")
        return PromptError(
            f"{self._path}: row {line.number}, {line.name!r}, could be any of {len(sources)} images "
            f"({named}); give paths from the table's folder"
        )


def _read(path: Path) -> list[_Line]:
    from foveal.ratings.files import column, read_columns, row_number

    table = read_columns(path)
    lines = []
    for index, (name, prompt) in enumerate(
        zip(column(table, "image", path), column(table, "prompt", path), strict=True)
    ):
        number = row_number(index, path)
        if not name:
            raise PromptError(f"{path}: row {number} has no image; give its path or file name")
        lines.append(_Line(number, name, identity(str(path.parent / name)), prompt))
    return lines


def _ends_with(whole: tuple[str, ...], end: tuple[str, ...]) -> bool:
    return len(end) <= len(whole) and whole[-len(end) :] == end
