"""What a request brought is gone with it, at once, however it ends: no garbage collector is needed."""

from __future__ import annotations

import gc
import logging
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from service_helpers import (
    GatedEngine,
    MakePhoto,
    Start,
    encoded,
    error_of,
    gated_models,
    parts,
    service_in,
    wait_until,
)

from foveal import service
from foveal.artifact.file import Artifact
from foveal.errors import FovealError, NotAnImageError
from foveal.service.batcher import Pool
from foveal.service.logs import LOGGER

SOURCES = tracemalloc.Filter(True, str(Path(service.__file__).parent / "*.py"))
NOISE = np.random.default_rng(0).bytes(1_000_000)
LEFT = 300_000
"""Bytes that may stay, for what is made once."""


class Data:
    """Stands for the bytes of an image; unlike them it can be watched."""


def judged(_: Data) -> str:
    return "judged"


def refused(_: Data) -> str:
    raise NotAnImageError("a", "is not an image")


def refused_for_a_reason(data: Data) -> str:
    """As decoders do it: the first error, which its own frame holds, leads to the second."""
    failure: OSError | None = None
    try:
        _broken(data)
    except OSError as error:
        failure = error
    raise NotAnImageError("a", "is not an image") from failure


def _broken(_: Data) -> None:
    raise OSError("broken")


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    """Without a garbage collector: what is freed is freed for want of references."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("job", [judged, refused, refused_for_a_reason])
def test_jobs_keep_nothing(job: Callable[[Data], str]) -> None:
    pool: Pool[str] = Pool("test", workers=1, capacity=4)
    data = Data()
    watched = weakref.ref(data)
    ticket = pool.submit([partial(job, data)])
    outcome = ticket.future.result(30)[0]
    del data, ticket
    assert pool.close(30)
    assert watched() is None
    assert isinstance(outcome, NotAnImageError if job is not judged else str)


def test_jobs_that_nobody_waits_for_keep_nothing() -> None:
    pool: Pool[str] = Pool("test", workers=1, capacity=4)
    data = Data()
    watched = weakref.ref(data)
    ticket = pool.submit([partial(refused, data)] * 3)
    ticket.future.cancel()
    del data, ticket
    assert pool.close(30)
    assert watched() is None


def test_errors_that_nobody_expects_keep_their_traceback() -> None:
    def surprise() -> None:
        raise FovealError("no finite number")

    pool: Pool[None] = Pool("test", workers=1, capacity=4)
    outcome = pool.submit([surprise]).future.result(30)[0]
    assert isinstance(outcome, FovealError)
    assert outcome.__traceback__ is not None
    assert pool.close(30)


def kept(ask: Callable[[], Any]) -> int:
    """Bytes that three requests leave behind in the service, once the first has made what is made once."""
    ask()
    tracemalloc.start()
    try:
        for _ in range(3):
            ask()
        traces = tracemalloc.take_snapshot().filter_traces([SOURCES]).traces
        return sum(trace.size for trace in traces)
    finally:
        tracemalloc.stop()


def post(client: TestClient, data: bytes, code: str | None, count: int = 1, **fields: str) -> None:
    answer = client.post("/v1/score", files=parts(*[("a", data)] * count), data=fields)
    assert (error_of(answer)[1] if answer.is_error else None) == code


@pytest.mark.parametrize(
    ("data", "code", "fields"),
    [
        (NOISE, "not_an_image", {}),
        (b"\x89PNG\r\n\x1a\n" + NOISE, "image_corrupt", {}),
        (b"GIF89a" + NOISE, None, {}),
        (b"\xff\xd8\xff\xe0" + NOISE, None, {}),
        (b"II*\0" + NOISE, None, {}),
        (NOISE, "unknown_model", {"model": "nobody"}),
        (NOISE, "invalid_request", {"map": "perhaps"}),
        (NOISE, "prompt_not_read", {"prompt": "a fox"}),
    ],
    ids=["noise", "png", "gif", "jpeg", "tiff", "model", "map", "prompt"],
)
def test_what_is_refused_is_gone(
    client: TestClient, data: bytes, code: str | None, fields: dict[str, str]
) -> None:
    def ask() -> None:
        answer = client.post("/v1/score", files=parts(("a", data)), data=fields)
        assert answer.is_error
        assert code in (None, error_of(answer)[1])

    assert kept(ask) < LEFT


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"])
def test_what_is_judged_is_gone(client: TestClient, make_photo: MakePhoto, kind: str) -> None:
    padded = encoded(make_photo(80, 90), kind) + NOISE
    assert kept(partial(post, client, padded, None)) < LEFT


def test_what_the_queue_has_no_room_for_is_gone(
    start: Start, tiny_artifact: Artifact, gated: GatedEngine, png: bytes
) -> None:
    with start(gated_models(tiny_artifact, gated), queue=2, max_images=2) as client:
        gated.gate.clear()
        first = service_in(client).scoring.submit([gated.gate.wait])
        assert kept(partial(post, client, png + NOISE, "too_busy", count=2)) < LEFT
        gated.gate.set()
        first.future.result(30)


def test_what_takes_too_long_is_gone(
    start: Start, tiny_artifact: Artifact, gated: GatedEngine, png: bytes
) -> None:
    with start(gated_models(tiny_artifact, gated), request_seconds=0.1) as client:
        scoring = service_in(client).scoring

        def ask() -> None:
            gated.gate.clear()
            post(client, png + NOISE, "timed_out")
            gated.gate.set()
            wait_until(lambda: scoring.depth == 0)

        assert kept(ask) < LEFT


class Broken:
    """An engine that fails, as none should."""

    device, name, threads = "cpu", "broken", 1

    def __init__(self, best_batch: int) -> None:
        self.best_batch = best_batch
        self.works = True

    def run(self, views: Any) -> dict[str, Any]:
        if self.works:
            return {"quality": np.ones(len(views["whole"])), "spread": np.ones(len(views["whole"]))}
        raise RuntimeError("out of order")


@pytest.mark.parametrize("best_batch", [1, 2])
def test_what_fails_unexpectedly_is_logged_and_gone(
    start: Start, tiny_artifact: Artifact, png: bytes, best_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Log(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                told.append(logging.Formatter().formatException(record.exc_info))

    handler = Log()
    LOGGER.addHandler(handler)
    monkeypatch.setattr(LOGGER, "propagate", False)  # pytest keeps what it is told, tracebacks included
    engine: Any = Broken(best_batch)
    try:
        with start(gated_models(tiny_artifact, engine)) as client:
            engine.works = False
            assert kept(partial(post, client, png + NOISE, "internal")) < LEFT
    finally:
        LOGGER.removeHandler(handler)
    assert len(told) == 4
    assert all("out of order" in text and "in run" in text for text in told)
