"""The description of the API: complete, true, and its examples run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from fastapi.testclient import TestClient
from service_helpers import Start, error_of, parts

from foveal.service.errors import PROBLEMS

WORK = ["/v1/score", "/v1/explain"]
GETS = ["/v1/models", "/healthz", "/readyz"]


@pytest.fixture(scope="module")
def described(client: TestClient) -> dict[str, Any]:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def valid(described: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": described["components"]}
    jsonschema.Draft202012Validator.check_schema(whole)
    jsonschema.Draft202012Validator(whole).validate(value)


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_route_is_described(described: dict[str, Any]) -> None:
    assert described["openapi"].startswith("3.1")
    found = {(method, path) for path, method, _ in operations(described)}
    assert found == {("post", path) for path in WORK} | {("get", path) for path in [*GETS, "/metrics", "/"]}


def test_every_answer_has_an_example_that_fits_its_schema(described: dict[str, Any]) -> None:
    seen = 0
    for path, _, operation in operations(described):
        assert "200" in operation["responses"]
        for status, response in operation["responses"].items():
            for kind, content in response["content"].items():
                if kind != "application/json":
                    assert content["example"]
                    continue
                assert content["examples"], (path, status)
                for example in content["examples"].values():
                    valid(described, content["schema"], example["value"])
                    seen += 1
    assert seen > 80


def test_every_error_is_described_under_its_status(described: dict[str, Any]) -> None:
    responses = described["paths"]["/v1/score"]["post"]["responses"] | {}
    for code, problem in PROBLEMS.items():
        if code in {"not_found", "method_not_allowed", "not_explained"}:
            continue  # of no route, and of the other one
        example = responses[str(problem.status)]["content"]["application/json"]["examples"][code]["value"]
        assert example["error"]["code"] == code
    explain = described["paths"]["/v1/explain"]["post"]["responses"]["422"]
    assert "not_explained" in explain["content"]["application/json"]["examples"]
    for told in ("not_found", "method_not_allowed"):
        assert told in described["info"]["description"]


@pytest.mark.parametrize("path", WORK)
def test_examples_of_requests_run(client: TestClient, described: dict[str, Any], path: str) -> None:
    operation = described["paths"][path]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    assert len(content["examples"]) >= 2
    for example in content["examples"].values():
        valid(described, content["schema"], example["value"])
        answer = client.post(path, json=example["value"])
        assert answer.status_code == 200, answer.text
        valid(described, schema_of(operation, 200), answer.json())
        assert len(answer.json()["results"]) == len(example["value"]["images"])


@pytest.mark.parametrize("path", GETS)
def test_answers_fit_their_schema(client: TestClient, described: dict[str, Any], path: str) -> None:
    answer = client.get(path)
    valid(described, schema_of(described["paths"][path]["get"], 200), answer.json())


@pytest.mark.parametrize("path", WORK)
def test_mixed_answers_and_errors_fit_theirs(
    client: TestClient, described: dict[str, Any], path: str, png: bytes
) -> None:
    operation = described["paths"][path]["post"]
    mixed = client.post(path, files=parts(("a", png), ("b", b"hello")), data={"map": "true"})
    valid(described, schema_of(operation, 200), mixed.json())
    for files in (parts(("b", b"hello")), parts(("a", b""), ("b", b"x"))):
        answer = client.post(path, files=files)
        status, code = error_of(answer)
        valid(described, schema_of(operation, status), answer.json())
        assert code in operation["responses"][str(status)]["content"]["application/json"]["examples"]


def schema_of(operation: dict[str, Any], status: int) -> dict[str, Any]:
    found: dict[str, Any] = operation["responses"][str(status)]["content"]["application/json"]["schema"]
    return found


def test_the_form_is_described_field_by_field(described: dict[str, Any]) -> None:
    reference = described["paths"]["/v1/score"]["post"]["requestBody"]["content"]["multipart/form-data"][
        "schema"
    ]
    form = described["components"]["schemas"][reference["$ref"].rpartition("/")[2]]
    assert set(form["properties"]) == {"image", "model", "prompt", "map"}
    assert form["required"] == ["image"]


def test_all_references_lead_somewhere(described: dict[str, Any]) -> None:
    known = described["components"]["schemas"]
    text = json.dumps(described)
    found = {part.split('"')[0] for part in text.split('"$ref": "#/components/schemas/')[1:]}
    assert found
    assert found <= set(known)


def test_the_token_is_described_where_it_is_needed(start: Start) -> None:
    token = "a-long-and-secret-token"  # noqa: S105
    with start(token=token) as client:
        described = client.get("/openapi.json", headers={"Authorization": f"Bearer {token}"}).json()
    assert token not in json.dumps(described)
    assert described["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    needed = {path for path, _, operation in operations(described) if operation["security"]}
    assert needed == {"/v1/score", "/v1/explain", "/v1/models", "/metrics"}


def test_limits_are_told(start: Start) -> None:
    with start(max_images=7, max_image=3 * 2**20) as client:
        description = client.get("/openapi.json").json()["info"]["description"]
    assert "7 images" in description
    assert "3 MiB" in description
