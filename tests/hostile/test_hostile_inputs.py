"""Thousands of hostile requests: no crash, no 500, little memory, each a typed 4xx or a proper result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SEED = 20261122
MOST_MEGABYTES = 200 + 168 + 3 * 64 + 140
"""The process itself; bodies of all requests; three threads that decode 4 megapixels at 16 bytes each; and
what the attacks themselves take, which are made in the same process."""


@pytest.fixture(scope="module")
def outcome(tiny_model_path: Path) -> dict[str, Any]:
    here = Path(__file__).parent
    folders = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(here / "hostile_run.py"), str(tiny_model_path), str(SEED)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout)
    print(json.dumps(found, indent=1))
    return found


def test_there_are_enough(outcome: dict[str, Any]) -> None:
    assert outcome["count"] >= 2_000


def test_each_gets_a_typed_refusal_or_a_proper_result(outcome: dict[str, Any]) -> None:
    assert outcome["faults"] == []
    assert outcome["log"] == []
    assert "internal" not in outcome["codes"]


def test_they_try_what_there_is_to_try(outcome: dict[str, Any]) -> None:
    wanted = {
        "200", "body_too_large", "cross_site", "fetch_not_allowed", "image_corrupt", "image_empty",
        "image_too_large", "image_truncated", "invalid_base64", "invalid_json", "invalid_multipart",
        "invalid_request", "json_too_deep", "method_not_allowed", "no_images", "not_an_image", "not_found",
        "prompt_not_read", "too_many_images", "too_many_pixels", "unknown_model", "unsupported_media_type",
        "wrong_host",
    }  # fmt: skip
    assert wanted <= set(outcome["codes"])


def test_memory_stays_below_the_limit(outcome: dict[str, Any]) -> None:
    assert outcome["megabytes"] < MOST_MEGABYTES


def test_nothing_is_left_behind(outcome: dict[str, Any]) -> None:
    assert outcome["same"], "a good image scores as before"
    at_work, held, depths = outcome["state"]
    assert (at_work, held) == (0, 0)
    assert not any(depths)
