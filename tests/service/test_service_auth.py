"""Who may call: the token, the name, the site."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from service_helpers import Start, error_of, parts

from foveal.service import auth
from foveal.service.settings import Settings

TOKEN = "a-long-and-secret-token"  # noqa: S105 - of this test alone
PROTECTED = [
    ("POST", "/v1/score"),
    ("POST", "/v1/explain"),
    ("GET", "/v1/models"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/no/such/path"),
]


@pytest.fixture(scope="module")
def guarded(start: Start) -> Iterator[TestClient]:
    with start(token=TOKEN) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(""),
        bearer(TOKEN[:-1]),
        bearer(TOKEN + "x"),
        bearer(TOKEN.upper()),
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": b"Bearer \xff\xfe"},
        {"Authorization": f"Bearer {TOKEN} {TOKEN}"},
    ],
    ids=range(9),
)
def test_without_the_token_nothing_is_told(
    guarded: TestClient, method: str, path: str, headers: dict[str, Any]
) -> None:
    answer = guarded.request(method, path, headers=headers)
    assert error_of(answer) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="foveal"'
    assert TOKEN not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_with_it_all_is_open(guarded: TestClient, png: bytes, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {TOKEN}"}
    assert guarded.post("/v1/score", files=parts(("x", png)), headers=headers).status_code == 200
    for path in ("/v1/models", "/metrics", "/openapi.json"):
        assert guarded.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
def test_probes_and_the_page_need_none(guarded: TestClient, path: str) -> None:
    answer = guarded.get(path)
    assert answer.status_code == 200
    assert TOKEN not in answer.text
    assert guarded.head(path).status_code == 200


def test_metrics_can_be_opened(start: Start) -> None:
    with start(token=TOKEN, open_metrics=True) as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/v1/models").status_code == 401


def test_tokens_are_compared_in_constant_time(guarded: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    compared, compare = [], hmac.compare_digest

    def spy(first: bytes, second: bytes) -> bool:
        compared.append((len(first), len(second)))
        return compare(first, second)

    monkeypatch.setattr(auth.hmac, "compare_digest", spy)
    for token in ("", "x", TOKEN, 1000 * "x"):
        guarded.get("/v1/models", headers=bearer(token))
    assert compared == [(32, 32)] * 4


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8321", "localhost", "LOCALHOST:8321", "[::1]", "[::1]:8321"]
)
def test_names_of_this_machine_are_known(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8321", "localhost.evil.example", "", "[::2]:80", "::1"]
)
def test_other_names_are_not(client: TestClient, host: str) -> None:
    """A page may point its own name at this machine: it must not be taken for the page of the service."""
    assert error_of(client.get("/", headers={"Host": host})) == (421, "wrong_host")


def test_public_services_are_known_by_any_name_or_by_those_that_are_set(start: Start) -> None:
    everywhere = "0.0.0.0"  # noqa: S104
    with start(host=everywhere) as client:
        assert client.get("/", headers={"Host": "quality.example"}).status_code == 200
    with start(host=everywhere, allowed_hosts=("Quality.example",)) as client:
        assert client.get("/", headers={"Host": "quality.example:443"}).status_code == 200
        assert client.get("/").status_code == 421
        # Probes call machines by their addresses.
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_cannot_make_it_work(client: TestClient, png: bytes, site: str) -> None:
    answer = client.post("/v1/score", files=parts(("x", png)), headers={"Sec-Fetch-Site": site})
    assert error_of(answer) == (403, "cross_site")


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_its_own_page_can(client: TestClient, png: bytes, site: str) -> None:
    headers = {"Sec-Fetch-Site": site}
    assert client.post("/v1/score", files=parts(("x", png)), headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),  # noqa: S104
        ("::", True),
        ("192.168.1.5", True),
        ("quality.example", True),
    ],
)
def test_which_addresses_others_can_reach(host: str, public: bool) -> None:
    assert Settings(host=host).is_public is public
