"""Scores over HTTP: the very numbers of Python, in the order of the request, failures in their place."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from service_helpers import MakePhoto, Start, encoded, error_of, parts

from foveal.artifact.file import Artifact
from foveal.assessor import Assessor
from foveal.service.batcher import Combiner
from foveal.service.metrics import Metrics
from foveal.service.models import DuplicateModelError, LoadedModel, Models
from foveal.service.settings import Settings


@pytest.fixture(scope="module")
def photos(make_photo: MakePhoto) -> dict[str, bytes]:
    """Pictures that score differently, in several formats."""
    kinds = (("PNG", {}), ("JPEG", {"quality": 40}), ("WEBP", {}), ("TIFF", {}), ("BMP", {}))
    made = enumerate(kinds)
    return {f"{n}.{kind}": encoded(make_photo(200 + 9 * n, 260, n), kind, **more) for n, (kind, more) in made}


def in_json(images: dict[str, bytes], **more: Any) -> dict[str, Any]:
    entries = [{"name": name, "data": base64.b64encode(data).decode()} for name, data in images.items()]
    return {"images": entries, **more}


def test_scores_are_those_of_python_bit_for_bit(
    client: TestClient, assessor: Assessor, photos: dict[str, bytes]
) -> None:
    own = [assessor(data, name=name).to_dict() for name, data in photos.items()]
    assert len({row["quality"] for row in own}) == len(photos)
    form = client.post("/v1/score", files=parts(*photos.items()))
    json = client.post("/v1/score", json=in_json(photos))
    one_by_one = [client.post("/v1/score", files=parts(image)).json() for image in photos.items()]
    assert form.status_code == json.status_code == 200
    assert form.json()["results"] == json.json()["results"] == own
    assert [answer["results"][0] for answer in one_by_one] == own
    assert form.json()["failed"] == 0
    assert form.json()["model"] == "tiny@0.0.1"


def test_images_without_a_name_are_called_by_their_place(client: TestClient, png: bytes) -> None:
    data = base64.b64encode(png).decode()
    answer = client.post("/v1/score", json={"images": [{"data": data}, {"data": data, "name": ""}]})
    assert [row["source"] for row in answer.json()["results"]] == ["image 0", "image 1"]


def test_failures_stand_in_their_place(client: TestClient, photos: dict[str, bytes], png: bytes) -> None:
    name, data = next(iter(photos.items()))
    images = [("a", data), ("text", b"hello"), ("cut", png[:300]), ("none", b""), (name, data)]
    answer = client.post("/v1/score", files=parts(*images))
    assert answer.status_code == 200
    body = answer.json()
    assert body["failed"] == 3
    codes = [row.get("error", {}).get("code") for row in body["results"]]
    assert codes == [None, "not_an_image", "image_truncated", "image_empty", None]
    assert [row["source"] for row in body["results"]] == ["a", "text", "cut", "none", name]


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"hello", 415, "not_an_image"),
        (b"", 422, "image_empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), 422, "image_zero_sized"),
    ],
)
def test_a_single_failure_is_the_failure_of_the_request(
    client: TestClient, data: bytes, status: int, code: str
) -> None:
    answer = client.post("/v1/score", files=parts(("x", data)))
    assert error_of(answer) == (status, code)
    (result,) = answer.json()["results"]
    assert result == {"source": "x", "error": {"code": code, "message": answer.json()["error"]["message"]}}


def test_several_failures_are_one_error_and_each_its_own(client: TestClient) -> None:
    answer = client.post("/v1/score", files=parts(("a", b"hello"), ("b", b"")))
    assert error_of(answer) == (422, "no_image_judged")
    assert [row["error"]["code"] for row in answer.json()["results"]] == ["not_an_image", "image_empty"]


def test_broken_base64_is_the_error_of_its_image(client: TestClient, png: bytes) -> None:
    entries = [
        {"data": "%%%"},
        {"data": base64.b64encode(png).decode()},
        {"data": "data:image/png;base64,AA=="},
    ]
    answer = client.post("/v1/score", json={"images": entries})
    assert answer.status_code == 200
    codes = [row.get("error", {}).get("code") for row in answer.json()["results"]]
    assert codes == ["invalid_base64", None, "invalid_base64"]


def test_names_are_handed_back_and_nothing_more(client: TestClient, png: bytes) -> None:
    names = [
        "../../etc/passwd",
        "C:\\windows\\x.png",
        "a\nb\x1b[31m",
        "naïve café ☕.png",
        "<script>alert(1)</script>",
    ]
    data = base64.b64encode(png).decode()
    answer = client.post("/v1/score", json={"images": [{"data": data, "name": name} for name in names]})
    assert [row["source"] for row in answer.json()["results"]] == names
    assert answer.text.isascii()


def test_the_same_model_twice_is_refused(assessor: Assessor) -> None:
    twice = LoadedModel(assessor, Combiner(assessor, 0, print), None)
    with pytest.raises(DuplicateModelError, match=r"tiny@0\.0\.1"):
        Models([twice, twice])


def test_a_model_that_breaks_is_the_services_fault(
    start: Start, tiny_artifact: Artifact, png: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        device, name, best_batch, threads = "cpu", "broken", 1, 1
        breaks = False

        def run(self, views: Any) -> dict[str, Any]:
            if self.breaks:
                raise RuntimeError("secret of /src/engine.py")
            return {"quality": np.full(1, 3.0, np.float32), "spread": np.ones(1, np.float32)}

    engine = Broken()

    def load(_: Settings, metrics: Metrics) -> Models:
        assessor = Assessor(tiny_artifact, engine)
        return Models([LoadedModel(assessor, Combiner(assessor, 0, metrics.batch), None)])

    with start(load) as client:
        engine.breaks = True
        answer = client.post("/v1/score", files=parts(("a", png)))
        assert error_of(answer) == (500, "internal")
        engine.breaks = False
        assert client.post("/v1/score", files=parts(("a", png))).status_code == 200


def test_local_quality_is_given_if_asked_for(start: Start, tiny_artifact: Artifact, png: bytes) -> None:
    class Mapping:
        device, name, best_batch, threads = "cpu", "mapping", 1, 1

        def run(self, views: Any) -> dict[str, Any]:
            grid = np.linspace(0.5, 4.5, 6, dtype=np.float32).reshape(1, 2, 3)
            ones = np.ones(1, np.float32)
            return {"quality": 3 * ones, "spread": ones, "quality_map": grid}

    def load(_: Settings, metrics: Metrics) -> Models:
        assessor = Assessor(tiny_artifact, Mapping())
        return Models([LoadedModel(assessor, Combiner(assessor, 0, metrics.batch), None)])

    with start(load) as client:
        without, with_map = (
            client.post("/v1/score", files=parts(("a", png)), data=data).json()["results"][0]
            for data in ({}, {"map": "true"})
        )
    assert without["quality_map"] is None
    np.testing.assert_allclose(with_map["quality_map"], [[1, 1.3, 2.1], [2.9, 3.7, 4.5]], atol=1e-6)
