"""Thousands of hostile requests: no crash, no 500, no memory above the limit, each a typed 4xx or a proper result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SEED = 20261122
MOST_MEGABYTES = 900
"""Two threads decode pictures of 4 megapixels at 16 bytes a pixel, and enlarge lines of them to 67 megapixels
of 3 bytes; 160 MB of bodies; 180 MB of the process itself."""


@pytest.fixture(scope="module")
def outcome(tiny_model_path: Path) -> dict[str, Any]:
    command = [
        sys.executable,
        str(Path(__file__).with_name("hostile_run.py")),
        str(tiny_model_path),
        str(SEED),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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
