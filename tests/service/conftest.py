"""A service in this process, with small models: an assessor, and an explainer known to the last weight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient
from service_helpers import LOCAL, GatedEngine, Load, MakePhoto, Start, encoded, wait_until

from constructed_explainer import constructed_explainer
from foveal.artifact.file import Artifact
from foveal.assessor import Assessor
from foveal.explanation.explainer import Explainer
from foveal.runtime import Engine, make_engine
from foveal.service.app import create_app
from foveal.service.batcher import Combiner
from foveal.service.fetch import Fetcher
from foveal.service.metrics import Metrics
from foveal.service.models import LoadedModel, Models
from foveal.service.settings import Settings


@pytest.fixture(scope="session")
def tiny_engine(tiny_artifact: Artifact) -> Engine:
    return make_engine(tiny_artifact, threads=2)


@pytest.fixture(scope="session")
def assessor(tiny_artifact: Artifact, tiny_engine: Engine) -> Assessor:
    return Assessor(tiny_artifact, tiny_engine)


@pytest.fixture(scope="session")
def explainer(assessor: Assessor) -> Explainer:
    return Explainer(constructed_explainer(), assessor)


@pytest.fixture(scope="session")
def load_tiny(tiny_artifact: Artifact, tiny_engine: Engine) -> Load:
    model = constructed_explainer()

    def load(settings: Settings, metrics: Metrics) -> Models:
        assessor = Assessor(tiny_artifact, tiny_engine, limits=settings.limits)
        explainer = Explainer(model, assessor) if settings.explain_workers else None
        return Models([LoadedModel(assessor, Combiner(assessor, 0.003, metrics.batch), explainer)])

    return load


@pytest.fixture(scope="session")
def start(load_tiny: Load) -> Start:
    """``with start(max_images=2) as client``: a warm service; keywords are settings."""

    @contextmanager
    def begin(
        load: Load | None = None, fetcher: Fetcher | None = None, **settings: Any
    ) -> Iterator[TestClient]:
        app = create_app(Settings(**settings), load or load_tiny, fetcher=fetcher)
        with TestClient(app, base_url=LOCAL, raise_server_exceptions=False) as client:
            wait_until(lambda: app.state.service.life.warm)
            yield client

    return begin


@pytest.fixture(scope="module")
def client(start: Start) -> Iterator[TestClient]:
    """A service with the settings that it has by default."""
    with start() as client:
        yield client


@pytest.fixture
def gated(tiny_engine: Engine) -> Iterator[GatedEngine]:
    engine = GatedEngine(tiny_engine)
    yield engine
    engine.gate.set()


@pytest.fixture(scope="session")
def png(make_photo: MakePhoto) -> bytes:
    """A picture of 300 x 240 pixels as a PNG."""
    return encoded(make_photo(240, 300))
