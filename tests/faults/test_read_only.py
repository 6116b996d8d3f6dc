"""Folders that may not be written: output is refused with its name, and nothing else needs to be written."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foveal.cli.run import run
from foveal.errors import OutputError
from foveal.pipeline.storage import LocalStore

Foveal = Callable[..., "subprocess.CompletedProcess[str]"]


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


def test_a_folder_that_only_others_may_write(foveal_score: Foveal, many: Path, tmp_path: Path) -> None:
    if os.name == "nt" or os.geteuid() == 0:
        pytest.skip("permissions do not hold for root")
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    finished = foveal_score(many, "--out", folder / "x.csv")
    assert finished.returncode == 2
    assert "Permission denied" in finished.stderr
    assert "Traceback" not in finished.stderr
