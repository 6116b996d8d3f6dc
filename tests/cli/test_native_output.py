"""Lines that compiled libraries write are held back; messages of the command are not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from foveal.cli.native_output import native_errors_held_back

SCRIPT = """
import os, sys
from foveal.cli.native_output import native_errors_held_back
print("before", file=sys.stderr)
try:
    with native_errors_held_back(["known"]):
        os.write(2, b"a known remark\\n")
        os.write(2, b"a crash\\nunfinished")
        print("meanwhile, caf\\u00e9", file=sys.stderr)
        if sys.argv[1:]:
            raise KeyboardInterrupt
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
os.write(2, b"\\nafterwards\\n")
print("end", file=sys.stderr)
"""


@pytest.mark.parametrize("interrupted", [[], ["yes"]])
def test_lines_come_in_order_and_without_what_is_known(interrupted: list[str]) -> None:
    finished = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", SCRIPT, *interrupted], capture_output=True, check=True
    )
    said = finished.stderr.decode().splitlines()
    middle = ["interrupted"] if interrupted else []
    expected = ["before", "meanwhile, café", "a crash", "unfinished", *middle, "afterwards", "end"]
    if interrupted:  # written behind the unfinished line
        expected[3:5] = ["unfinishedinterrupted", ""]
    assert said == expected


def test_streams_of_tests_and_notebooks_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stderr
    with native_errors_held_back(["known"]):
        assert sys.stderr is before
        print("here", file=sys.stderr)
    assert capsys.readouterr().err == "here\n"
