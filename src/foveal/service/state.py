"""What the parts of a running service share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from threading import Semaphore
from typing import Any

from starlette.requests import Request

from foveal.service.batcher import Pool
from foveal.service.drain import Life
from foveal.service.fetch import Fetcher
from foveal.service.limits import Budget
from foveal.service.metrics import Metrics
from foveal.service.models import Models
from foveal.service.settings import Settings


@dataclass(slots=True)
class Notes:
    """What the log and the metrics are told of one request.

    Attributes:
        request_id: sent back to the client.
        images: in it.
        failed: of them that could not be judged.
        received: bytes of its body that were kept.
        waited: seconds until the last of its images had found a worker.
        code: of its error.
    """

    request_id: str
    images: int = 0
    failed: int = 0
    received: int = 0
    waited: float | None = None
    code: str | None = None


@dataclass(slots=True)
class Service:
    """One service.

    Attributes:
        settings: how it behaves.
        models: who judges.
        scoring: decodes and judges, an image a job.
        decoders: how many of its threads may decode at once; more of them only wait for batches.
        explaining: explains; None where nothing is explained.
        fetching: fetches images by URL; None where that is not allowed.
        fetcher: how.
        metrics: what is counted.
        life: whether it takes work.
        budget: bytes of all requests.
        json_turn: one body of JSON is read after the other, as that takes memory of its own.
    """

    settings: Settings
    models: Models
    metrics: Metrics
    scoring: Pool[Any]
    explaining: Pool[Any] | None
    fetching: Pool[bytes] | None
    fetcher: Fetcher
    decoders: Semaphore
    life: Life = field(default_factory=Life)
    budget: Budget = field(init=False)
    json_turn: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, 1))

    def __post_init__(self) -> None:
        self.budget = Budget(self.settings.max_held, lambda: self.scoring.retry_after)

    @property
    def pools(self) -> list[Pool[Any]]:
        """All that have threads."""
        return [pool for pool in (self.fetching, self.scoring, self.explaining) if pool is not None]


def service_of(request: Request) -> Service:
    """The service that a request has come to."""
    found: Service = request.app.state.service
    return found


def notes_of(request: Request) -> Notes:
    """What is noted of a request."""
    found: Notes = request.scope["foveal.notes"]
    return found
