"""The first call of a fresh process, from several threads at once.

OpenVINO sets up NumPy inside its binding at the first look into a tensor; two threads that came there first
together used to wait for each other for ever. It can only happen once a process, so each try needs a new one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TRIES = 6

CODE = f"""
import sys
sys.path[:] = {sys.path!r}
import threading
import numpy as np
from foveal.artifact import read_artifact
from foveal.runtime import make_engine

count = 6
engine = make_engine(read_artifact(sys.argv[1]), engine=sys.argv[2], threads=count)
views = {{name: np.full((1, 224, 224, 3), 90, np.uint8) for name in ("whole", "fragments")}}
start = threading.Barrier(count)
results = []

def call():
    start.wait()
    results.append(float(engine.run(views)["quality"][0]))

threads = [threading.Thread(target=call, daemon=True) for _ in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(results), len(set(results)))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_first_call_comes_from_many_threads_at_once(tiny_model_path: Path, engine: str) -> None:
    for _ in range(TRIES if engine == "openvino" else 1):
        # A deadlock shows as subprocess.TimeoutExpired; a process that works takes about a second.
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(tiny_model_path), engine],
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["6", "1"]
