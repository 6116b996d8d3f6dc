"""``foveal score`` killed, interrupted, and written to a pipe that closes."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

IMAGES = 200


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny images, one of them broken."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        pixels = rng.integers(0, 256, (24, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}, x.png")
    (folder / "050, x.png").write_bytes(b"broken")
    return folder


@pytest.fixture
def start(tiny_model_path: Path, many: Path) -> Callable[..., subprocess.Popen[bytes]]:
    def start(*args: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "foveal", "score", str(many), "--model", str(tiny_model_path)]
        # Shells start background jobs with interrupts ignored, which children inherit; with any handler set
        # here they begin with the default.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return subprocess.Popen(
                [*command, "--threads", "1", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        finally:
            signal.signal(signal.SIGINT, before)

    return start


Start = Callable[..., subprocess.Popen[bytes]]


def wait_for_rows(path: Path, count: int) -> None:
    """Return as soon as the file has so many lines."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.001)
    raise AssertionError(f"{path} never had {count} lines")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_killed_again_and_again_it_ends_with_the_rows_of_an_undisturbed_run(
    start: Start, tmp_path: Path, kind: str
) -> None:
    whole, out = tmp_path / f"whole.{kind}", tmp_path / f"out.{kind}"
    assert start("--out", str(whole)).communicate() is not None
    growing = out.with_name(out.name + ".journal.jsonl") if kind == "parquet" else out
    moments = sorted(random.Random(kind).sample(range(5, IMAGES // 2), 2))
    for moment in moments:
        with start("--out", str(out), "--resume") as process:
            wait_for_rows(growing, moment)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert growing.read_bytes().count(b"\n") < IMAGES
    with start("--out", str(out), "--resume") as process:
        _, errors = process.communicate()
    assert process.returncode == 1, errors
    if kind == "parquet":
        assert pyarrow.parquet.read_table(out).equals(pyarrow.parquet.read_table(whole))
        assert pyarrow.parquet.read_table(out).num_rows == IMAGES
    else:
        assert out.read_bytes() == whole.read_bytes()
        assert out.read_bytes().count(b"\n") == IMAGES + (kind == "csv")
    assert {path.name for path in tmp_path.iterdir()} == {whole.name, out.name}


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_keeps_what_is_done(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    with start("--out", str(out)) as process:
        wait_for_rows(out, 20)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert printed == b""
    assert b"interrupted after" in errors
    assert b"--resume" in errors
    assert b"Traceback" not in errors
    rows = out.read_bytes()
    assert rows.endswith(b"\n")
    assert 20 <= rows.count(b"\n") < IMAGES


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_leaves_valid_json(start: Start) -> None:
    with start("--json") as process:
        assert process.stdout is not None
        begun = b"".join(process.stdout.readline() for _ in range(10))
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert 9 <= len(json.loads(begun + rest)) < IMAGES


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_closed_pipe_is_quiet(start: Start, form: list[str]) -> None:
    with start(*form, "--keep-going") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert b"Traceback" not in errors
    assert b"Broken pipe" not in errors
    assert b"Exception" not in errors
