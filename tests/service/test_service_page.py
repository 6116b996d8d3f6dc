"""The page as a file: whole, and with a policy that fits it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient
from service_helpers import Start

from foveal.explanation.colours import STOPS


class Elements(HTMLParser):
    """All elements with their attributes, and the texts of style and script."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"style": [], "script": []}
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside in self.texts:
            self.texts[self._inside].append(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


@pytest.fixture(scope="module")
def page(client: TestClient) -> Elements:
    parsed = Elements()
    parsed.feed(client.get("/").text)
    return parsed


def test_only_its_own_style_and_script_are_allowed(client: TestClient, page: Elements) -> None:
    policy = dict(
        part.strip().split(" ", 1) for part in client.get("/").headers["Content-Security-Policy"].split(";")
    )
    for kind in ("style", "script"):
        (text,) = page.texts[kind]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[f"{kind}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)


def test_it_needs_nothing_from_elsewhere(client: TestClient, page: Elements) -> None:
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], "no handlers in the markup"
        assert "style" not in attributes, "no styles that the policy refuses"
        for name in ("src", "href"):
            assert (attributes.get(name) or "").startswith(("data:", "#", "")), tag
    addresses = re.findall(r"https?://[^\s\"']+", client.get("/").text)
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}
    assert "innerHTML" not in client.get("/").text


def test_it_can_be_read_aloud(page: Elements) -> None:
    tags = [tag for tag, _ in page.elements]
    assert ("html", {"lang": "en"}) in page.elements
    assert tags.count("h1") == tags.count("main") == tags.count("header") == 1
    labelled = {attributes.get("for") for tag, attributes in page.elements if tag == "label"}
    for tag, attributes in page.elements:
        if tag in {"input", "select", "textarea"} and attributes.get("id") not in labelled:
            # Then it stands inside its label, or has a name of its own.
            assert "aria-label" in attributes or attributes["id"] in {"model", "order", "beside", "slider"}
        if tag == "img":
            assert "alt" in attributes
        if tag == "dialog":
            assert "aria-labelledby" in attributes
    assert any(attributes.get("aria-live") == "polite" for _, attributes in page.elements)


def test_it_knows_the_colours_and_the_limits(start: Start) -> None:
    with start(max_image=7 * 2**20) as client:
        text = client.get("/").text
    assert "{{" not in text
    assert f'"maxImage": {7 * 2**20}' in text
    assert ", ".join(STOPS) in text


def test_it_is_sent_once(client: TestClient) -> None:
    first = client.get("/")
    assert first.headers["Content-Type"] == "text/html; charset=utf-8"
    again = client.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/", headers={"If-None-Match": '"other"'}).content == first.content
