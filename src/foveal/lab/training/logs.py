"""Logs of a training run: CSV files, TensorBoard, or both."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from foveal.errors import MissingExtraError

LogKind = Literal["csv", "tensorboard", "both"]
STEPS, EPOCHS = "steps.csv", "epochs.csv"
_EVERY = 10
"""Steps between rows."""


class RunLog:
    """Rows of losses every few steps, and of losses and validation every epoch.

    A run that goes on from an earlier step writes again what came after it, so those rows are taken out.

    Args:
        folder: where the files go; TensorBoard's into a folder ``tensorboard`` in it.
        kind: what is written.
        first: steps that were done before.

    Raises:
        MissingExtraError: TensorBoard is wanted and not installed.
    """

    def __init__(self, folder: Path, kind: LogKind, first: int = 0) -> None:
        self._folder = folder
        self._csv = kind in ("csv", "both")
        self._board = _tensorboard(folder / "tensorboard", first) if kind in ("tensorboard", "both") else None
        for name in (STEPS, EPOCHS) if self._csv else ():
            _forget(folder / name, first)

    def step(self, step: int, losses: Mapping[str, float]) -> None:
        """Note the mean losses of the epoch so far."""
        if step % _EVERY:
            return
        self._write(STEPS, step, losses)
        self._scalars("train", losses, step)

    def epoch(self, step: int, losses: Mapping[str, float], validation: Mapping[str, float]) -> None:
        """Note what an epoch came to."""
        self._write(EPOCHS, step, {**losses, **{f"validation_{name}": v for name, v in validation.items()}})
        self._scalars("validation", validation, step)

    def close(self) -> None:
        """Write out what is left."""
        if self._board is not None:
            self._board.close()

    def _write(self, name: str, step: int, figures: Mapping[str, float]) -> None:
        if not self._csv:
            return
        path = self._folder / name
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", *figures])
            writer.writerow([step, *(f"{value:.6g}" for value in figures.values())])

    def _scalars(self, tag: str, figures: Mapping[str, float], step: int) -> None:
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"{tag}/{name}", value, step)


def _tensorboard(folder: Path, first: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError("logs for TensorBoard", "tensorboard") from error
    return SummaryWriter(str(folder), purge_step=first + 1)


def _forget(path: Path, first: int) -> None:
    """Take out rows after a step; the last one may have been cut off by a kill."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if not lines or not lines[0].endswith("\n"):
        path.unlink()  # cut off within its first line: it is begun anew
        return
    kept = [line for line in lines[1:] if line.endswith("\n") and int(line.split(",")[0]) <= first]
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text("".join([*lines[:1], *kept]), encoding="utf-8")
    aside.replace(path)
