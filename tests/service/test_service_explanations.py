"""Explanations over HTTP: what the explainer says, and its map as a picture."""

from __future__ import annotations

import base64
import io
import json

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from service_helpers import Start, error_of, parts

from constructed_explainer import constructed_explainer
from foveal.assessor import Assessor
from foveal.explanation.explainer import Explainer
from foveal.explanation.picture import map_picture
from foveal.imaging.decode import decode


@pytest.fixture(scope="module")
def explainer(assessor: Assessor) -> Explainer:
    return Explainer(constructed_explainer(), assessor)


def test_they_are_those_of_python(client: TestClient, explainer: Explainer, png: bytes) -> None:
    explanation = explainer(png, name="a.png")
    (told,) = client.post("/v1/explain", files=parts(("a.png", png))).json()["results"]
    picture = base64.b64decode(told.pop("map_png"))
    assert told == json.loads(json.dumps(explanation.to_dict()))
    assert picture == map_picture(decode(png).pixels, explanation.quality_map)
    with Image.open(io.BytesIO(picture)) as opened:
        assert opened.format == "PNG"


def test_the_picture_can_be_left_out(client: TestClient, png: bytes) -> None:
    (told,) = client.post("/v1/explain", files=parts(("a", png)), data={"map": "false"}).json()["results"]
    assert "map_png" not in told
    assert told["map"]


def test_failures_stand_in_their_place(client: TestClient, png: bytes) -> None:
    answer = client.post("/v1/explain", files=parts(("a", b"hello"), ("b", png)))
    first, second = answer.json()["results"]
    assert first["error"]["code"] == "not_an_image"
    assert second["description"]
    assert answer.json()["failed"] == 1
    assert error_of(client.post("/v1/explain", files=parts(("a", b"hello")))) == (415, "not_an_image")


def test_they_have_limits_too(start: Start, png: bytes) -> None:
    with start(max_pixels=100, explain_queue=2) as client:
        assert error_of(client.post("/v1/explain", files=parts(("a", png)))) == (413, "too_many_pixels")
        # Never is there room for three: nobody is told to come again.
        three = client.post("/v1/explain", files=parts(*[("a", png)] * 3))
        assert error_of(three) == (413, "too_many_images")
        assert "Retry-After" not in three.headers
        entries = [{"data": base64.b64encode(png).decode()}] * 3
        assert error_of(client.post("/v1/explain", json={"images": entries})) == (413, "too_many_images")
        assert "(2 to be explained)" in client.get("/openapi.json").json()["info"]["description"]
    with start(explain_queue=2) as client:
        assert client.post("/v1/explain", files=parts(*[("a", png)] * 2)).status_code == 200
        assert client.post("/v1/score", files=parts(*[("a", png)] * 3)).status_code == 200


def test_prompts_are_not_read(client: TestClient, png: bytes) -> None:
    answer = client.post("/v1/explain", files=parts(("a", png)), data={"prompt": "a fox"})
    assert error_of(answer) == (422, "prompt_not_read")


def test_a_service_may_have_none(start: Start, png: bytes) -> None:
    with start(explain_workers=0) as client:
        assert error_of(client.post("/v1/explain", files=parts(("a", png)))) == (422, "not_explained")
        assert client.get("/v1/models").json()["models"][0]["explains"] is False
        assert '"explains": false' in client.get("/").text
