"""What a request may send: every limit is checked, also when the client lies about it or says nothing."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from service_helpers import MakePhoto, Start, encoded, error_of, parts, service_in
from starlette.requests import Request

from foveal.errors import TooManyPixelsError
from foveal.imaging.views import SIDE, enlarge_to, enlarged_size
from foveal.service.errors import ServiceError
from foveal.service.json_body import read_json
from foveal.service.limits import Budget, chunks
from foveal.service.settings import MIB, Settings

FORM = {"Content-Type": "multipart/form-data; boundary=b"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def small(start: Start) -> Iterator[TestClient]:
    """A service with narrow limits."""
    limits = {
        "max_body": 200_000,
        "max_image": 60_000,
        "max_pixels": 10_000,
        "max_images": 3,
        "max_prompt": 50,
        "max_name": 20,
        "max_json_depth": 4,
        "max_held": 400_000,
    }
    with start(**limits) as client:
        yield client


@pytest.fixture(scope="module")
def little(make_photo: MakePhoto) -> bytes:
    """An image that every limit lets pass."""
    return encoded(make_photo(60, 80), "JPEG")


def part(content: bytes, disposition: bytes = b'form-data; name="image"; filename="a"') -> bytes:
    return b"--b\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + content + b"\r\n"


def drip(*pieces: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter(pieces)


class TestBodies:
    def test_what_fits_is_judged(self, small: TestClient, little: bytes) -> None:
        assert small.post("/v1/score", files=parts(*[("a", little)] * 3)).status_code == 200

    def test_a_body_that_is_announced_too_large(self, small: TestClient) -> None:
        answer = small.post("/v1/score", content=bytes(200_001), headers=FORM)
        assert error_of(answer) == (413, "body_too_large")

    def test_a_body_without_a_length(self, small: TestClient) -> None:
        pieces = drip(*[bytes(50_000)] * 5)()
        answer = small.post("/v1/score", content=pieces, headers=JSON)
        assert "Content-Length" not in answer.request.headers
        assert error_of(answer) == (413, "body_too_large")

    def test_too_many_images(self, small: TestClient, little: bytes) -> None:
        assert error_of(small.post("/v1/score", files=parts(*[("a", little)] * 4))) == (
            413,
            "too_many_images",
        )
        entries = [{"data": "AAAA"}] * 4
        assert error_of(small.post("/v1/score", json={"images": entries})) == (413, "too_many_images")

    def test_an_image_that_is_too_large_spoils_no_other(self, small: TestClient, little: bytes) -> None:
        large = little + bytes(60_000)
        answer = small.post("/v1/score", files=parts(("large", large), ("little", little)))
        assert [row.get("error", {}).get("code") for row in answer.json()["results"]] == [
            "image_too_large",
            None,
        ]
        data = base64.b64encode(large).decode()
        assert error_of(small.post("/v1/score", json={"images": [{"data": data}]})) == (
            413,
            "image_too_large",
        )

    def test_a_bomb_is_refused_by_its_header(self, small: TestClient, make_photo: MakePhoto) -> None:
        answer = small.post("/v1/score", files=parts(("bomb", encoded(make_photo(101, 100)))))
        assert error_of(answer) == (413, "too_many_pixels")
        assert "Limits(" not in answer.text, "advice for callers from Python"

    def test_memory_of_all_requests_is_bounded(self, start: Start, little: bytes) -> None:
        with start(max_body=100_000, max_held=200_000) as client:
            budget = service_in(client).budget
            budget.take(200_000)
            answer = client.post("/v1/score", files=parts(("a", little)))
            assert error_of(answer) == (429, "too_busy")
            assert int(answer.headers["Retry-After"]) >= 1
            budget.used = 0
            assert client.post("/v1/score", files=parts(("a", little))).status_code == 200
            assert budget.used == 0, "what a request held is free again"

    def test_a_length_that_is_a_lie(self) -> None:
        """The server would see to it; here nothing stands between."""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": bytes(1000), "more_body": True}

        headers = [(b"content-length", b"10")]
        request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
        budget = Budget(10**9, lambda: 1.0)

        async def read() -> int:
            with budget.hold() as held:
                return sum([len(piece) async for piece in chunks(request, held, most=5_000, seconds=60)])

        with pytest.raises(ServiceError) as caught:
            asyncio.run(read())
        assert caught.value.code == "body_too_large"
        assert budget.used == 0

    def test_a_body_that_never_ends_in_time(self) -> None:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0.02)
            return {"type": "http.request", "body": b"x", "more_body": True}

        request = Request({"type": "http", "method": "POST", "headers": []}, receive)

        async def read() -> None:
            with Budget(10**9, lambda: 1.0).hold() as held:
                async for _ in chunks(request, held, most=10**9, seconds=0.1):
                    pass

        with pytest.raises(ServiceError) as caught:
            asyncio.run(read())
        assert caught.value.code == "body_timeout"


class TestForms:
    @pytest.mark.parametrize(
        ("headers", "body", "code"),
        [
            ({"Content-Type": "text/plain"}, b"hello", (415, "unsupported_media_type")),
            ({"Content-Type": ""}, b"", (415, "unsupported_media_type")),
            ({"Content-Type": "image/png"}, b"", (415, "unsupported_media_type")),
            ({"Content-Type": "multipart/form-data"}, b"", (400, "invalid_multipart")),
            ({"Content-Type": "multipart/form-data; boundary=" + 300 * "x"}, b"", (400, "invalid_multipart")),
            (FORM, b"", (400, "invalid_multipart")),
            (FORM, b"hello", (400, "invalid_multipart")),
            (FORM, part(b"x"), (400, "invalid_multipart")),
            (FORM, part(b"x") + b"--b", (400, "invalid_multipart")),
            (FORM, b"--b\r\nX: y\r\n\r\nz\r\n--b--\r\n", (400, "invalid_multipart")),
            (FORM, part(b"x", b"form-data") + b"--b--\r\n", (400, "invalid_multipart")),
            (FORM, part(b"x", b'attachment; name="image"') + b"--b--\r\n", (400, "invalid_multipart")),
            (FORM, b"--b\r\n" + 9000 * b"X" + b": y\r\n\r\nz\r\n--b--\r\n", (400, "invalid_multipart")),
            (FORM, b"--b--\r\n", (422, "no_images")),
            (FORM, part(b"x", b'form-data; name="model"') + b"--b--\r\n", (422, "no_images")),
            (FORM, part(b"x", b'form-data; name="file"') + b"--b--\r\n", (422, "invalid_request")),
            (
                FORM,
                part(b"x") + part(b"y", b'form-data; name="map"') + b"--b--\r\n",
                (422, "invalid_request"),
            ),
            (
                FORM,
                part(b"x") + 2 * part(b"y", b'form-data; name="model"') + b"--b--\r\n",
                (422, "invalid_request"),
            ),
            (
                FORM,
                part(b"x") + part(b"\xff\xfe", b'form-data; name="prompt"') + b"--b--\r\n",
                (422, "invalid_request"),
            ),
            (
                FORM,
                part(b"x", b'form-data; name="image"; filename="\xff"') + b"--b--\r\n",
                (422, "invalid_request"),
            ),
            (
                FORM,
                part(b"x", b'form-data; name="image"; filename="' + 21 * b"n" + b'"') + b"--b--\r\n",
                (422, "invalid_request"),
            ),
            (
                FORM,
                part(b"x") + 9 * part(b"", b'form-data; name="prompt"') + b"--b--\r\n",
                (422, "invalid_request"),
            ),
            (
                FORM,
                part(b"x") + part(51 * b"p", b'form-data; name="prompt"') + b"--b--\r\n",
                (422, "invalid_request"),
            ),
            (
                FORM,
                part(b"x") + part(5_000 * b"p", b'form-data; name="prompt"') + b"--b--\r\n",
                (422, "invalid_request"),
            ),
        ],
    )
    def test_forms_that_are_wrong(
        self, small: TestClient, headers: dict[str, str], body: bytes, code: tuple[int, str]
    ) -> None:
        assert error_of(small.post("/v1/score", content=body, headers=headers)) == code

    def test_a_form_in_the_smallest_pieces(self, small: TestClient, little: bytes) -> None:
        body = part(little, b'form-data; name="image"; filename="a"') + b"--b--\r\n"
        pieces = (body[place : place + 7] for place in range(0, len(body), 7))
        answer = small.post("/v1/score", content=pieces, headers=FORM)
        whole = small.post("/v1/score", files=parts(("a", little)))
        assert answer.json()["results"] == whole.json()["results"]


class TestJson:
    @pytest.mark.parametrize(
        ("body", "code", "field"),
        [
            (b"", (400, "invalid_json"), None),
            (b"{", (400, "invalid_json"), None),
            (b'{"images": [{"data": "AA\xff"}]}', (400, "invalid_json"), None),
            ('{"images": []}'.encode("utf-16"), (400, "invalid_json"), None),
            (b'{"images": NaN}', (400, "invalid_json"), None),
            (b'{"images": 1' + 5_000 * b"0" + b"}", (400, "invalid_json"), None),
            (b"[]", (422, "invalid_request"), None),
            (b"7", (422, "invalid_request"), None),
            (b"{}", (422, "invalid_request"), "images"),
            (b'{"images": []}', (422, "no_images"), "images"),
            (b'{"images": {}}', (422, "invalid_request"), "images"),
            (b'{"images": [7]}', (422, "invalid_request"), "images[0]"),
            (b'{"images": [{}]}', (422, "invalid_request"), "images[0]"),
            (b'{"images": [{"data": "", "url": ""}]}', (422, "invalid_request"), "images[0]"),
            (b'{"images": [{"data": 7}]}', (422, "invalid_request"), "images[0].data"),
            (b'{"images": [{"data": "", "name": 7}]}', (422, "invalid_request"), "images[0].name"),
            (b'{"images": [{"data": "", "size": 7}]}', (422, "invalid_request"), "images[0].size"),
            (b'{"images": [{"data": ""}], "map": "true"}', (422, "invalid_request"), "map"),
            (b'{"images": [{"data": ""}], "model": 7}', (422, "invalid_request"), "model"),
            (b'{"images": [{"data": ""}], "\\ud800": 7}', (422, "invalid_request"), None),
            (b'{"images": [{"data": "", "name": "\\ud800"}]}', (422, "invalid_request"), None),
            (b'{"images": [{"data": "\\ud800"}]}', (422, "invalid_base64"), None),
            (
                b'{"images": [{"data": "", "name": "' + 21 * b"n" + b'"}]}',
                (422, "invalid_request"),
                "images[0].name",
            ),
            (
                b'{"images": [{"data": "", "prompt": "' + 51 * b"n" + b'"}]}',
                (422, "invalid_request"),
                "images[0].prompt",
            ),
            (
                b'{"images": [{"data": ""}], "prompt": "' + 51 * b"n" + b'"}',
                (422, "invalid_request"),
                "prompt",
            ),
            (b'{"images": [[[[7]]]]}', (422, "json_too_deep"), None),
            (b"[" * 100_000, (422, "json_too_deep"), None),
            (b"[" + b"[]," * 60_000 + b"[]]", (422, "json_too_deep"), None),
            (b'"' * 150_000, (422, "json_too_deep"), None),
        ],
        ids=lambda value: repr(value)[:40],
    )
    def test_bodies_that_are_wrong(
        self, small: TestClient, body: bytes, code: tuple[int, str], field: str | None
    ) -> None:
        answer = small.post("/v1/score", content=body, headers=JSON)
        assert error_of(answer) == code
        if field is not None:
            assert answer.json()["error"]["field"] == field

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
            max_leaves=25,
        )
    )
    def test_depth_is_that_of_the_values(self, values: Any) -> None:
        def depth(value: Any) -> int:
            if isinstance(value, dict):
                return 1 + max(map(depth, value.values()), default=0)
            return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

        body = json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")
        limits = {"images": 10**6, "text": 10**6}
        read = body.decode("utf-8", "replace").encode()
        assert read_json(read, depth=depth(values), **limits) is not ...
        if depth(values):
            with pytest.raises(ServiceError, match="deep"):
                read_json(read, depth=depth(values) - 1, **limits)

    @pytest.mark.parametrize(
        "body",
        [b'"' + b"\\" * 4_000_001, b'["' + b'\\"' * 2_000_000, b'"' + b"x" * 8_000_000, b'\\"' * 2_000_000],
        ids=["backslashes", "escaped quotes", "no end", "odd"],
    )
    def test_no_text_takes_long_to_look_through(self, body: bytes) -> None:
        begun = time.process_time()
        with pytest.raises(ServiceError):
            read_json(body, depth=4, images=10**6, text=10**6)
        # Quadratic, these would take hours.
        assert time.process_time() - begun < 30


@given(st.integers(1, 40_000), st.integers(1, 40_000), st.integers(1, 10**8))
def test_narrow_images_count_as_they_are_judged(height: int, width: int, most: int) -> None:
    limits = Settings(max_pixels=most).limits
    own, enlarged = height * width, math.prod(enlarged_size(height, width, SIDE))
    try:
        limits.check_pixels("x", width, height)
    except TooManyPixelsError:
        assert own > most or enlarged > most
    else:
        assert own <= most
        assert enlarged <= max(most, 2**22)


@pytest.mark.parametrize("shape", [(1, 30), (3, 400), (150, 100), (224, 224), (500, 20), (300, 300)])
def test_the_size_of_an_enlarged_image_is_foretold(shape: tuple[int, int]) -> None:
    assert enlarge_to(np.zeros((*shape, 3), np.uint8), SIDE).shape[:2] == enlarged_size(*shape, SIDE)


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="never fits"):
        Settings(max_images=200, queue=100)
    with pytest.raises(ValueError, match="never fits"):
        Settings(max_body=2 * MIB, max_held=MIB)
    with pytest.raises(ValueError, match="as JSON"):
        Settings(max_body=2 * MIB, max_held=3 * MIB)


@pytest.mark.parametrize(
    "setting",
    [
        {"queue": 0},
        {"max_pixels": -1},
        {"request_seconds": 0.0},
        {"request_seconds": float("nan")},
        {"grace": -1.0},
        {"token": "short"},
        {"token": "with a space"},
        {"token": "umläute-sind-nicht-gut"},
    ],
    ids=repr,
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        Settings(**setting)
