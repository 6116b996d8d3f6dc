"""The service as a process: signals, slow clients, too many of them, and bytes that are no requests."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_helpers import MakePhoto, encoded

from foveal.assessor import Assessor
from served import Served, answer, form, served

QUICK = ("--explain-workers", "0", "--threads", "1")
IMAGES = 32


@pytest.fixture(scope="module")
def strict(tiny_model_path: Path) -> Iterator[Served]:
    """A service with short deadlines."""
    limits = {"header": 1, "body": 0.6, "write": 0.6, "idle": 30}
    seconds = [part for name, value in limits.items() for part in (f"--{name}-seconds", str(value))]
    with served("--model", str(tiny_model_path), *QUICK, *seconds, "--max-connections", "4") as running:
        yield running


@pytest.fixture
def running(tiny_model_path: Path) -> Iterator[Served]:
    with served("--model", str(tiny_model_path), *QUICK) as running:
        yield running


def code_of(body: bytes) -> str:
    code: str = json.loads(body)["error"]["code"]
    return code


def upload(running: Served, image: bytes) -> tuple[socket.socket, bytes]:
    """A request for a score of which only the first half of the body is sent; the rest of it."""
    head, body = form(image)
    connection = running.connect()
    connection.sendall(head + body[: len(body) // 2])
    while b"foveal_requests_in_flight 2.0" not in running.request("GET", "/metrics")[2]:
        time.sleep(0.01)
    return connection, body[len(body) // 2 :]


def test_scores_are_those_of_python(strict: Served, assessor: Assessor, png: bytes) -> None:
    with strict.connect() as connection:
        head, body = form(png)
        scores = []
        for _ in range(3):  # on one connection
            connection.sendall(head + body)
            status, _, text = answer(connection)
            assert status == 200
            scores.append(json.loads(text)["results"][0]["quality"])
    assert scores == [assessor(png).quality] * 3


def test_requests_in_a_row_are_answered_in_a_row(strict: Served, png: bytes) -> None:
    head, body = form(png)
    health = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with strict.connect() as connection:
        connection.sendall(head + body + health + head + body)
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 3 or not received.endswith(b"]}"):
            received += connection.recv(65536)
        _, first, second, third = received.split(b"HTTP/1.1 200 OK")
    assert b'"quality"' in first
    assert b'{"status":"ok"}' in second
    assert b'"quality"' in third


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + 20_000 * b"x",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=range(8),
)
def test_bytes_that_are_no_request(strict: Served, sent: bytes) -> None:
    with strict.connect() as connection:
        connection.sendall(sent)
        status, headers, body = answer(connection)
        assert (status, code_of(body)) == (400, "invalid_http")
        assert headers["connection"] == "close"
        assert connection.recv(1) == b""


def test_a_client_that_asks_first_is_told_before_it_sends(strict: Served) -> None:
    with strict.connect() as connection:
        head = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
        connection.sendall(head + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        status, headers, body = answer(connection)
        assert (status, code_of(body)) == (415, "unsupported_media_type")
        assert headers["connection"] == "close"
        assert connection.recv(1) == b""


def test_broken_chunks_end_their_request_alone(strict: Served) -> None:
    with strict.connect() as connection:
        connection.sendall(
            b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n"
        )
        status, _, body = answer(connection)
        assert (status, code_of(body)) == (400, "invalid_http")
    assert strict.request("GET", "/healthz")[0] == 200


def test_a_head_that_drips_is_cut_off(strict: Served) -> None:
    with strict.connect() as connection:
        begun = time.monotonic()
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        connection.settimeout(0.2)
        received = b""
        while not received:
            assert time.monotonic() < begun + 60
            try:
                received = connection.recv(65536)
            except TimeoutError:
                connection.sendall(b"X: y\r\n")
        assert received.startswith(b"HTTP/1.1 408 ")
        assert b'"header_timeout"' in received


def test_silence_is_cut_off(strict: Served) -> None:
    with strict.connect() as connection:
        assert connection.recv(1) == b""


def test_a_body_that_does_not_come_is_cut_off(strict: Served, png: bytes) -> None:
    head, body = form(png)
    with strict.connect() as connection:
        connection.sendall(head + body[:100])
        status, _, text = answer(connection)
        assert (status, code_of(text)) == (408, "body_timeout")
        connection.settimeout(60)
        try:
            # What comes after the answer does not keep the connection open.
            while connection.send(b"x"):
                time.sleep(0.05)
        except OSError:
            pass


def test_a_client_that_takes_nothing_is_cut_off(strict: Served) -> None:
    count = 400
    with strict.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        rest, deadline = count * request, time.monotonic() + 60
        while True:  # send all that is taken, read nothing, until the other side gives up
            assert time.monotonic() < deadline, "it waits for ever"
            try:
                rest = rest[connection.send(rest or b"GET") :]
            except BlockingIOError:
                pass
            except OSError:
                break
            time.sleep(0.02)
    assert strict.request("GET", "/healthz")[0] == 200


def test_too_many_connections_are_told_so(strict: Served) -> None:
    def wait_for_room() -> None:
        while strict.request("GET", "/healthz")[0] != 200:
            time.sleep(0.05)

    wait_for_room()
    idle = [strict.connect() for _ in range(4)]
    try:
        while True:  # until all four have been taken
            with strict.connect() as fifth:
                fifth.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                status, headers, body = answer(fifth)
            if status == 429:
                break
        assert code_of(body) == "too_many_connections"
        assert headers["retry-after"] == "1"
    finally:
        for connection in idle:
            connection.close()
    wait_for_room()


def work(running: Served, image: bytes) -> socket.socket:
    """A request that takes a while, whose body is there, and whose images are being judged."""
    one = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + image + b"\r\n"
    body = IMAGES * one + b"--b--\r\n"
    head = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    connection = running.connect()
    connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    while b"foveal_images_in_flight 0.0" in running.request("GET", "/metrics")[2]:
        time.sleep(0.01)
    return connection


@pytest.fixture(scope="module")
def large(make_photo: MakePhoto) -> bytes:
    return encoded(make_photo(1200, 1600), "JPEG")


def test_sigterm_lets_it_finish(running: Served, large: bytes) -> None:
    connection = work(running, large)
    running.signal(signal.SIGTERM)
    assert running.line("draining")["requests"] == 1
    status, _, body = running.request("GET", "/readyz")
    assert (status, json.loads(body)["reasons"]) == (503, ["draining"])
    status, headers, body = running.request("POST", "/v1/score", b"")
    assert (status, code_of(body)) == (503, "draining")
    assert headers["retry-after"]
    assert running.request("GET", "/healthz")[0] == 200
    status, headers, body = answer(connection)
    assert status == 200
    assert len([row for row in json.loads(body)["results"] if row["quality"]]) == IMAGES
    assert running.end() == 0
    assert running.line("drained")["refused"] == 0


@pytest.mark.parametrize("goes_on", [False, True], ids=["silent", "sending"])
def test_sigterm_does_not_wait_for_bodies(running: Served, png: bytes, goes_on: bool) -> None:
    connection, rest = upload(running, png)
    assert len(rest) > 10_000
    begun = time.monotonic()
    running.signal(signal.SIGTERM)
    running.line("draining")
    if goes_on:  # not to the end: a body that comes just in time is judged
        connection.sendall(rest[:10_000])
    status, headers, body = answer(connection)
    assert (status, code_of(body)) == (503, "draining")
    assert headers["x-request-id"] == json.loads(body)["error"]["request_id"]
    assert headers["retry-after"]
    assert running.end() == 0
    assert time.monotonic() - begun < 25, "the grace of 30 s is for work"
    assert running.line("drained")["refused"] == 1
    assert not any("exception" in line for line in running.seen)


def test_sigterm_without_work_ends_at_once(running: Served) -> None:
    idle = running.connect()
    running.signal(signal.SIGTERM)
    assert running.end() == 0
    assert idle.recv(1) == b""


def test_sigint_ends_like_ctrl_c(running: Served) -> None:
    running.signal(signal.SIGINT)
    assert running.end() == 130


def test_a_second_signal_does_not_wait(running: Served, large: bytes) -> None:
    with work(running, large) as connection:
        running.signal(signal.SIGTERM)
        running.line("draining")
        running.signal(signal.SIGTERM)
        assert running.end() == 2
        assert not connection.recv(12).endswith(b"500")


def test_grace_has_an_end(tiny_model_path: Path, large: bytes) -> None:
    with (
        served("--model", str(tiny_model_path), *QUICK, "--grace", "0.05") as running,
        work(running, large) as connection,
    ):
        running.signal(signal.SIGTERM)
        status, headers, body = answer(connection)
        assert (status, code_of(body)) == (503, "draining")
        assert headers["x-request-id"]
        assert running.end() == 2
        assert running.line("cut_off")["level"] == "error"
        assert "--grace" in running.line("text")["text"]


def test_a_lame_duck_refuses_for_a_while(tiny_model_path: Path) -> None:
    with served("--model", str(tiny_model_path), *QUICK, "--lame-duck", "0.8") as running:
        running.signal(signal.SIGTERM)
        running.line("draining")
        assert running.request("GET", "/readyz")[0] == 503
        assert running.end() == 0
