"""Engines: the same numbers from both, alone and in batches; clear errors for what is not there."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
from numpy.typing import NDArray

from foveal.artifact import Artifact, ViewSpec
from foveal.errors import ArtifactError, CorruptArtifactError, DeviceError, MissingExtraError
from foveal.imaging.views import fragment_view, whole_view
from foveal.runtime import Engine, make_engine
from foveal.runtime.engine import available_cpus
from foveal.runtime.openvino_engine import OpenVINOEngine

ENGINES = ["openvino", "onnxruntime"]
Views = dict[str, NDArray[np.uint8]]


@pytest.fixture(scope="module")
def views(make_photo: Callable[..., NDArray[np.uint8]]) -> Views:
    """Seven images' views."""
    photos = [make_photo(seed=seed) for seed in range(7)]
    return {
        "whole": np.stack([whole_view(photo) for photo in photos]),
        "fragments": np.stack([fragment_view(photo) for photo in photos]),
    }


@pytest.fixture(scope="module")
def expected(tiny_onnx: onnx.ModelProto, views: Views) -> dict[str, NDArray[np.float32]]:
    """What the ONNX reference implementation gives."""
    quality, spread = onnx.reference.ReferenceEvaluator(tiny_onnx).run(["quality", "spread"], dict(views))
    return {"quality": quality, "spread": spread}


@pytest.mark.parametrize("engine", ENGINES)
def test_agrees_with_the_reference_implementation(
    tiny_artifact: Artifact, views: Views, expected: dict[str, NDArray[np.float32]], engine: str
) -> None:
    outputs = make_engine(tiny_artifact, engine=engine, threads=1).run(views)
    assert outputs.keys() == {"quality", "spread"}
    for name, values in expected.items():
        assert outputs[name].dtype == np.float32
        assert outputs[name].shape == (7,)
        np.testing.assert_allclose(outputs[name], values, atol=1e-4)
    assert np.ptp(outputs["quality"]) > 0.05  # the test would be empty if all images scored alike


@pytest.mark.parametrize("engine", ENGINES)
def test_int8_weights_are_close_to_float(
    tiny_int8_artifact: Artifact, views: Views, expected: dict[str, NDArray[np.float32]], engine: str
) -> None:
    outputs = make_engine(tiny_int8_artifact, engine=engine, threads=1).run(views)
    np.testing.assert_allclose(outputs["quality"], expected["quality"], atol=0.02)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_batch_changes_nothing(tiny_artifact: Artifact, views: Views, engine: str, threads: int) -> None:
    one = make_engine(tiny_artifact, engine=engine, threads=threads)
    together = one.run(views)["quality"]
    alone = [one.run({k: v[i : i + 1] for k, v in views.items()})["quality"][0] for i in range(7)]
    turned = one.run({k: v[::-1] for k, v in views.items()})["quality"][::-1]
    np.testing.assert_array_equal(alone, together)
    np.testing.assert_array_equal(turned, together)


@pytest.mark.parametrize("engine", ENGINES)
def test_many_callers_at_once(tiny_artifact: Artifact, views: Views, engine: str) -> None:
    shared = make_engine(tiny_artifact, engine=engine, threads=2)
    expected = shared.run(views)["quality"]
    order = [i % 7 for i in range(120)]
    with ThreadPoolExecutor(6) as pool:
        rows = list(pool.map(lambda i: shared.run({k: v[i : i + 1] for k, v in views.items()}), order))
    np.testing.assert_array_equal([row["quality"][0] for row in rows], expected[order])


def test_bf16_is_close(
    tiny_artifact: Artifact, views: Views, expected: dict[str, NDArray[np.float32]]
) -> None:
    outputs = OpenVINOEngine(tiny_artifact, threads=1, precision="bf16").run(views)
    np.testing.assert_allclose(outputs["quality"], expected["quality"], atol=0.05)


def test_results_of_one_call_outlive_the_next(tiny_artifact: Artifact, views: Views) -> None:
    engine = make_engine(tiny_artifact, engine="openvino", threads=1)
    first = engine.run({k: v[:1] for k, v in views.items()})["quality"]
    kept = first.copy()
    engine.run({k: v[1:2] for k, v in views.items()})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "change",
    [
        lambda views: {"whole": views["whole"]},
        lambda views: {**views, "depth": views["whole"]},
        lambda views: {**views, "whole": views["whole"].astype(np.float32)},
        lambda views: {**views, "whole": views["whole"][:, :100]},
        lambda views: {**views, "whole": views["whole"][0]},
        lambda views: {**views, "whole": views["whole"][:3]},
        lambda views: {name: view[:0] for name, view in views.items()},
    ],
)
def test_wrong_views_are_refused(
    tiny_artifact: Artifact, views: Views, engine: str, change: Callable[[Views], Views]
) -> None:
    with pytest.raises(ValueError, match="view"):
        make_engine(tiny_artifact, engine=engine, threads=1).run(change(views))


