"""CI skips nothing: a skipped test, a skipped file and a fixture that skips fail a run that forbids it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPING = {
    "test": "import pytest\n@pytest.mark.skipif(True, reason='not today')\ndef test_it(): pass\n",
    "file": "import pytest\npytest.importorskip('not_today')\ndef test_it(): pass\n",
    "fixture": (
        "import pytest\n@pytest.fixture\ndef tool(): pytest.skip('not today')\ndef test_it(tool): pass\n"
    ),
}
PASSING = "import pytest\ndef test_it(): pass\n@pytest.mark.xfail\ndef test_known(): assert False\n"


def pytest_on(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    here = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    options = ["-p", "no_skips", "-p", "no:cacheprovider", "-p", "no:hypothesis", "--rootdir", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, str(folder)],
        env={**os.environ, "FOVEAL_NO_SKIPS": "", "PYTHONPATH": here, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_skips_fail_where_they_are_forbidden_and_are_named(tmp_path: Path) -> None:
    for what, code in SKIPPING.items():
        (tmp_path / f"test_{what}.py").write_text(code, encoding="utf-8")
    (tmp_path / "test_passing.py").write_text(PASSING, encoding="utf-8")
    forbidden = pytest_on(tmp_path, FOVEAL_NO_SKIPS="1")
    assert forbidden.returncode == pytest.ExitCode.TESTS_FAILED
    named = [line for line in forbidden.stdout.splitlines() if "FOVEAL_NO_SKIPS forbids" in line]
    assert len(named) == len(SKIPPING)
    assert all(any(f"test_{what}.py" in line for line in named) for what in SKIPPING)
    assert pytest_on(tmp_path).returncode == pytest.ExitCode.OK


def test_without_skips_all_is_well(tmp_path: Path) -> None:
    (tmp_path / "test_passing.py").write_text(PASSING, encoding="utf-8")
    finished = pytest_on(tmp_path, FOVEAL_NO_SKIPS="1")
    assert finished.returncode == pytest.ExitCode.OK, finished.stdout
    assert "forbids" not in finished.stdout
