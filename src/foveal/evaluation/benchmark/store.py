"""What is done already, on disk: scores by what they depend on, each file there as a whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from foveal.errors import OutputError
from foveal.evaluation.benchmark.content import key_of
from foveal.evaluation.benchmark.resampling import Draws
from foveal.evaluation.pairs import Floats

_CELLS, _RUNS, _DRAWS = "cells", "runs", "draws"
_ARRAYS = ("values", "draws", "left_out")
_FORMAT = 1


class Store:
    """Folder of a benchmark's results.

    Scores of a judge are in ``cells/JUDGE/CELL.json``, named by hashes: of all that the judge depends on, and
    of the images. A file of another name is never looked at, so whatever changes, nothing stale is read.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def claim(self) -> None:
        """Make the folder.

        Raises:
            OutputError: it cannot be made, or holds other things.
        """
        try:
            if self.folder.is_dir() and any(self.folder.iterdir()) and not (self.folder / _CELLS).is_dir():
                raise OutputError(
                    f"{self.folder}: holds other files than those of a benchmark; choose a new folder"
                )
            (self.folder / _CELLS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be made ({error.strerror})") from error

    def run_folder(self, judge: str) -> Path:
        """Where the training of a judge keeps its checkpoint and model."""
        return self.folder / _RUNS / judge[:32]

    def scores(self, judge: str) -> dict[str, float]:
        """All that a judge has said already, by item; damaged files count as not there."""
        known: dict[str, float] = {}
        for path in sorted((self.folder / _CELLS / judge[:32]).glob("*.json")):
            values = _read(path)
            if values is not None and values.get("judge") == judge:
                known.update(zip(values["items"], values["quality"], strict=True))
        return known

    def cell(self, judge: str, items: Sequence[str]) -> Floats | None:
        """Scores of one test part, float64 [n], or None if they are not there."""
        values = _read(self._cell_path(judge, items))
        if values is None or values.get("judge") != judge or values["items"] != list(items):
            return None
        return np.array(values["quality"], np.float64)

    def keep(self, judge: str, items: Sequence[str], scores: Floats, about: Mapping[str, object]) -> None:
        """Store scores of one test part.

        Args:
            judge: key of all that the judge depends on.
            items: of the images.
            scores: float64 [n], finite.
            about: what they are, for people: assessor, sets, split, names, what the judge depends on.

        Raises:
            OutputError: they cannot be written.
        """
        values = {
            "format": _FORMAT,
            "about": dict(about),
            "judge": judge,
            "items": list(items),
            "quality": scores.tolist(),
        }
        text = json.dumps(values, ensure_ascii=True, allow_nan=False) + "\n"
        self._write(self._cell_path(judge, items), text.encode())

    def draws(self, key: str) -> Draws | None:
        """Resamples of a line, or None if they are not there."""
        try:
            with np.load(self._draws_path(key), allow_pickle=False) as stored:
                return Draws(*(np.asarray(stored[name], np.float64) for name in _ARRAYS))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None

    def keep_draws(self, key: str, draws: Draws) -> None:
        """Store resamples of a line.

        Raises:
            OutputError: they cannot be written.
        """
        values, resampled, left_out = (getattr(draws, name) for name in _ARRAYS)
        path = self._draws_path(key)
        with _replacing(path) as aside, aside.open("wb") as file:
            np.savez(file, values=values, draws=resampled, left_out=left_out)

    def write(self, name: str, text: str) -> None:
        """Write a file of the report, replacing the one before.

        Raises:
            OutputError: it cannot be written.
        """
        # Names of files may hold bytes that are no text.
        self._write(self.folder / name, text.encode("utf-8", "backslashreplace"))

    def _cell_path(self, judge: str, items: Sequence[str]) -> Path:
        return self.folder / _CELLS / judge[:32] / f"{key_of({'items': list(items)})[:32]}.json"

    def _draws_path(self, key: str) -> Path:
        return self.folder / _DRAWS / f"{key[:32]}.npz"

    def _write(self, path: Path, content: bytes) -> None:
        with _replacing(path) as aside:
            aside.write_bytes(content)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside the one meant, which takes its place when all is written."""
    aside = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        aside.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        aside.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    """A cell's values; None for a file that is missing or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        return None
    items, quality = values.get("items"), values.get("quality")
    if not (isinstance(items, list) and isinstance(quality, list) and len(items) == len(quality)):
        return None
    is_whole = all(isinstance(item, str) for item in items) and all(
        isinstance(value, float) and math.isfinite(value) for value in quality
    )
    return values if is_whole else None
