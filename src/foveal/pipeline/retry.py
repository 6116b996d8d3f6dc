"""Try again what a network or a busy store may refuse once."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

_T = TypeVar("_T")

DELAYS = (0.5, 1.0, 2.0)
"""Seconds before the second, third and fourth attempt."""

_PERMANENT = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
_PERMANENT_NUMBERS = {
    errno.EINVAL,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOSYS,
    errno.EPERM,
    errno.EROFS,
}
_TOO_EARLY, _TOO_MANY, _SERVER_FAULT = 408, 429, 500


def patiently(
    action: Callable[[], _T],
    *,
    delays: Sequence[float] = DELAYS,
    sleep: Callable[[float], None] | None = None,
) -> _T:
    """Do something, and once more after each delay while it fails for a reason that may pass.

    Raises:
        Exception: the first one that will not pass, or the last one.
    """
    for delay in delays:
        try:
            return action()
        except Exception as error:
            if not may_pass(error):
                raise
        (sleep or time.sleep)(delay)
    return action()


def may_pass(error: Exception) -> bool:
    """Whether it is worth another attempt: time-outs, broken connections, busy servers."""
    status = getattr(error, "status", None)  # of an HTTP answer
    if isinstance(status, int):
        return status in (_TOO_EARLY, _TOO_MANY) or status >= _SERVER_FAULT
    if isinstance(error, _PERMANENT):
        return False
    return isinstance(error, OSError) and error.errno not in _PERMANENT_NUMBERS
