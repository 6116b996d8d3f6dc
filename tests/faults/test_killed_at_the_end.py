"""Killed while the last bytes are written: before, between and after the steps that finish a table."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest

Foveal = Callable[..., "subprocess.CompletedProcess[str]"]

# Each is a moment in the life of a table: the n-th call of a function.
MOMENTS = {
    "before the rows are on the disk": ("os", "fsync", 1),
    "before the Parquet file is on the disk": ("os", "fsync", 2),
    "before the Parquet file has its name": ("pathlib.Path", "replace", 1),
    "before the journal is deleted": ("pathlib.Path", "unlink", 1),
    "before the lock is freed": ("foveal.pipeline.files.WriterLock", "release", 1),
}

KILLED = """
import importlib, os, signal, sys
where, name, number, *command = sys.argv[1:]
module, _, owner = where.rpartition(".")
is_class = owner[0].isupper()
found = getattr(importlib.import_module(module), owner) if is_class else importlib.import_module(where)
original, calls = getattr(found, name), [0]
def deadly(*args, **options):
    calls[0] += 1
    if calls[0] == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **options)
setattr(found, name, deadly)
from foveal.cli.run import run
sys.exit(run(command))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_next_run_finds_all_rows(
    moment: str, foveal_score: Foveal, many: Path, tmp_path: Path, tiny_model_path: Path
) -> None:
    images = [str(path) for path in sorted(many.iterdir())[:5]]
    out, whole = tmp_path / "x.parquet", tmp_path / "whole.parquet"
    assert foveal_score(*images, "--out", whole).returncode == 0
    command = ["score", *images, "--model", str(tiny_model_path), "--out", str(out), "--threads", "1"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, MOMENTS[moment]), *command], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    if out.exists():  # then it is whole
        assert pyarrow.parquet.read_table(out).equals(pyarrow.parquet.read_table(whole))
    resumed = foveal_score(*images, "--out", out, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert out.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {out.name, whole.name}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
def test_asked_to_end_it_keeps_its_rows(
    foveal_score: Foveal, many: Path, tmp_path: Path, tiny_model_path: Path
) -> None:
    """As systemd, Slurm and Kubernetes do."""
    out, whole = tmp_path / "x.csv", tmp_path / "whole.csv"
    assert foveal_score(many, "--out", whole).returncode == 0
    command = [sys.executable, "-m", "foveal", "score", str(many), "--threads", "1"]
    with subprocess.Popen([*command, "--model", str(tiny_model_path), "--out", str(out)]) as process:
        until = time.monotonic() + 100
        while not out.exists() or out.read_bytes().count(b"\n") < 2:
            assert time.monotonic() < until
            time.sleep(0.001)
        process.terminate()
    assert process.returncode == -signal.SIGTERM
    rows = out.read_bytes()
    assert rows.endswith(b"\n")
    assert foveal_score(many, "--out", out, "--resume").returncode == 0
    assert out.read_bytes() == whole.read_bytes()
