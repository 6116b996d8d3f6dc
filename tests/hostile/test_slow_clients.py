"""Many clients that send or take as little as they can: the others are served as if they were not there."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from served import Served, answer, form, served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SLOW, SECONDS = 60, 6.0


@pytest.fixture(scope="module")
def running(tiny_model_path: Path) -> Iterator[Served]:
    limits = ("--header-seconds", "1", "--body-seconds", "1.5", "--write-seconds", "1", "--idle-seconds", "2")
    arguments = ("--model", str(tiny_model_path), "--explain-workers", "0", "--max-connections", "80")
    with served(*arguments, *limits) as running:
        yield running


def dripping(running: Served, image: bytes, seed: int, end: float, cut: list[int]) -> None:
    """Connect again and again, and send a few bytes now and then; ``cut`` counts how often that ended."""
    rng = random.Random(seed)
    head, body = form(image)
    texts = (
        head,
        head + body,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 500,
        b"\x16\x03\x01",
        b"",
    )
    while time.monotonic() < end:
        text = rng.choice(texts)
        try:
            with running.connect() as connection:
                connection.settimeout(0.05)
                while time.monotonic() < end:
                    piece, text = text[: rng.randint(1, 40)], text[40:]
                    connection.sendall(piece or b"z")
                    try:
                        if not connection.recv(1000):
                            break
                    except TimeoutError:
                        pass
        except OSError:
            pass
        cut.append(seed)


def test_good_clients_do_not_notice(
    running: Served, make_photo: Callable[..., NDArray[np.uint8]], tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(make_photo(80, 90)).save(path)
    image = path.read_bytes()
    end, cut = time.monotonic() + SECONDS, list[int]()
    slow = [threading.Thread(target=dripping, args=(running, image, seed, end, cut)) for seed in range(SLOW)]
    for thread in slow:
        thread.start()
    head, body = form(image)
    statuses = []
    while time.monotonic() < end - 0.5:
        with running.connect() as connection:
            connection.sendall(head + body)
            statuses.append(answer(connection)[0])
    for thread in slow:
        thread.join()
    assert set(statuses) == {200}
    assert len(cut) > SLOW, "they are cut off, and come again"
    assert running.request("GET", "/readyz")[0] == 200
    assert running.process.poll() is None
