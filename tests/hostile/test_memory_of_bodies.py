"""Memory of a real process that gets the largest bodies it takes: as much as promised, and not for long."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from served import Served, form, served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
HELD, BODY = 140, 14
"""MiB that all requests may keep, and of one image."""
AT_ONCE, WAVES = 4, 8
MOST = HELD * 4 / 3 + 40
"""MiB above the beginning: what grows has a reserve, and the allocator keeps some of what was freed."""
STATUS = Path("/proc/self/status")


def megabytes(running: Served, field: str) -> float:
    text = Path(f"/proc/{running.process.pid}/status").read_text(encoding="ascii")
    found = re.search(rf"{field}:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) / 1024


def as_form(image: bytes) -> tuple[str, bytes]:
    return "multipart/form-data; boundary=b", form(image)[1]


def as_json(image: bytes) -> tuple[str, bytes]:
    """One character that needs four bytes is enough to make a text of all of it four times as large."""
    entries = [{"data": base64.b64encode(image).decode(), "name": "\U0001f98a"}]
    return "application/json", json.dumps({"images": entries}, ensure_ascii=False).encode()


@pytest.mark.skipif(not STATUS.exists(), reason="the system does not tell the memory of processes")
@pytest.mark.parametrize("write", [as_form, as_json])
def test_bodies_take_what_they_may_and_are_gone(
    tiny_model_path: Path, write: Callable[[bytes], tuple[str, bytes]]
) -> None:
    kind, body = write(np.random.default_rng(0).bytes(BODY * 2**20))
    limits = ("--max-held-mib", str(HELD), "--max-body-mib", "20", "--explain-workers", "0", "--threads", "1")
    with served("--model", str(tiny_model_path), *limits) as running, ThreadPoolExecutor(AT_ONCE) as clients:
        before = megabytes(running, "VmHWM")

        def ask(_: int) -> int:
            return running.request("POST", "/v1/score", body, Content_Type=kind)[0]

        statuses = list(clients.map(ask, range(AT_ONCE * WAVES)))
        assert set(statuses) <= {415, 429}
        assert statuses.count(415) > WAVES
        peak, rest = megabytes(running, "VmHWM") - before, megabytes(running, "VmRSS") - before
        print(f"{write.__name__}: {peak:.0f} MiB more at most, {rest:.0f} MiB in the end")
        assert peak < MOST
        assert rest < HELD
