"""Broken surroundings: disks that fill up or may not be written, and the command in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DISK = 48 * 1024
"""Bytes of the small disk: less than the rows of :func:`many`."""
IMAGES = 220


class Disk:
    """A small file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remount(self, options: str) -> None:
        """Change its size, or whether it may be written."""
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of :data:`DISK` bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no small disk here: {made.stderr.decode().strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny images with long names."""
    folder = tmp_path_factory.mktemp("many") / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}-{'x' * 100}.png")
    return folder


Foveal = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def foveal_score(tiny_model_path: Path) -> Foveal:
    """Run ``foveal score --model tiny`` in a process of its own."""

    def score(*args: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "foveal", "score", "--model", str(tiny_model_path)]
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            [*command, "--threads", "1", *map(str, args)],
            capture_output=True,
            text=True,
            check=False,
            **options,
        )

    return score
