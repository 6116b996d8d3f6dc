"""Greatest memory that this process has held: not that of the process which started it."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def peak_bytes() -> int:
    """Peak resident memory in bytes.

    Linux hands the starter's own peak down to what it starts: a small process started by a test session of
    a gigabyte would have ``ru_maxrss`` of a gigabyte. ``VmHWM`` belongs to the process alone.
    """
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii")
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        if found is None:
            raise RuntimeError("the kernel does not tell VmHWM")
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
