"""Checkpoints: whole or not there, of this run or refused, and never a way to run code."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveal.lab.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint


def state() -> dict[str, Any]:
    """What a run saves: tensors of several types, numbers, text, None, lists and dicts."""
    generator = torch.Generator().manual_seed(1)
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {
        "step": 12,
        "best": {
            "epoch": 2,
            "value": -float("inf"),
            "weights": {"w": torch.randn(4, 3, generator=generator)},
        },
        "history": [{"epoch": 1, "losses": {"mse": 0.25}}],
        "optimizer": optimizer.state_dict(),
        "half": torch.arange(4, dtype=torch.float16),
        "average": None,
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    path, saved = tmp_path / "checkpoint.pt", state()
    assert load_checkpoint(path, "run") is None
    save_checkpoint(path, "run", saved)
    assert same(saved, load_checkpoint(path, "run"))
    save_checkpoint(path, "run", {"step": 13})
    assert load_checkpoint(path, "run") == {"step": 13}
    assert list(tmp_path.iterdir()) == [path]


def test_another_runs_checkpoint_is_not_gone_on_from(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, "run", state())
    with pytest.raises(
        CheckpointError, match=r"checkpoint\.pt: this run has other settings or other data; name"
    ):
        load_checkpoint(path, "another run")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "checkpoint.pt"
    save_checkpoint(path, "run", state())
    return path.read_bytes()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_file_is_refused_with_what_to_do(
    share: float, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "checkpoint.pt"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        CheckpointError, match=r"checkpoint\.pt: not a checkpoint of Foveal, or damaged; delete"
    ):
        load_checkpoint(path, "run")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    aliens: list[Any] = [[1, 2], {"state": {}}, "text"]
    for alien in aliens:
        torch.save(alien, path)
        with pytest.raises(CheckpointError, match="not a checkpoint of Foveal"):
            load_checkpoint(path, "run")
    torch.save({"format": 2, "run": "run", "state": {}}, path)
    with pytest.raises(
        CheckpointError, match="written by another version of Foveal; delete it to start anew"
    ):
        load_checkpoint(path, "run")
    with pytest.raises(CheckpointError, match="not a checkpoint of Foveal"):
        load_checkpoint(tmp_path, "run")


class Touch:
    """Leaves a file where a pickle of it is loaded carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


def test_nothing_is_run_that_a_checkpoint_brings(tmp_path: Path) -> None:
    path, trace = tmp_path / "checkpoint.pt", tmp_path / "trace"
    torch.save({"format": 1, "run": "run", "state": {"step": Touch(trace)}}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of Foveal, or damaged"):
        load_checkpoint(path, "run")
    assert not trace.exists()
    # The same bytes do run code where they are trusted: the trap is a real one.
    torch.load(path, weights_only=False)
    assert trace.exists()


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, "run", {"step": 1})

    def full(value: object, file: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, "run", {"step": 2})
    monkeypatch.undo()
    assert load_checkpoint(path, "run") == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_meets_the_old_state_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has been done at the moment of a kill, what lies at the path is a whole checkpoint."""
    path, seen = tmp_path / "checkpoint.pt", []
    save_checkpoint(path, "run", {"step": 1})
    for module, name in ((torch, "save"), (os, "fsync")):
        original = getattr(module, name)

        def look(*arguments: Any, original: Callable[..., Any] = original) -> Any:
            seen.append(load_checkpoint(path, "run"))
            done = original(*arguments)
            seen.append(load_checkpoint(path, "run"))
            return done

        monkeypatch.setattr(module, name, look)
    os.link(path, tmp_path / "old")
    save_checkpoint(path, "run", {"step": 2})
    assert seen == [{"step": 1}] * 4
    assert load_checkpoint(path, "run") == {"step": 2}
    # The old file was put out of place, not written over.
    assert load_checkpoint(tmp_path / "old", "run") == {"step": 1}
