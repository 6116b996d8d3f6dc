"""The application: routes, middleware, and how they start and end."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from threading import Semaphore

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from foveal.errors import bare
from foveal.service.auth import METRICS, Gate
from foveal.service.batcher import Pool
from foveal.service.errors import ServiceError
from foveal.service.fetch import Fetcher
from foveal.service.logs import log
from foveal.service.metrics import CONTENT_TYPE, Metrics
from foveal.service.models import Models
from foveal.service.observe import Observed
from foveal.service.openapi import described, documented
from foveal.service.page import Page, make_page
from foveal.service.replies import error_reply, json_reply
from foveal.service.schemas import ModelsAnswer, plain
from foveal.service.score import answer_explanations, answer_scores
from foveal.service.settings import Settings
from foveal.service.state import Service, notes_of, service_of

_FETCHES_EACH = 16
"""URLs that may wait for each thread that fetches."""
_WARM_UP_SIDE = 64
_OPENAPI = "/openapi.json"
_CODES = {404: "not_found", 405: "method_not_allowed"}

router = APIRouter()


@router.post("/v1/score", **documented("score"))
async def score(request: Request) -> Response:
    """How good do these images look?"""
    return await answer_scores(request)


@router.post("/v1/explain", **documented("explain"))
async def explain(request: Request) -> Response:
    """Why do they look like that?"""
    return await answer_explanations(request)


@router.get("/v1/models", **documented("models"))
async def models(request: Request) -> Response:
    """Which models are loaded?"""
    found = service_of(request).models
    infos = [model.info(default=model is found.default) for model in found.all()]
    return json_reply(plain(ModelsAnswer(models=infos)))


@router.get("/healthz", **documented("healthz"))
async def healthz() -> Response:
    """Does the process live?"""
    return json_reply({"status": "ok"})


@router.get("/readyz", **documented("readyz"))
async def readyz(request: Request) -> Response:
    """Is new work welcome?"""
    service = service_of(request)
    states = {
        "starting": not service.life.warm,
        "draining": service.life.draining,
        "queue full": service.scoring.is_full,
    }
    reasons = [reason for reason, holds in states.items() if holds]
    answer = {"status": "not ready" if reasons else "ready", "reasons": reasons}
    return json_reply(answer, status=503 if reasons else 200)


@router.get(METRICS, **documented("metrics"))
async def metrics(request: Request) -> Response:
    """Counts and times, for Prometheus."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE)


@router.get("/", **documented("page"))
async def page(request: Request) -> Response:
    """The page for people."""
    made: Page = request.app.state.page
    headers = {"ETag": made.tag, "Cache-Control": "no-cache", "Content-Security-Policy": made.policy}
    if request.headers.get("if-none-match") == made.tag:
        return Response(status_code=304, headers=headers)
    return Response(made.html, headers=headers, media_type="text/html")


for _path, _answer in (("/", page), ("/healthz", healthz), ("/readyz", readyz)):
    router.head(_path, include_in_schema=False)(_answer)


def create_app(
    settings: Settings, load: Callable[[Settings, Metrics], Models], *, fetcher: Fetcher | None = None
) -> FastAPI:
    """Make the application.

    Args:
        settings: how it behaves.
        load: loads the models with the limits that are set, given what counts their batches; called at once.
        fetcher: fetches images by URL; by default one with the limits that are set.

    Raises:
        FovealError: a model cannot be used.
    """
    metrics = Metrics()
    service = _make_service(settings, load(settings, metrics), metrics, fetcher)
    app = FastAPI(
        title="Foveal",
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.service = service
    app.state.page = make_page(settings)
    app.include_router(router)
    description = described(app, settings)

    async def openapi(_: Request) -> Response:
        return json_reply(description)

    app.add_route(_OPENAPI, openapi, include_in_schema=False)
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(Gate, settings=settings)
    routes = {*description["paths"], _OPENAPI}
    app.add_middleware(Observed, metrics=metrics, routes=routes, ending=lambda: service.life.draining)
    return app


def _make_service(settings: Settings, models: Models, metrics: Metrics, fetcher: Fetcher | None) -> Service:
    workers = max(model.judge.workers for model in models.all())
    explains = settings.explain_workers > 0 and any(model.explainer for model in models.all())
    fetching = None
    if settings.allow_fetch:
        capacity = max(settings.max_images, _FETCHES_EACH * settings.fetch_workers)
        fetching = Pool[bytes]("fetching", workers=settings.fetch_workers, capacity=capacity)
    service = Service(
        settings=settings,
        models=models,
        metrics=metrics,
        scoring=Pool("scoring", workers=workers, capacity=settings.queue),
        explaining=Pool("explaining", workers=settings.explain_workers, capacity=settings.explain_queue)
        if explains
        else None,
        fetching=fetching,
        fetcher=fetcher or Fetcher(settings.max_image, settings.fetch_seconds, settings.fetch_ports),
        decoders=Semaphore(max(model.assessor.engine.threads for model in models.all())),
    )
    scoring, budget = service.scoring, service.budget
    metrics.watch("foveal_queue_images", "Images that wait for a worker.", lambda: scoring.waiting)
    metrics.watch("foveal_images_in_flight", "Images that wait or are judged.", lambda: scoring.depth)
    metrics.watch("foveal_held_bytes", "Bytes of the requests at work.", lambda: budget.used)
    return service


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    warming = asyncio.create_task(_warm_up(service))
    yield
    warming.cancel()
    for pool in service.pools:
        # What is in flight has had its time: this only lets idle threads go.
        await asyncio.to_thread(pool.close, 0.1)


async def _warm_up(service: Service) -> None:
    side = min(_WARM_UP_SIDE, math.isqrt(service.settings.max_pixels))
    try:
        for model in service.models.all():
            await asyncio.to_thread(model.warm_up, side)
    except Exception as error:  # it stays unready, and its log says why
        log("warm_up_failed", level=logging.ERROR, error=error)
        return
    service.life.warm = True
    log("ready")


async def _service_error(request: Request, error: Exception) -> Response:
    known = error if isinstance(error, ServiceError) else ServiceError("internal", "")
    bare(error)  # what its frames hold is not to wait for a client that takes its time
    notes = notes_of(request)
    notes.code = known.code
    return error_reply(known, notes.request_id)


async def _http_error(request: Request, error: Exception) -> Response:
    """What the framework refuses: paths and methods that there are not."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    allowed = {} if not isinstance(error, HTTPException) else dict(error.headers or {})
    code = _CODES.get(status, "internal" if status >= 500 else "invalid_request")
    messages = {"not_found": "there is no such path", "method_not_allowed": "this path has other methods"}
    known = ServiceError(code, messages.get(code, "the request cannot be answered"), headers=allowed)
    return await _service_error(request, known)
