"""The command line: one file a command, thin on top of the library."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the ``foveal`` command and leave with its exit code."""
    from foveal.cli.run import run

    sys.exit(run())
