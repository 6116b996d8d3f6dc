"""Checkpoints that survive a kill at any moment: written aside, then put in place in one step."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from foveal.errors import FovealError

_FORMAT = 1


class CheckpointError(FovealError):
    """A checkpoint cannot be read, or belongs to another run."""


def save_checkpoint(path: Path, run: str, state: Mapping[str, Any]) -> None:
    """Write the state of a run.

    A reader sees the old file or the new one, never a part of it.

    Args:
        path: the file; its folder exists.
        run: what identifies the run, so that no other one is continued from it.
        state: tensors, numbers, text, and lists and dicts of them.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            torch.save({"format": _FORMAT, "run": run, "state": dict(state)}, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def load_checkpoint(path: Path, run: str) -> dict[str, Any] | None:
    """Read the state of a run; nothing but tensors and plain values is ever unpickled.

    Args:
        path: the file.
        run: what identified the run when it was saved.

    Returns:
        The state, or None if there is no such file.

    Raises:
        CheckpointError: the file is damaged, of another version, or of another run.
    """
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        version, owner, state = saved["format"], saved["run"], saved["state"]
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a checkpoint of Foveal, or damaged; delete it ({error})"
        ) from error
    if version != _FORMAT:
        raise CheckpointError(f"{path}: written by another version of Foveal; delete it to start anew")
    if owner != run:
        raise CheckpointError(
            f"{path}: this run has other settings or other data; name another folder, or delete this one"
        )
    found: dict[str, Any] = state
    return found
