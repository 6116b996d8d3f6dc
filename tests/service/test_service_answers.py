"""What holds for all answers: ids, headers, logs, metrics, and errors that tell nothing of the machine."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from service_helpers import Start, error_of, parts, service_in

from foveal.service import score
from foveal.service.errors import PROBLEMS, ServiceError, of_image
from foveal.service.logs import LOGGER, JsonLines, configure, log


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The log as it is written, line by line."""
    written: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler = Keeper()
    handler.setFormatter(JsonLines())
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in written]
    LOGGER.removeHandler(handler)
    LOGGER.setLevel(level)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/no/such/path", (404, "not_found")),
        ("GET", "/v1/score/", (404, "not_found")),
        ("GET", "/v1/../etc/passwd", (404, "not_found")),
        ("GET", "/docs", (404, "not_found")),
        ("GET", "/%00", (404, "not_found")),
        ("GET", "/v1/score", (405, "method_not_allowed")),
        ("POST", "/healthz", (405, "method_not_allowed")),
        ("DELETE", "/v1/models", (405, "method_not_allowed")),
        ("OPTIONS", "/v1/score", (405, "method_not_allowed")),
        ("BREW", "/v1/score", (405, "method_not_allowed")),
    ],
)
def test_paths_and_methods_that_there_are_not(
    client: TestClient, method: str, path: str, code: tuple[int, str]
) -> None:
    answer = client.request(method, path)
    assert error_of(answer) == code
    assert (answer.status_code == 405) == ("Allow" in answer.headers)


