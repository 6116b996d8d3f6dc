"""Keep what compiled libraries write past Python away from a command's own messages."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TextIO

_STDERR = 2


@contextmanager
def native_errors_held_back(known: Sequence[str]) -> Iterator[None]:
    """Hold back what is written to descriptor 2, and pass it on at the end, without lines that mean nothing.

    Python's own ``sys.stderr`` writes where it did, so bars and messages come as usual.

    Args:
        known: pieces of lines that are left out.
    """
    before = sys.stderr
    if not _is_real(before):
        yield
        return
    before.flush()
    real = os.dup(_STDERR)
    with (
        tempfile.TemporaryFile() as held,
        os.fdopen(real, "w", buffering=1, encoding=before.encoding, errors=before.errors) as shown,
    ):
        os.dup2(held.fileno(), _STDERR)
        sys.stderr = shown
        try:
            yield
        finally:
            shown.flush()
            sys.stderr = before
            os.dup2(real, _STDERR)
            _pass_on(held, known)


def _is_real(stream: TextIO | None) -> bool:
    """Whether a stream writes to descriptor 2; tests and notebooks put others in its place."""
    try:
        return stream is not None and stream.fileno() == _STDERR
    except (AttributeError, OSError, ValueError):
        return False


def _pass_on(held: IO[bytes], known: Sequence[str]) -> None:
    held.seek(0)
    for line in held:
        if not any(piece.encode() in line for piece in known):
            os.write(_STDERR, line)
