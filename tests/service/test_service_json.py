"""Bodies of JSON: long texts are never read as text, and all that is read costs no more than is counted."""

from __future__ import annotations

import asyncio
import base64
import json
import tracemalloc
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from service_helpers import error_of, parts, service_in
from starlette.requests import Request

from foveal.service.errors import ServiceError
from foveal.service.intake import Order, read_order
from foveal.service.json_body import LongText, read_json
from foveal.service.limits import Budget
from foveal.service.settings import Settings

JSON = {"Content-Type": "application/json"}
LONG = 200_000
"""Characters that no text but an image's may have, however they are written."""


def post(client: TestClient, body: str) -> Any:
    return client.post("/v1/score", content=body.encode(), headers=JSON)


def entry(**values: str) -> str:
    return json.dumps({"images": [values]})


@pytest.mark.parametrize("slash", ["/", "\\/"], ids=["plain", "escaped"])
def test_long_images_are_those_that_were_sent(client: TestClient, png: bytes, slash: str) -> None:
    images = [png + bytes(size) for size in (0, LONG, 2 * LONG)]
    entries = [{"data": base64.b64encode(image).decode(), "name": f"{n}"} for n, image in enumerate(images)]
    body = json.dumps({"images": entries, "prompt": None}).replace("/", slash)
    sent = client.post("/v1/score", files=parts(*[(f"{n}", image) for n, image in enumerate(images)]))
    assert sent.status_code == 200
    assert post(client, body).json()["results"] == sent.json()["results"]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (entry(data="!" * LONG), (422, "invalid_base64"), None),
        (entry(data="ü" * LONG), (422, "invalid_base64"), None),
        (entry(data="A" * LONG + "A"), (422, "invalid_base64"), None),
        (entry(data="\\" * LONG), (422, "invalid_base64"), None),
        (entry(data="", prompt="p" * LONG), (422, "invalid_request"), "images[0].prompt"),
        (entry(data="", prompt="\U0001f98a" * LONG), (422, "invalid_request"), "images[0].prompt"),
        (entry(data="", name='"' * LONG), (422, "invalid_request"), "images[0].name"),
        (entry(data="", url="http://a.example/" + "u" * LONG), (422, "invalid_request"), "images[0]"),
        (entry(data="A" * LONG, url="http://a.example/"), (422, "invalid_request"), "images[0]"),
        ('{"images": [{"data": ""}], "model": "' + "m" * LONG + '"}', (422, "unknown_model"), "model"),
        ('{"images": [{"data": ""}], "data": "' + "m" * LONG + '"}', (422, "invalid_request"), "data"),
        ('{"images": ["' + "A" * LONG + '"]}', (422, "invalid_request"), "images[0]"),
        ('{"images": "' + "A" * LONG + '"}', (422, "invalid_request"), "images"),
        ('"' + "A" * LONG + '"', (422, "invalid_request"), None),
        ('{"' + "A" * LONG + '" : 1}', (422, "invalid_request"), None),
        ('"' + "A" * LONG, (400, "invalid_json"), None),
        ('{"images": [{"data": "' + "A" * LONG, (400, "invalid_json"), None),
        ('{"images": [{"data": "' + "A" * LONG + '"}, {"data": NaN}]}', (400, "invalid_json"), None),
        ('{"images": [{"data": NaN}, {"data": "' + "A" * LONG + '"}]}', (400, "invalid_json"), None),
        ('{"images": [{"data": -Infinity}]}', (400, "invalid_json"), None),
        ('{"images": []}' + " " * 10_000_000, (422, "json_too_deep"), None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_long_texts_in_every_place(
    client: TestClient, body: str, code: tuple[int, str], field: str | None
) -> None:
    answer = post(client, body)
    assert error_of(answer) == code
    assert answer.json()["error"].get("field") == field
    assert len(answer.content) < 1000
    assert service_in(client).budget.used == 0


@given(st.lists(st.text(max_size=30), max_size=8), st.booleans())
def test_long_texts_are_found_where_they_are(texts: list[str], ascii_only: bool) -> None:
    body = json.dumps({"images": [{"data": text, "name": text} for text in texts]}, ensure_ascii=ascii_only)
    values = read_json(body.encode("utf-8", "surrogatepass"), depth=9, images=99, text=1)
    for text, found in zip(texts, values["images"], strict=True):
        written = json.dumps(text, ensure_ascii=ascii_only)
        if len(written.encode("utf-8", "surrogatepass")) > 12:
            assert isinstance(found["data"], LongText)
            assert found["data"].beginning(10**6) == written[1:-1].encode().decode("utf-8", "replace")
            assert len(found["name"]) > 1
        else:
            assert found == {"data": text, "name": text}


@given(st.binary(max_size=200))
def test_base64_is_read_from_bytes(data: bytes) -> None:
    written = base64.b64encode(data).replace(b"/", b"\\/")
    text = LongText(b'x"' + written + b'"x', 2, 2 + len(written))
    assert len(text) == len(base64.b64encode(data))
    assert text.from_base64() == data


class Watched(Budget):
    """Knows how many bytes it has counted at most."""

    most = 0

    def take(self, count: int) -> None:
        super().take(count)
        self.most = max(self.most, self.used)


def read(body: bytes, budget: Budget) -> Order:
    pieces = [body[start : start + 65_536] for start in range(0, len(body), 65_536)]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages[-1]["more_body"] = False

    async def receive() -> Any:
        return messages.pop(0)

    async def ask() -> Order:
        request = Request({"type": "http", "headers": [(b"content-type", b"application/json")]}, receive)
        with budget.hold() as held:
            order = await read_order(request, Settings(), held, asyncio.Semaphore(1))
            assert held.received == len(body)
            assert budget.used == held.count == sum(len(item.data or b"") for item in order.items)
            return order

    return asyncio.run(ask())


def test_no_more_is_used_than_is_counted() -> None:
    """One character that takes four bytes once made a body five times as large."""
    images = [bytes(3_000_000), bytes(3_000_001)]
    entries = [{"data": base64.b64encode(image).decode()} for image in images]
    body = json.dumps({"images": entries, "prompt": "\U0001f98a"}, ensure_ascii=False).encode()
    budget = Watched(10**9, lambda: 1.0)
    read(b'{"images": [{"data": ""}]}', budget)
    tracemalloc.start()
    try:
        order = read(body, budget)
        peak = tracemalloc.get_traced_memory()[1] - len(body)  # the pieces are the test's own
    finally:
        tracemalloc.stop()
    assert [item.data for item in order.items] == images
    assert budget.most == pytest.approx(1.75 * len(body), rel=0.001)
    # What grows has a reserve of an eighth.
    assert peak < 1.15 * budget.most


def test_one_that_is_refused_makes_room_for_the_next() -> None:
    budget = Budget(10, lambda: 1.0)
    with budget.hold() as first, budget.hold() as second:
        first.add(5)
        second.add(5)
        with pytest.raises(ServiceError):
            first.add(1)
        second.add(5)
        assert (first.count, second.count) == (0, 10)
    assert budget.used == 0


def test_what_cannot_be_kept_is_refused_before_it_is_read() -> None:
    body = json.dumps({"images": [{"data": "A" * 1_000_000}]}).encode()
    budget = Budget(1_700_000, lambda: 1.0)
    with pytest.raises(ServiceError) as caught:
        read(body, budget)
    assert caught.value.code == "too_busy"
    assert budget.used == 0
