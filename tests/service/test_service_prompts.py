"""Prompts and models over HTTP: which image is judged by which text, and by whom."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from service_helpers import Start, error_of, parts

import prompt_models
from foveal.assessor import Assessor
from foveal.runtime import make_engine
from foveal.service.batcher import Combiner
from foveal.service.metrics import Metrics
from foveal.service.models import LoadedModel, Models
from foveal.service.settings import Settings


def in_json(images: dict[str, bytes], **more: Any) -> dict[str, Any]:
    entries = [{"name": name, "data": base64.b64encode(data).decode()} for name, data in images.items()]
    return {"images": entries, **more}


@pytest.fixture(scope="module")
def prompted() -> Assessor:
    artifact = prompt_models.make_artifact()
    return Assessor(artifact, make_engine(artifact, threads=1))


@pytest.fixture(scope="module")
def client(start: Start, prompted: Assessor, assessor: Assessor) -> Iterator[TestClient]:
    def load(_: Settings, metrics: Metrics) -> Models:
        loaded = [LoadedModel(one, Combiner(one, 0, metrics.batch), None) for one in (prompted, assessor)]
        return Models(loaded)

    with start(load) as client:
        yield client


def test_each_image_is_judged_by_its_own(client: TestClient, prompted: Assessor, png: bytes) -> None:
    own = [
        prompted(png, name=name, prompt=text).to_dict() for name, text in (("a", "red fox"), ("b", "castle"))
    ]
    assert own[0]["aspects"]["correspondence"] != own[1]["aspects"]["correspondence"]
    form = client.post(
        "/v1/score", files=parts(("a", png), ("b", png)), data={"prompt": ["red fox", "castle"]}
    )
    assert form.json()["results"] == own
    entries = in_json({"a": png, "b": png}, prompt="castle")
    entries["images"][0]["prompt"] = "red fox"
    assert client.post("/v1/score", json=entries).json()["results"] == own


def test_one_prompt_is_for_all(client: TestClient, prompted: Assessor, png: bytes) -> None:
    answer = client.post("/v1/score", files=parts(("a", png), ("b", png)), data={"prompt": "castle"}).json()
    wanted = prompted(png, prompt="castle").aspects
    assert [row["aspects"] for row in answer["results"]] == [wanted, wanted]


def test_no_prompt_and_an_empty_one_differ(client: TestClient, png: bytes) -> None:
    assert error_of(client.post("/v1/score", files=parts(("a", png)))) == (422, "prompt_missing")
    without = client.post("/v1/score", files=parts(("a", png)), data={"prompt": ""}).json()["results"][0]
    assert set(without["aspects"]) == {"authenticity"}
    assert without["warnings"]


def test_prompts_must_fit_the_images(client: TestClient, png: bytes) -> None:
    three = client.post("/v1/score", files=parts(("a", png), ("b", png)), data={"prompt": ["x", "y", "z"]})
    assert error_of(three) == (422, "invalid_request")
    assert three.json()["error"]["field"] == "prompt"


def test_a_model_that_reads_none_says_so(client: TestClient, png: bytes) -> None:
    answer = client.post("/v1/score", files=parts(("a", png)), data={"prompt": "x", "model": "tiny"})
    assert error_of(answer) == (422, "prompt_not_read")


@pytest.mark.parametrize(("name", "model"), [(None, "prompted@0.0.1"), ("tiny", "tiny@0.0.1")])
def test_models_are_chosen_by_name(client: TestClient, png: bytes, name: str | None, model: str) -> None:
    body = in_json({"a": png}, model=name, prompt="" if name is None else None)
    answer = client.post("/v1/score", json=body).json()
    assert answer["model"] == answer["results"][0]["model"] == model
    assert client.post("/v1/score", json={**body, "model": model}).json()["model"] == model


def test_an_unknown_model_is_named_with_those_that_there_are(client: TestClient, png: bytes) -> None:
    answer = client.post("/v1/score", files=parts(("a", png)), data={"model": "/etc/passwd"})
    assert error_of(answer) == (422, "unknown_model")
    assert "prompted@0.0.1, tiny@0.0.1" in answer.json()["error"]["message"]


def test_the_list_of_models(client: TestClient) -> None:
    listed = client.get("/v1/models").json()["models"]
    assert [(one["model"], one["default"], one["reads_prompts"], one["explains"]) for one in listed] == [
        ("prompted@0.0.1", True, True, False),
        ("tiny@0.0.1", False, False, False),
    ]
    assert listed[0]["aspects"] == [
        {"name": "authenticity", "needs_prompt": False},
        {"name": "correspondence", "needs_prompt": True},
    ]
