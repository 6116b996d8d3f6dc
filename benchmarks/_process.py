"""Wall time and peak memory of a command in a fresh process (Linux and macOS).

The command is started by a small process of its own, which this file is when run as a script: on Linux the
peak that the system reports for a child includes the memory of whoever started it, and a benchmark is large.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """One run of a command.

    Attributes:
        seconds: from its start to its end.
        peak_mb: largest resident memory in MB (10**6 bytes).
    """

    seconds: float
    peak_mb: float


def measure(command: Sequence[str]) -> Run:
    """Run a command, its standard output thrown away.

    Args:
        command: program, as an absolute path, and arguments.

    Raises:
        ValueError: the command fails.
    """
    starter = [sys.executable, "-S", __file__, *command]
    finished = subprocess.run(starter, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise ValueError(f"{' '.join(command)} fails: {finished.stderr.strip() or finished.returncode}")
    return Run(**json.loads(finished.stdout))


def _start(command: list[str]) -> int:
    silence = (os.POSIX_SPAWN_OPEN, sys.stdout.fileno(), os.devnull, os.O_WRONLY, 0)
    start = time.perf_counter()
    child = os.posix_spawn(command[0], command, os.environ, file_actions=[silence])
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    print(json.dumps({"seconds": seconds, "peak_mb": usage.ru_maxrss * unit / 1e6}))
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    raise SystemExit(_start(sys.argv[1:]))