@pytest.mark.parametrize(("engine", "name"), [("auto", "openvino"), *zip(ENGINES, ENGINES, strict=True)])
def test_describes_itself(tiny_artifact: Artifact, engine: str, name: str) -> None:
    made: Engine = make_engine(tiny_artifact, engine=engine, device="cpu")
    assert (made.name, made.device, made.best_batch, made.threads) == (name, "cpu", 1, available_cpus())


def test_unknown_names_say_what_there_is(tiny_artifact: Artifact) -> None:
    with pytest.raises(DeviceError, match=r"'tpu'.*auto, cpu, cuda"):
        make_engine(tiny_artifact, device="tpu")
    with pytest.raises(DeviceError, match=r"'tensorrt'.*auto, openvino, onnxruntime"):
        make_engine(tiny_artifact, engine="tensorrt")
    with pytest.raises(DeviceError, match="does not run on CUDA"):
        make_engine(tiny_artifact, engine="openvino", device="cuda")
    for engine in ENGINES:
        with pytest.raises(DeviceError, match="threads is 0"):
            make_engine(tiny_artifact, engine=engine, threads=0)


def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])


def with_broken_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime built for CUDA on a machine without it: it falls back to the CPU without a word."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    session = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: session)


@pytest.mark.parametrize("machine", [without_cuda, with_broken_cuda])
def test_missing_cuda_says_what_to_install(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, machine: Callable[[pytest.MonkeyPatch], None]
) -> None:
    machine(monkeypatch)
    for engine in ("auto", "onnxruntime"):
        with pytest.raises(DeviceError, match="onnxruntime-gpu"):
            make_engine(tiny_artifact, engine=engine, device="cuda")


def test_missing_packages(tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"foveal\[onnxruntime\]"):
        make_engine(tiny_artifact, engine="onnxruntime")
    with pytest.raises(DeviceError, match="onnxruntime-gpu"):
        make_engine(tiny_artifact, device="cuda")
    for name in [name for name in sys.modules if name.split(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(DeviceError, match="pip install openvino"):
        make_engine(tiny_artifact, engine="openvino")


@pytest.mark.parametrize("engine", ENGINES)
def test_graphs_that_cannot_run(tiny_artifact: Artifact, engine: str) -> None:
    broken: list[tuple[Any, type[ArtifactError]]] = [
        ({"graph": b"nonsense"}, ArtifactError),
        ({"weights": {}}, ArtifactError),
        (
            {"card": dataclasses.replace(tiny_artifact.card, views={"whole": ViewSpec("whole")})},
            CorruptArtifactError,
        ),
        ({"graph": _renamed_output(tiny_artifact.graph)}, CorruptArtifactError),
    ]
    for change, error in broken:
        with pytest.raises(error, match=r"tiny@0\.0\.1"):
            make_engine(dataclasses.replace(tiny_artifact, **change), engine=engine)


def _renamed_output(graph: bytes) -> bytes:
    model = onnx.ModelProto.FromString(graph)
    model.graph.node[-1].output[0] = model.graph.output[1].name = "width"
    return model.SerializeToString()


@pytest.mark.slow
def test_openvino_reports_nothing_about_its_user(tiny_model_path: Path, tmp_path: Path) -> None:
    # Importing OpenVINO starts its telemetry, which writes an identifier into the home folder and sends it.
    code = """
import socket, sys, threading
def refuse(*arguments, **keywords):
    print("TOUCHED THE NETWORK", arguments)
    raise OSError("no network in this test")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import foveal
foveal.load(sys.argv[1], engine="openvino")
import openvino
assert "openvino_telemetry" not in sys.modules
print("loaded", openvino.__name__, [t.name for t in threading.enumerate() if "ThreadPool" in t.name])
"""
    environment = {
        "HOME": str(tmp_path),
        "PYTHONPATH": ":".join(sys.path),
    }  # and no CI, which would switch it off
    done = subprocess.run(
        [sys.executable, "-c", code, tiny_model_path],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "loaded openvino []\n"
    assert not list(tmp_path.iterdir())
