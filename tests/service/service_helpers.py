"""What the tests of the service share: engines that wait, images as files, answers that are checked."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from foveal.artifact.file import Artifact
from foveal.assessor import Assessor
from foveal.runtime import Engine
from foveal.service.batcher import Combiner
from foveal.service.metrics import Metrics
from foveal.service.models import LoadedModel, Models
from foveal.service.settings import Settings
from foveal.service.state import Service

LOCAL = "http://127.0.0.1:8321"
Load = Callable[[Settings, Metrics], Models]
Start = Callable[..., AbstractContextManager[TestClient]]
MakePhoto = Callable[..., NDArray[np.uint8]]


class GatedEngine:
    """An engine that waits until it may go on, and remembers what it was called with.

    Attributes:
        gate: set while it may go on.
        called: released by every call that has begun.
        batches: images of each call.
    """

    device = "cpu"
    name = "gated"

    def __init__(self, engine: Engine, *, best_batch: int = 1, threads: int = 1) -> None:
        self._engine = engine
        self.best_batch = best_batch
        self.threads = threads
        self.gate = threading.Event()
        self.gate.set()
        self.called = threading.Semaphore(0)
        self.batches: list[int] = []

    def run(self, views: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        self.batches.append(len(next(iter(views.values()))))
        self.called.release()
        assert self.gate.wait(60)
        return self._engine.run(views)


def gated_models(artifact: Artifact, engine: GatedEngine) -> Load:
    """Models that judge with a gated engine; without explanations."""

    def load(settings: Settings, metrics: Metrics) -> Models:
        assessor = Assessor(artifact, engine, limits=settings.limits)
        return Models([LoadedModel(assessor, Combiner(assessor, 0.05, metrics.batch), None)])

    return load


def wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """An image as a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def parts(*images: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    """Named images as the files of a form."""
    return [("image", image) for image in images]


def service_in(client: TestClient) -> Service:
    """The service that a client talks to."""
    app = client.app
    assert isinstance(app, FastAPI)
    service: Service = app.state.service
    return service


def error_of(reply: Any) -> tuple[int, str]:
    """Status and code of an answer that is an error, after checks that hold for every one of them."""
    error = reply.json()["error"]
    assert set(error) <= {"code", "message", "request_id", "field"}, error
    assert error["message"]
    assert error["request_id"] == reply.headers["X-Request-ID"]
    assert reply.headers["Content-Type"] == "application/json"
    for secret in ("Traceback", "site-packages", ".py", "/src/", "object at 0x"):
        assert secret not in reply.text
    return reply.status_code, error["code"]
