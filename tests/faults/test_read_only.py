"""Folders that may not be written: output is refused with its name, and nothing else needs to be written."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foveal.cli.run import run
from foveal.errors import OutputError
from foveal.pipeline.storage import LocalStore

Foveal = Callable[..., "subprocess.CompletedProcess[str]"]


DROP_FROM_BOUNDING_SET, OVERRIDE_PERMISSIONS = 24, 1
"""PR_CAPBSET_DROP and CAP_DAC_OVERRIDE of Linux: prctl(2), capabilities(7)."""
IS_ROOT = os.name != "nt" and os.geteuid() == 0
KINDS, OPTIONS = ["csv", "jsonl", "parquet"], [[], ["--resume"], ["--overwrite"]]


@pytest.mark.parametrize(("kind", "options"), list(itertools.product(KINDS, OPTIONS)))
def test_output_is_refused_before_anything_is_scored(
    tiny_model_path: Path, disk: Any, kind: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = disk.folder / f"x.{kind}"
    out.write_bytes(b"mine")
    disk.remount("ro")
    assert run(["score", "x.jpg", "--model", str(tiny_model_path), "--out", str(out), *options]) == 2
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert f"x.{kind}" in line
    assert "Read-only file system" in line
    assert shown.out == ""
    assert out.read_bytes() == b"mine"
    assert [path.name for path in disk.folder.iterdir()] == [out.name]


def test_scoring_needs_no_folder_that_may_be_written(foveal_score: Foveal, many: Path, disk: Any) -> None:
    """No cache in the home folder, no temporary file, nothing in the working folder."""
    image = sorted(many.iterdir())[0]
    expected = foveal_score(image).stdout
    assert expected.count("\n") == 1
    disk.remount("ro")
    nowhere = str(disk.folder)
    surroundings = {"HOME": nowhere, "TMPDIR": nowhere, "XDG_CACHE_HOME": nowhere, "XDG_CONFIG_HOME": nowhere}
    finished = foveal_score(image, cwd=nowhere, env={**os.environ, **surroundings})
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == expected
    assert finished.stderr == ""


def test_a_folder_of_partitions(disk: Any) -> None:
    store = LocalStore(str(disk.folder / "out"))
    store.write("a", b"x")
    disk.remount("ro")
    for action in (
        lambda: store.write("a", b"y"),
        lambda: store.create("b", b"y"),
        lambda: store.delete("a"),
        lambda: LocalStore(str(disk.folder / "other")),
    ):
        with pytest.raises(OutputError, match="Read-only file system"):
            action()
    assert store.read("a") == b"x"
    assert list(LocalStore(store.address).names()) == ["a"]


def heed_permissions() -> None:
    """Take from root its right to pass over permissions, for this process and what it starts."""
    if IS_ROOT and ctypes.CDLL(None).prctl(DROP_FROM_BOUNDING_SET, OVERRIDE_PERMISSIONS, 0, 0, 0) != 0:
        raise OSError("root keeps its rights")


@pytest.mark.skipif(sys.platform != "linux" and IS_ROOT, reason="permissions do not hold for root")
@pytest.mark.skipif(os.name == "nt", reason="folders have no such permissions there")
def test_a_folder_that_only_others_may_write(foveal_score: Foveal, many: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    finished = foveal_score(many, "--out", folder / "x.csv", preexec_fn=heed_permissions)
    assert finished.returncode == 2
    assert "Permission denied" in finished.stderr
    assert "Traceback" not in finished.stderr