def test_ids_are_taken_over_if_they_are_harmless(client: TestClient) -> None:
    given = "req-7.a_B"
    assert client.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given
    assert client.get("/nowhere", headers={"X-Request-ID": given}).json()["error"]["request_id"] == given
    made = set()
    for other in ("", "a b", 65 * "x", 'x"y', "{}", "<x>", None):
        headers = {} if other is None else {"X-Request-ID": other}
        answer = client.get("/healthz", headers=headers)
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
        made.add(answer.headers["X-Request-ID"])
    assert len(made) == 7


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/models", "/nowhere", "/metrics", "/openapi.json"])
def test_all_answers_have_the_headers_that_protect(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == ("no-cache" if path == "/" else "no-store")
    assert "Access-Control-Allow-Origin" not in headers


def test_a_request_is_one_line_of_log(
    client: TestClient, png: bytes, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    headers = {"X-Request-ID": "mine", "Authorization": "Bearer my-secret-token"}
    files = parts(("my-secret-name.png", png), ("my-secret-text", b"my-secret-data"))
    client.post("/v1/score?my-secret-query", files=files, headers=headers)
    (line,) = lines()
    assert line["event"] == "request"
    assert {key: line[key] for key in ("id", "method", "route", "status", "images", "failed", "level")} == {
        "id": "mine",
        "method": "POST",
        "route": "/v1/score",
        "status": 200,
        "images": 2,
        "failed": 1,
        "level": "info",
    }
    assert len(png) < line["bytes"] < len(png) + 2000
    assert line["seconds"] >= line["queue_seconds"] >= 0
    assert "my-secret" not in json.dumps(line)


def test_prompts_stay_out_of_the_log(
    client: TestClient, png: bytes, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    client.post("/v1/score", files=parts(("x", png)), data={"prompt": "my secret prompt"})
    (line,) = lines()
    assert (line["status"], line["code"]) == (422, "prompt_not_read")
    assert "secret" not in json.dumps(line)


def test_strange_requests_leave_no_strange_log(
    client: TestClient, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    client.request("BREW", "/v1/score")
    client.get("/x%0aINJECTED%1b[31m")
    first, second = lines()
    assert (first["method"], first["route"]) == ("other", "/v1/score")
    assert (second["route"], second["status"]) == ("other", 404)
    assert "INJECTED" not in json.dumps(second)


def test_probes_are_quiet(client: TestClient, lines: Callable[[], list[dict[str, Any]]]) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        client.get(path)
    assert [line["level"] for line in lines()] == ["debug"] * 3


def test_what_breaks_is_told_to_the_log_alone(
    client: TestClient,
    png: bytes,
    monkeypatch: pytest.MonkeyPatch,
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    def explode(*_: Any) -> None:
        raise RuntimeError("a secret of the house")

    monkeypatch.setattr(score, "_count", explode)
    answer = client.post("/v1/score", files=parts(("x", png)))
    assert error_of(answer) == (500, "internal")
    assert "secret" not in answer.text
    failed, request = lines()
    assert failed["event"] == "request_failed"
    assert "a secret of the house" in failed["exception"]
    assert failed["id"] == request["id"] == answer.json()["error"]["request_id"]
    assert (request["status"], request["code"]) == (500, "internal")
    assert service_in(client).life.at_work == 0


def test_lines_stay_lines(lines: Callable[[], list[dict[str, Any]]]) -> None:
    log("odd", text="a\nb\x1b[31m\ud800", number=1.5, thing=object)
    (line,) = lines()
    assert line["text"] == "a\nb\x1b[31m\ud800"
    assert line["time"].endswith("+00:00")


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    handlers, level, propagate = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    try:
        configure("warning")
        log("quiet")
        log("loud", level=logging.WARNING)
        assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["loud"]
    finally:
        LOGGER.handlers[:] = handlers
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate


def values(client: TestClient) -> dict[str, float]:
    """Metrics by name and labels."""
    text = client.get("/metrics").text
    rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


def test_metrics_count(start: Start, png: bytes) -> None:
    with start() as client:
        before = values(client)
        client.post("/v1/score", files=parts(("x", png), ("y", png), ("z", b"hello")))
        client.post("/v1/score", files=parts(("z", b"hello")))
        client.get("/somewhere/else")
        client.get("/and/elsewhere")
        found = values(client)
    assert found['foveal_requests_total{route="/v1/score",status="200"}'] == 1
    assert found['foveal_requests_total{route="/v1/score",status="415"}'] == 1
    assert found['foveal_requests_total{route="other",status="404"}'] == 2
    assert found['foveal_images_total{outcome="scored",route="/v1/score"}'] == 2
    assert found['foveal_images_total{outcome="not_an_image",route="/v1/score"}'] == 2
    assert found['foveal_request_seconds_count{route="/v1/score"}'] == 2
    assert found['foveal_queue_seconds_count{route="/v1/score"}'] == 2
    assert found["foveal_batch_images_count"] == before["foveal_batch_images_count"] + 2
    assert found["foveal_requests_in_flight"] == 1, "the one that asks"
    assert found["foveal_queue_images"] == found["foveal_images_in_flight"] == found["foveal_held_bytes"] == 0
    assert found["process_resident_memory_bytes"] > 1e6


def test_labels_are_few_whatever_clients_ask_for(start: Start) -> None:
    with start() as client:
        client.get("/first")
        client.request("M", "/")
        values(client)
        before = set(values(client))
        for number in range(30):
            client.request(f"M{number}", f"/{number}", headers={"Host": "127.0.0.1"})
        assert set(values(client)) == before


def test_services_in_one_process_count_for_themselves(start: Start) -> None:
    with start() as first, start() as second:
        first.get("/healthz")
        assert 'route="/healthz"' in first.get("/metrics").text
        assert 'route="/healthz"' not in second.get("/metrics").text


def test_codes_have_a_status_and_a_meaning() -> None:
    for code, problem in PROBLEMS.items():
        assert re.fullmatch("[a-z0-9_]+", code)
        assert 400 <= problem.status <= 504
        assert problem.meaning.endswith(".")


def test_errors_of_images_speak_to_clients() -> None:
    from foveal import errors

    given = [
        errors.TooManyPixelsError("/srv/x.png", "9 x 9 is too much", "raise Limits(max_pixels=...)"),
        errors.CorruptImageError("x", "cannot be read <_io.BytesIO object at 0x7f12ab>", "fetch it again"),
        errors.MissingExtraError("/srv/x.heic: reading HEIC", "heic"),
        errors.MissingPromptError("x", "no prompt", "--no-prompt"),
        errors.PromptError("/srv/x: tiny reads no prompts"),
        ValueError("/srv/secret"),
    ]
    told = [of_image(error) for error in given]
    assert [error.code for error in told] == [
        "too_many_pixels",
        "image_corrupt",
        "format_unavailable",
        "prompt_missing",
        "prompt_not_read",
        "internal",
    ]
    for error in told:
        assert not re.search("/srv|0x|--|Limits|pip", error.message), error.message
        assert error.message
    own = ServiceError("invalid_url", "x")
    assert of_image(own) is own
