"""Fixtures that all tests share: synthesised pictures and tiny artifacts that honour the graph contract."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from foveal.artifact.card import Calibration, Card, SideRange, ViewSpec
from foveal.artifact.file import Artifact, write_artifact
from foveal.artifact.onnx_wire import detach_initializers

pytest_plugins = ["no_skips", "tiny_backbones"]

REPOSITORY = Path(__file__).resolve().parents[1]
VIEWS = {"whole": ViewSpec("whole"), "fragments": ViewSpec("fragments")}


def _make_photo(height: int = 300, width: int = 400, seed: int = 0) -> NDArray[np.uint8]:
    """A textured colour picture: smooth shading, edges and a little grain; uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[0:height, 0:width] / max(height, width)
    phases = rng.uniform(0, 2 * np.pi, (3, 2))
    waves = [
        np.sin(9 * down + a) + np.cos(13 * right + b) + np.sin(60 * (down + right) + a) for a, b in phases
    ]
    picture = 128 + 30 * np.stack(waves, axis=-1) + rng.normal(0, 8, (height, width, 3))
    picture[height // 4 : height // 2, width // 3 : width // 2] += rng.uniform(-60, 60, 3)
    return picture.clip(0, 255).astype(np.uint8)


def _tiny_model(*, seed: int = 11, quantized: bool = False) -> onnx.ModelProto:
    """A real two-view network: a strided convolution a view, pooled, mapped to quality 1-5 and spread > 0.

    Args:
        seed: of the random weights; this one gives scores in the middle of the scale that differ well.
        quantized: store the convolutions' weights as int8 behind DequantizeLinear, as QDQ exporters do.
    """
    rng = np.random.default_rng(seed)
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value: NDArray[np.generic]) -> str:
        weights.append(numpy_helper.from_array(value, name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def kernel(name: str, value: NDArray[np.float32]) -> str:
        if not quantized:
            return constant(name, value)
        scale = np.float32(np.abs(value).max() / 127)
        constant(f"{name}.int8", np.round(value / scale).astype(np.int8))
        constant(f"{name}.scale", np.array(scale, np.float32))
        constant(f"{name}.zero", np.array(0, np.int8))
        return node("DequantizeLinear", [f"{name}.int8", f"{name}.scale", f"{name}.zero"], name)

    for view in VIEWS:
        node("Cast", [view], f"{view}.float", to=TensorProto.FLOAT)
        node("Div", [f"{view}.float", constant(f"{view}.white", np.array(255, np.float32))], f"{view}.unit")
        node("Transpose", [f"{view}.unit"], f"{view}.nchw", perm=[0, 3, 1, 2])
        weight = kernel(f"{view}.weight", rng.normal(0, 0.2, (8, 3, 5, 5)).astype(np.float32))
        node("Conv", [f"{view}.nchw", weight], f"{view}.conv", strides=[4, 4])
        node("Relu", [f"{view}.conv"], f"{view}.relu")
        node("GlobalAveragePool", [f"{view}.relu"], f"{view}.pool")
        node("Flatten", [f"{view}.pool"], f"{view}.features")
    node("Concat", [f"{view}.features" for view in VIEWS], "features", axis=1)
    head = constant("head.weight", rng.normal(0, 1.5, (16, 2)).astype(np.float32))
    node("MatMul", ["features", head], "head")
    node("Split", ["head"], "unused", axis=1, num_outputs=2)
    nodes[-1].output[:] = ["quality.raw", "spread.raw"]
    node("Sigmoid", ["quality.raw"], "quality.unit")
    node("Mul", ["quality.unit", constant("four", np.array(4, np.float32))], "quality.scaled")
    node("Add", ["quality.scaled", constant("one", np.array(1, np.float32))], "quality.column")
    node("Softplus", ["spread.raw"], "spread.positive")
    node("Add", ["spread.positive", constant("least", np.array(0.05, np.float32))], "spread.column")
    axis = constant("axis", np.array([1], np.int64))
    node("Squeeze", ["quality.column", axis], "quality")
    node("Squeeze", ["spread.column", axis], "spread")

    inputs = [helper.make_tensor_value_info(v, TensorProto.UINT8, ["N", 224, 224, 3]) for v in VIEWS]
    outputs = [helper.make_tensor_value_info(o, TensorProto.FLOAT, ["N"]) for o in ("quality", "spread")]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _tiny_card(name: str = "tiny") -> Card:
    """A card with every field filled in."""
    return Card(
        name=name,
        version="0.0.1",
        licence="Apache-2.0",
        summary="A random network for tests.",
        training_data="none",
        views=VIEWS,
        measured={"BIQ2021 official test SRCC": 0.5},
        calibration=Calibration(
            coverage=0.9, factor=1.5, count=100, measured_coverage=0.91, method="split conformal"
        ),
        trained_on=SideRange(min_side=224, max_side=1024),
        recipe="tests/conftest.py",
        created="2025-01-01",
    )


def _make_artifact(model: onnx.ModelProto, name: str = "tiny") -> Artifact:
    """Wrap an ONNX model as the lab does."""
    graph, weights = detach_initializers(model.SerializeToString())
    return Artifact(card=_tiny_card(name), graph=graph, weights=weights)


@pytest.fixture(scope="session")
def tiny_onnx() -> onnx.ModelProto:
    """The tiny float32 network as an ONNX model."""
    return _tiny_model()


@pytest.fixture(scope="session")
def tiny_artifact(tiny_onnx: onnx.ModelProto) -> Artifact:
    """A small working assessor in memory: named tiny@0.0.1."""
    return _make_artifact(tiny_onnx)


@pytest.fixture(scope="session")
def tiny_int8_artifact() -> Artifact:
    """The same network with int8 weights behind DequantizeLinear."""
    return _make_artifact(_tiny_model(quantized=True), "tiny-int8")


@pytest.fixture(scope="session")
def tiny_model_path(tiny_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny assessor as a file, for ``foveal.load`` and ``--model``."""
    path = tmp_path_factory.mktemp("models") / "tiny.foveal.safetensors"
    write_artifact(path, tiny_artifact)
    return path


@pytest.fixture(scope="session")
def make_photo() -> Callable[..., NDArray[np.uint8]]:
    """Makes pictures: ``make_photo(height=300, width=400, seed=0)``, uint8 (height, width, 3)."""
    return _make_photo


@pytest.fixture
def photo() -> NDArray[np.uint8]:
    """A synthesised colour picture, uint8 (300, 400, 3)."""
    return _make_photo()


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """A folder of six files: four good pictures (one in a subfolder), one corrupt and one that is text.

    ``a.jpg``, ``b.png``, ``c.webp``, ``inner/d.jpg``; ``broken.jpg`` (cut in half); ``notes.txt``.
    """
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for seed, name in enumerate(["a.jpg", "b.png", "c.webp", "inner/d.jpg"]):
        Image.fromarray(_make_photo(240 + 20 * seed, 320, seed)).save(folder / name)
    whole = (folder / "a.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("not a picture\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Data that is not part of the repository: ``FOVEAL_SHARED``, or ``shared`` beside the repository."""
    folder = Path(os.environ.get("FOVEAL_SHARED") or REPOSITORY.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no shared data: {folder} is not there; FOVEAL_SHARED may name another folder")
    return folder
