"""A disk that fills up: a clear error, whole rows, and after making room the table of an undisturbed run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import foveal
from foveal.imaging.limits import Limits
from foveal.pipeline.manifest import Run
from foveal.pipeline.part_files import part_name
from foveal.pipeline.partition_worker import Fetching, PartitionWorker
from foveal.pipeline.partitions import partitions
from foveal.pipeline.storage import LocalStore

Foveal = Callable[..., "subprocess.CompletedProcess[str]"]


def failed_cleanly(process: subprocess.CompletedProcess[str]) -> str:
    """The one line that a command ends with that could not do its work."""
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stderr
    (line,) = process.stderr.splitlines()
    return line


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_rows_are_whole_and_the_run_can_go_on(
    foveal_score: Foveal, many: Path, disk: Any, tmp_path: Path, kind: str
) -> None:
    out, whole = disk.folder / f"x.{kind}", tmp_path / f"whole.{kind}"
    assert foveal_score(many, "--out", whole).returncode == 0
    said = failed_cleanly(foveal_score(many, "--out", out))
    growing = out.with_name("x.parquet.journal.jsonl") if kind == "parquet" else out
    assert f"{growing.name}: cannot write (No space left on device)" in said
    assert "--resume" in said
    kept = growing.read_bytes()
    assert kept.endswith(b"\n")
    assert 10 < kept.count(b"\n") < 220
    # Still full: nothing gets lost by trying again.
    failed_cleanly(foveal_score(many, "--out", out, "--resume"))
    assert growing.read_bytes().startswith(kept[: len(kept) // 2])
    disk.remount("size=10M")
    assert foveal_score(many, "--out", out, "--resume").returncode == 0
    if kind == "parquet":
        assert pyarrow.parquet.read_table(out).equals(pyarrow.parquet.read_table(whole))
    else:
        assert out.read_bytes() == whole.read_bytes()
    assert [path.name for path in disk.folder.iterdir()] == [out.name]


@pytest.mark.slow
def test_a_parquet_file_that_does_not_fit_leaves_its_journal(
    foveal_score: Foveal, many: Path, disk: Any, tmp_path: Path
) -> None:
    """The journal of some images just fits, the file itself no longer does."""
    some = [str(path) for path in sorted(many.iterdir())[:40]]
    out = disk.folder / "x.parquet"
    assert foveal_score(*some, "--out", tmp_path / "y.parquet").returncode == 0
    filler = disk.folder / "filler"
    # Room for the journal, which has about 500 bytes a row, and for a piece of the file.
    filler.write_bytes(b"x" * (48 * 1024 - 24 * 1024))
    said = failed_cleanly(foveal_score(*some, "--out", out))
    assert "x.parquet: cannot write (No space left on device); all rows are in its journal" in said
    assert not out.exists()
    filler.unlink()
    disk.remount("size=10M")
    assert foveal_score(*some, "--out", out, "--resume").returncode == 0
    found, expected = (pyarrow.parquet.read_table(path) for path in (out, tmp_path / "y.parquet"))
    assert found.equals(expected)
    assert [path.name for path in disk.folder.iterdir()] == [out.name]


def test_a_partition_that_does_not_fit_stops_the_run_and_leaves_nothing(
    many: Path, disk: Any, tiny_model_path: Path
) -> None:
    store = LocalStore(str(disk.folder / "out"))
    run = Run("1.0", "tiny@0.0.1", "f", partition_size=100, max_pixels=10**9)
    names = [(path.name, None) for path in sorted(many.iterdir())]
    first, second, _ = partitions(names, str(many), 100)
    worker = PartitionWorker(lambda: foveal.load(tiny_model_path), store, run, Fetching({}, Limits()))
    assert worker(first).entry is not None
    with pytest.raises(OSError, match="No space left"):
        (disk.folder / "filler").write_bytes(b"x" * 64 * 1024)
    fault = worker(second).fault
    assert fault is not None
    assert f"{part_name(second.id)} cannot be written (No space left on device)" in fault
    assert list(store.names()) == [part_name(first.id)]
    (disk.folder / "filler").unlink()
    disk.remount("size=1M")
    assert worker(second).entry is not None
    assert worker(first).kept


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("form", [[], ["--json"], ["--top", "3"]])
def test_output_that_nobody_can_take(tiny_model_path: Path, many: Path, form: list[str]) -> None:
    command = [sys.executable, "-m", "foveal", "score", str(many), "--model", str(tiny_model_path), *form]
    with Path("/dev/full").open("wb") as full:
        finished = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert "cannot write any more (No space left on device)" in failed_cleanly(finished)
