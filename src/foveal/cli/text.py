"""Text that is safe to show: names of files may hold line breaks, control codes and stray bytes."""

from __future__ import annotations


def one_line(text: str) -> str:
    """Escape everything that cannot be shown, so that no name breaks a line or drives a terminal."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)
