import sys

import numpy as np
import pytest

from _process import measure


def python(code):
    return [sys.executable, "-c", code]


def test_memory_is_that_of_the_command_and_not_of_its_starter():
    ballast = np.ones(25_000_000)  # 200 MB: what Linux would report for a child started from here
    run = measure(python("block = b'x' * 60_000_000"))
    assert 60 < run.peak_mb < 150 < ballast.nbytes / 1e6


def test_time_is_that_of_the_command():
    run = measure(python("import time; time.sleep(0.3)"))
    assert 0.3 < run.seconds < 30


def test_output_is_thrown_away():
    assert measure(python("print('x' * 100_000)")).seconds > 0


def test_a_command_that_fails_is_an_error_with_its_message():
    with pytest.raises(ValueError, match="no luck"):
        measure(python("raise SystemExit('no luck')"))
