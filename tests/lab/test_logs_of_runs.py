"""Logs of a training run: their rows, what a resumed run makes of them, and TensorBoard."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from foveal.errors import MissingExtraError
from foveal.lab.training.logs import EPOCHS, STEPS, LogKind, RunLog

LAST, EPOCH = 60, 25


def write(folder: Path, steps: range, kind: LogKind = "csv", *, first: int = 0) -> None:
    """Log as the training loop does: every step, and an epoch of 25 steps."""
    log = RunLog(folder, kind, first=first)
    for step in steps:
        log.step(step, {"mse": 1 / step, "plcc": 0.1 * step})
        if step % EPOCH == 0:
            log.epoch(step, {"mse": 1 / step}, {"srcc": step / 100, "plcc": -0.5})
    log.close()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_rows_of_steps_and_epochs(tmp_path: Path) -> None:
    write(tmp_path, range(1, LAST + 1))
    steps = rows(tmp_path / STEPS)
    assert [row["step"] for row in steps] == ["10", "20", "30", "40", "50", "60"]
    assert steps[2] == {"step": "30", "mse": "0.0333333", "plcc": "3"}
    assert rows(tmp_path / EPOCHS) == [
        {"step": "25", "mse": "0.04", "validation_srcc": "0.25", "validation_plcc": "-0.5"},
        {"step": "50", "mse": "0.02", "validation_srcc": "0.5", "validation_plcc": "-0.5"},
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([STEPS, EPOCHS])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(killed=st.integers(0, LAST), back=st.integers(0, LAST), lost=st.integers(0, 200))
@example(killed=10, back=10, lost=22)  # the file is there and empty
@example(killed=10, back=10, lost=19)  # cut within its header
@example(killed=30, back=5, lost=3)  # cut within a row
@example(killed=60, back=0, lost=0)
def test_a_resumed_run_leaves_the_log_of_one_that_never_stopped(
    killed: int, back: int, lost: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Killed at a step, its last checkpoint ``back`` steps before, ``lost`` bytes not yet on disk."""
    whole, cut = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("cut")
    write(whole, range(1, LAST + 1))
    write(cut, range(1, killed + 1))
    first = max(0, killed - back)
    for name in (STEPS, EPOCHS):
        path = cut / name
        if path.exists():
            content = path.read_bytes()
            lines = content.splitlines(keepends=True)
            saved = [line for line in lines[1:] if int(line.split(b",")[0]) <= first]
            # What was logged before the checkpoint has reached the disk by then.
            certain = sum(map(len, [lines[0], *saved])) if saved else 0
            path.write_bytes(content[: max(certain, len(content) - lost)])
    write(cut, range(first + 1, LAST + 1), first=first)
    for name in (STEPS, EPOCHS):
        assert (cut / name).read_text() == (whole / name).read_text()
    assert sorted(path.name for path in cut.iterdir()) == sorted([STEPS, EPOCHS])


def test_a_new_run_takes_out_the_rows_of_an_old_one(tmp_path: Path) -> None:
    write(tmp_path, range(1, LAST + 1))
    write(tmp_path, range(1, 21))
    assert [row["step"] for row in rows(tmp_path / STEPS)] == ["10", "20"]
    assert rows(tmp_path / EPOCHS) == []


@pytest.mark.parametrize("kind", ["tensorboard", "both"])
def test_tensorboard_reads_the_same_figures(tmp_path: Path, kind: LogKind) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write(tmp_path, range(1, 41), kind)
    write(tmp_path, range(31, LAST + 1), kind, first=30)  # killed at 40, checkpoint at 30
    events: Any = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    scalars = {
        tag: [(e.step, round(e.value, 4)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }
    assert scalars["train/mse"] == [(step, round(1 / step, 4)) for step in (10, 20, 30, 40, 50, 60)]
    assert scalars["validation/srcc"] == [(25, 0.25), (50, 0.5)]
    assert (tmp_path / STEPS).exists() == (kind == "both")


def test_tensorboard_is_wanted_only_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    RunLog(tmp_path, "csv").close()
    with pytest.raises(MissingExtraError, match=r"logs for TensorBoard needs .*'foveal\[tensorboard\]'"):
        RunLog(tmp_path, "both")
