"""Requests under load: batches across them, a full queue, time that runs out, clients that leave."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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

from foveal.artifact.file import Artifact
from foveal.assessor import Assessor
from foveal.service.drain import Life
from foveal.service.errors import ServiceError
from foveal.service.metrics import Metrics
from foveal.service.observe import Observed


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_images_of_several_requests_share_batches(
    start: Start,
    tiny_artifact: Artifact,
    assessor: Assessor,
    make_photo: MakePhoto,
    callers: ThreadPoolExecutor,
) -> None:
    engine = GatedEngine(assessor.engine, best_batch=4)
    photos = [encoded(make_photo(80, 90 + seed, seed)) for seed in range(8)]
    with start(gated_models(tiny_artifact, engine)) as client:
        engine.batches.clear()
        engine.gate.clear()
        answers = [callers.submit(client.post, "/v1/score", files=parts(("x", photo))) for photo in photos]
        scoring = service_in(client).scoring
        wait_until(lambda: scoring.depth == 8)
        engine.gate.set()
        scores = [answer.result(60).json()["results"][0]["quality"] for answer in answers]
    assert scores == [assessor(photo).quality for photo in photos]
    assert sum(engine.batches) == 8
    assert max(engine.batches) > 1


def test_a_full_queue_says_when_to_come_again(
    start: Start, tiny_artifact: Artifact, gated: GatedEngine, png: bytes, callers: ThreadPoolExecutor
) -> None:
    with start(gated_models(tiny_artifact, gated), queue=3, max_images=3) as client:
        scoring = service_in(client).scoring
        gated.gate.clear()
        taken = [callers.submit(client.post, "/v1/score", files=parts(("x", png))) for _ in range(2)]
        wait_until(lambda: scoring.depth == 2)
        assert client.get("/readyz").json() == {"status": "ready", "reasons": []}
        two = client.post("/v1/score", files=parts(("a", png), ("b", png)))
        assert error_of(two) == (429, "too_busy")
        assert int(two.headers["Retry-After"]) >= 1
        taken.append(callers.submit(client.post, "/v1/score", files=parts(("x", png))))
        wait_until(lambda: scoring.is_full)
        # Refused before its body is looked at.
        assert error_of(client.post("/v1/score", content=b"nonsense")) == (429, "too_busy")
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["reasons"]) == (503, ["queue full"])
        assert client.get("/healthz").status_code == 200
        gated.gate.set()
        assert [one.result(60).status_code for one in taken] == [200] * 3
        wait_until(lambda: scoring.depth == 0)
        assert client.post("/v1/score", files=parts(("x", png))).status_code == 200


def test_time_runs_out_with_an_answer(
    start: Start, tiny_artifact: Artifact, gated: GatedEngine, png: bytes
) -> None:
    with start(gated_models(tiny_artifact, gated), request_seconds=0.3) as client:
        scoring = service_in(client).scoring
        gated.gate.clear()
        answer = client.post("/v1/score", files=parts(*[("x", png)] * 3))
        assert error_of(answer) == (504, "timed_out")
        assert scoring.depth <= 1, "images that no worker had begun are dropped"
        gated.gate.set()
        wait_until(lambda: scoring.depth == 0)
        assert client.post("/v1/score", files=parts(("x", png))).status_code == 200


def test_a_client_that_leaves_frees_its_place(
    start: Start, tiny_artifact: Artifact, gated: GatedEngine, png: bytes
) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + png + b"\r\n--b--\r\n"
    sent: list[Any] = []
    with start(gated_models(tiny_artifact, gated)) as client:
        service = service_in(client)
        gated.gate.clear()
        messages = [
            {"type": "http.request", "body": body, "more_body": False},
            {"type": "http.disconnect"},
        ]

        async def receive() -> Any:
            if len(messages) == 1:
                while not service.scoring.depth:
                    await asyncio.sleep(0.002)
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"multipart/form-data; boundary=b")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/score",
            "raw_path": b"/v1/score",
            "query_string": b"",
            "headers": headers,
            "http_version": "1.1",
            "scheme": "http",
            "server": None,
            "client": None,
            "root_path": "",
        }
        portal = client.portal
        assert portal is not None
        portal.call(client.app, scope, receive, send)
        assert sent == []
        assert service.life.at_work == 0
        assert service.budget.used == 0
        gated.gate.set()
        wait_until(lambda: service.scoring.depth == 0)
        metrics = client.get("/metrics").text
        assert 'foveal_requests_total{route="/v1/score",status="499"} 1.0' in metrics


def test_draining_refuses_new_work_and_finishes_the_old(
    start: Start, tiny_artifact: Artifact, gated: GatedEngine, png: bytes, callers: ThreadPoolExecutor
) -> None:
    with start(gated_models(tiny_artifact, gated)) as client:
        life, portal = service_in(client).life, client.portal
        assert portal is not None
        gated.gate.clear()
        taken = callers.submit(client.post, "/v1/score", files=parts(("x", png)))
        wait_until(lambda: service_in(client).scoring.depth == 1)
        drained = portal.start_task_soon(life.drain, 60.0, 0.0)
        wait_until(lambda: life.draining)
        answer = client.post("/v1/score", files=parts(("x", png)))
        assert error_of(answer) == (503, "draining")
        assert answer.headers["Retry-After"]
        assert answer.headers["Connection"] == "close"
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["reasons"]) == (503, ["draining"])
        assert client.get("/healthz").json() == {"status": "ok"}
        assert not drained.done()
        gated.gate.set()
        assert taken.result(60).status_code == 200
        assert drained.result(60) is True


def test_grace_has_an_end(
    start: Start, tiny_artifact: Artifact, gated: GatedEngine, png: bytes, callers: ThreadPoolExecutor
) -> None:
    with start(gated_models(tiny_artifact, gated)) as client:
        life, portal = service_in(client).life, client.portal
        assert portal is not None
        gated.gate.clear()
        taken = callers.submit(client.post, "/v1/score", files=parts(("x", png)))
        wait_until(lambda: life.at_work == 1)
        assert portal.call(life.drain, 0.05, 0.0) is False
        answer = taken.result(60)  # though its image is still being judged
        assert error_of(answer) == (503, "draining")
        assert answer.headers["Retry-After"]
        assert answer.headers["Connection"] == "close"
        assert service_in(client).budget.used == 0
        gated.gate.set()


def test_bodies_that_still_come_are_not_waited_for() -> None:
    async def never() -> None:
        await asyncio.sleep(3600)

    async def at_once() -> str:
        return "all of it"

    async def ask() -> None:
        life = Life()
        assert await life.coming(at_once()) == "all of it"
        coming = asyncio.ensure_future(life.coming(never()))
        await asyncio.sleep(0.01)
        assert await life.drain(3600, 0)
        with pytest.raises(ServiceError) as caught:
            await coming
        assert caught.value.code == "draining"
        assert life.refused == 1

    asyncio.run(ask())


def test_bodies_that_come_just_in_time_are_work() -> None:
    async def ask() -> None:
        life, came, done = Life(), asyncio.Event(), asyncio.Event()

        async def answered() -> str:
            await life.coming(came.wait())
            await life.done(done.wait())
            return "done"

        answer = asyncio.ensure_future(answered())
        await asyncio.sleep(0.01)
        came.set()
        await asyncio.sleep(0)  # the body is there; who waits for it has not seen that yet
        ending = asyncio.ensure_future(life.drain(3600, 0))
        await asyncio.sleep(0.01)
        assert (life.at_work, life.refused) == (1, 0)
        assert not ending.done()
        done.set()
        assert await answer == "done"
        assert await ending

    asyncio.run(ask())


@pytest.mark.parametrize("ending", [False, True])
def test_requests_that_are_cancelled_are_answered_if_the_service_ends(ending: bool) -> None:
    """As its server does it with those that keep it too long."""
    sent: list[Any] = []

    async def app(*_: Any) -> None:
        await asyncio.sleep(3600)

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        observed: Any = Observed(app, Metrics(), (), lambda: ending)
        task = asyncio.ensure_future(observed(scope, None, send))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    if ending:
        asyncio.run(ask())
        assert sent[0]["status"] == 503
        assert b'"draining"' in sent[1]["body"]
    else:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(ask())
        assert sent == []


def test_nothing_is_judged_before_the_models_are_warm(
    start: Start, tiny_artifact: Artifact, gated: GatedEngine, png: bytes
) -> None:
    with start(gated_models(tiny_artifact, gated)) as client:
        life = service_in(client).life
        life.warm = False
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["reasons"]) == (503, ["starting"])
        answer = client.post("/v1/score", files=parts(("x", png)))
        assert error_of(answer) == (503, "starting")
        assert answer.headers["Retry-After"]
        assert client.get("/v1/models").status_code == 200


def test_sixteen_at_once_get_their_own_scores(
    client: TestClient, assessor: Assessor, make_photo: MakePhoto, callers: ThreadPoolExecutor
) -> None:
    photos = [encoded(make_photo(100 + seed, 140, seed), "JPEG") for seed in range(16)]
    own = [assessor(photo).quality for photo in photos]
    assert len(set(own)) == 16
    answers = [
        callers.submit(client.post, "/v1/score", files=parts(("x", photo))) for photo in [*photos, *photos]
    ]
    assert [answer.result(60).json()["results"][0]["quality"] for answer in answers] == own + own
