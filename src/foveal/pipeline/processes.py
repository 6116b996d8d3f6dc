"""Whether the process that left a file behind is still there."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

_START_TIME = 19
"""Place of the start among the fields behind the name in ``/proc/PID/stat`` (proc_pid_stat(5), field 22)."""


def machine() -> str:
    """What tells whether a process number means something here: host, its current start, its name space."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def started(process: int) -> int | None:
    """When a process of this machine started, in the system's ticks; None where that cannot be told."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return int(status.rpartition(")")[2].split()[_START_TIME])
    except (OSError, ValueError, IndexError):
        return None


def is_running(process: object, start: object = None) -> bool:
    """Whether a process of this machine is running; True where that cannot be told.

    Args:
        process: its number.
        start: what :func:`started` gave; another start means that the number has been given out again.
    """
    if not isinstance(process, int) or os.name == "nt":  # where signal 0 ends the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return start is None or started(process) == start
