"""Answer a request for scores or explanations: read it, fetch, queue, wait, put the results in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from foveal.errors import bare
from foveal.service.batcher import Pool, QueueFullError
from foveal.service.errors import ServiceError, body_of, of_image
from foveal.service.explain import explained
from foveal.service.fetched import fetched
from foveal.service.intake import Item, Order, read_order
from foveal.service.limits import Held
from foveal.service.logs import log
from foveal.service.metrics import SCORED
from foveal.service.models import LoadedModel
from foveal.service.replies import json_reply, retry_after
from foveal.service.settings import Settings
from foveal.service.state import Notes, Service, notes_of, service_of

_T = TypeVar("_T")
_Outcome = dict[str, Any] | Exception
_Call = Callable[[], dict[str, Any]]


async def answer_scores(request: Request) -> Response:
    """Judge the images of a request."""
    service = service_of(request)
    return await _answer(request, service, service.settings, service.scoring, _score_call)


async def answer_explanations(request: Request) -> Response:
    """Explain the images of a request."""
    service = service_of(request)
    if service.explaining is None:
        raise ServiceError("not_explained", "this service explains nothing; see `foveal serve --help`")
    # More than the queue ever has room for would be told to come again for ever.
    most = min(service.settings.max_images, service.explaining.capacity)
    settings = replace(service.settings, max_images=most)
    return await _answer(request, service, settings, service.explaining, _explain_call)


async def _answer(
    request: Request,
    service: Service,
    settings: Settings,
    pool: Pool[dict[str, Any]],
    make_call: Callable[[LoadedModel, Item, Order, Service], _Call],
) -> Response:
    notes, life = notes_of(request), service.life
    life.check()
    with service.budget.hold() as held, _as_busy():
        if pool.is_full:  # before the body is read, which may be long
            raise pool.full()
        try:
            order = await life.coming(read_order(request, settings, held, service.json_turn))
        finally:
            notes.received = held.received
        notes.images = len(order.items)
        model = service.models.pick(order.model)
        work = _results(service, pool, order, held, partial(make_call, model))
        results, notes.waited = await life.done(_in_time(request, work, settings.request_seconds))
    _count(service, request.url.path, results, notes)
    return _reply(model, order, results, notes)


def _score_call(model: LoadedModel, item: Item, order: Order, service: Service) -> _Call:
    def call() -> dict[str, Any]:
        with service.decoders:
            prepared = model.assessor.prepare(item.data, name=item.source, prompt=item.prompt)
        values = model.judge(prepared).to_dict()
        return values if order.map else values | {"quality_map": None}

    return call


def _explain_call(model: LoadedModel, item: Item, order: Order, service: Service) -> _Call:
    if model.explainer is None:
        raise ServiceError(
            "not_explained", f"{model.assessor.card.model} reads prompts: its scores are not explained"
        )
    if item.prompt:
        raise ServiceError("prompt_not_read", "explanations read no prompts; leave `prompt` out")
    return partial(
        explained,
        model.explainer,
        item.data or b"",
        source=item.source,
        limits=service.settings.limits,
        with_picture=order.map is not False,
    )


async def _results(
    service: Service,
    pool: Pool[dict[str, Any]],
    order: Order,
    held: Held,
    make_call: Callable[[Item, Order, Service], _Call],
) -> tuple[list[_Outcome], float]:
    """One outcome an image, in their order, and the seconds that they waited for workers."""
    items = list(order.items)
    if service.fetching is not None:
        most = service.settings.max_body
        items = await fetched(items, service.fetcher, service.fetching, held, most=most)
    ready = [number for number, item in enumerate(items) if item.error is None]
    outcomes: list[_Outcome] = [item.error or ServiceError("internal", "") for item in items]
    ticket = pool.submit([make_call(items[number], order, service) for number in ready])
    judged = await asyncio.wrap_future(ticket.future)
    for number, outcome in zip(ready, judged, strict=True):
        outcomes[number] = outcome
    return outcomes, ticket.waited


async def _in_time(request: Request, work: Awaitable[_T], seconds: float) -> _T:
    """Wait for work until it takes too long or nobody waits for it; then it is cancelled.

    Raises:
        ServiceError: ``timed_out``.
        ClientDisconnect: the client has gone.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientDisconnect
        raise ServiceError("timed_out", f"the images were not judged within {seconds:g} s")
    finally:
        task.cancel()
        gone.cancel()
        del task  # holds what it raised, whose traceback holds this frame


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@contextmanager
def _as_busy() -> Iterator[None]:
    try:
        yield
    except QueueFullError as error:
        raise ServiceError("too_busy", "the queue is full", retry_after=error.retry_after) from None


def _count(service: Service, route: str, results: Sequence[_Outcome], notes: Notes) -> None:
    for outcome in results:
        if isinstance(outcome, Exception):
            error = of_image(outcome)
            notes.failed += 1
            service.metrics.image(route, error.code)
            if error.code == "internal":
                log("image_failed", level=40, error=outcome, id=notes.request_id)
                bare(outcome)
        else:
            service.metrics.image(route, SCORED)
    if notes.waited is not None:
        service.metrics.waited(route, notes.waited)


def _reply(model: LoadedModel, order: Order, results: Sequence[_Outcome], notes: Notes) -> Response:
    entries = [_entry(item, outcome) for item, outcome in zip(order.items, results, strict=True)]
    if notes.failed < len(results):
        answer = {
            "model": model.assessor.card.model,
            "request_id": notes.request_id,
            "failed": notes.failed,
            "results": entries,
        }
        return json_reply(answer)
    errors = [of_image(outcome) for outcome in results if isinstance(outcome, Exception)]
    whole = errors[0]
    if len(errors) > 1:
        whole = ServiceError("no_image_judged", "none of the images could be judged; see `results`")
    notes.code = whole.code
    body = body_of(whole, notes.request_id) | {"results": entries}
    return json_reply(body, status=whole.status, headers=retry_after(whole))


def _entry(item: Item, outcome: _Outcome) -> dict[str, Any]:
    if isinstance(outcome, Exception):
        return {"source": item.source, "error": of_image(outcome).to_dict()}
    return outcome
