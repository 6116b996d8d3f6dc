"""From a network to the artifact: the graph gives what torch gives, in fp32 and nearly so in int8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from PIL import Image
from torch import nn

import foveal
from foveal.artifact import Artifact, read_artifact, write_artifact
from foveal.artifact.card import Card
from foveal.imaging.degradations import degrade
from foveal.imaging.views import fragment_view, whole_view
from foveal.lab.export import chain, example_views, to_artifact, to_onnx
from foveal.lab.models.compact import CompactConfig, CompactNet
from foveal.lab.training.compact_export import (
    INPUTS,
    PooledTrunk,
    assemble,
    compute_features,
    export_trunk,
)
from foveal.lab.training.head import Head, HeadConfig
from foveal.runtime import make_engine

Pixels = NDArray[np.uint8]
Views = dict[str, Pixels]
OUTPUTS = ("quality", "spread")
FEATURES = 2 * (8 + 16 + 16)

# Exports take seconds each.
pytestmark = pytest.mark.slow


def teach(network: nn.Module, *inputs: NDArray[np.generic], steps: int = 60) -> None:
    """Let a fresh network learn some scores by heart: they differ by more than what int8 moves them."""
    tensors = [torch.from_numpy(batch) for batch in inputs]
    wanted = torch.linspace(1.5, 4.5, len(tensors[0]))
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    network.train()
    for _ in range(steps):
        loss = nn.functional.mse_loss(network(*tensors)[0], wanted)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    network.eval()


@pytest.fixture(scope="module")
def network(views: Views) -> CompactNet:
    torch.manual_seed(0)
    network = CompactNet(CompactConfig((8, 8, 16, 16), (1, 1, 1, 1), signature=12, hidden=8))
    teach(network, views["whole"], views["fragments"])
    return network


@pytest.fixture(scope="module")
def photos(make_photo: Callable[..., Pixels]) -> list[Pixels]:
    """Pictures that differ in size, light, sharpness and grain."""
    kinds = ("blur", "noise", "underexposure", "overexposure", "contrast-loss", "jpeg")
    return [
        degrade(make_photo(240 + 20 * i, 320, seed=i), kinds[i % 6], 0.5 if i < 6 else 0.9) for i in range(12)
    ]


@pytest.fixture(scope="module")
def views(photos: list[Pixels]) -> Views:
    return {
        "whole": np.stack([whole_view(photo) for photo in photos]),
        "fragments": np.stack([fragment_view(photo) for photo in photos]),
    }


def judge(network: nn.Module, views: Views) -> dict[str, NDArray[np.float32]]:
    with torch.inference_mode():
        results = network(*(torch.from_numpy(views[name]) for name in INPUTS))
    return {name: values.numpy() for name, values in zip(OUTPUTS, results, strict=True)}


@pytest.fixture(scope="module")
def model(network: CompactNet) -> bytes:
    return to_onnx(network, example_views(2), INPUTS, OUTPUTS)


@pytest.mark.parametrize("count", [1, 3])
def test_onnx_gives_what_torch_gives(network: CompactNet, model: bytes, views: Views, count: int) -> None:
    some = {name: batch[:count] for name, batch in views.items()}
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    outputs = dict(zip(OUTPUTS, session.run(OUTPUTS, some), strict=True))
    for name, expected in judge(network, some).items():
        assert outputs[name].shape == (count,)
        np.testing.assert_allclose(outputs[name], expected, atol=1e-4)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_both_engines_give_what_torch_gives(
    network: CompactNet, model: bytes, views: Views, tiny_artifact: Artifact, engine: str
) -> None:
    outputs = make_engine(to_artifact(model, tiny_artifact.card), engine=engine, threads=2).run(views)
    expected = judge(network, views)
    assert np.ptp(expected["quality"]) > 1  # the test would be empty if all images scored alike
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values, atol=1e-4)


def test_the_graph_takes_views_of_eight_bits_in_any_number(model: bytes) -> None:
    graph = onnx.load_from_string(model).graph
    assert [value.name for value in graph.input] == list(INPUTS)
    assert [value.name for value in graph.output] == list(OUTPUTS)
    for value in graph.input:
        tensor = value.type.tensor_type
        assert tensor.elem_type == TensorProto.UINT8
        batch, *rest = tensor.shape.dim
        assert batch.dim_param
        assert [size.dim_value for size in rest] == [224, 224, 3]


def test_no_batch_norm_is_left_behind_a_convolution(model: bytes, network: CompactNet) -> None:
    graph = onnx.load_from_string(model).graph
    convolved = {node.output[0] for node in graph.node if node.op_type == "Conv"}
    assert len(convolved) == sum(isinstance(part, nn.Conv2d) for part in network.modules())
    normed = [node.input[0] for node in graph.node if node.op_type == "BatchNormalization"]
    assert convolved.isdisjoint(normed)


class Sum(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + 2 * b


class Twins(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + 1, x * x


def test_a_chain_feeds_outputs_into_the_inputs_of_their_names() -> None:
    first = to_onnx(Twins(), (torch.randn(2, 3),), ["x"], ["b", "a"])  # not in the order of the second
    second = to_onnx(Sum(), (torch.randn(2, 3), torch.randn(2, 3)), ["a", "b"], ["y"])
    joined = chain(first, second)
    onnx.checker.check_model(joined, full_check=True)
    session = onnxruntime.InferenceSession(joined, providers=["CPUExecutionProvider"])
    assert [port.name for port in session.get_inputs()] == ["x"]
    assert [port.name for port in session.get_outputs()] == ["y"]
    for count in (1, 4):
        x = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
        np.testing.assert_allclose(session.run(None, {"x": x})[0], x * x + 2 * (x + 1), rtol=1e-5)


@pytest.fixture(scope="module")
def trunk(network: CompactNet, views: Views) -> bytes:
    """The int8 trunk; calibrated on rows 2 i and 2 i + 1 of the views in one array."""
    return export_trunk(network, interleave(views), [(2 * i, 2 * i + 1) for i in range(12)])


def interleave(views: Views) -> Pixels:
    """Views as a store keeps them: whole and fragments of image after image."""
    return np.stack([views["whole"], views["fragments"]], axis=1).reshape(-1, 224, 224, 3)


def test_the_int8_trunk_stores_bytes(network: CompactNet, trunk: bytes, tiny_artifact: Artifact) -> None:
    weights = to_artifact(trunk, tiny_artifact.card).weights.values()
    kernels = {value.shape for value in weights if value.ndim == 4 and value.dtype == np.int8}
    assert kernels == {part.weight.shape for part in network.modules() if isinstance(part, nn.Conv2d)}
    assert not [value for value in weights if value.ndim == 4 and value.dtype == np.float32]
    count = sum(part.weight.numel() for part in network.modules() if isinstance(part, nn.Conv2d))
    assert sum(value.nbytes for value in weights) < 2 * count  # four bytes a weight before


def test_scores_on_the_features_of_the_int8_trunk_are_close(
    network: CompactNet, trunk: bytes, views: Views
) -> None:
    features = torch.from_numpy(compute_features(trunk, interleave(views), FEATURES))
    with torch.inference_mode():
        quality = network.judge(features[::2], features[1::2])[0].numpy()
    expected = judge(network, views)["quality"]
    assert 0 < np.abs(quality - expected).mean() < 0.3
    assert np.corrcoef(quality, expected)[0, 1] > 0.9


@pytest.mark.parametrize("count", [24, 7])
def test_features_of_every_view_of_a_store(
    network: CompactNet, trunk: bytes, views: Views, count: int
) -> None:
    pixels = interleave(views)[:count]
    features = compute_features(trunk, pixels, FEATURES)
    assert features.shape == (count, FEATURES)
    with torch.inference_mode():
        whole, fragments = PooledTrunk(network)(torch.from_numpy(pixels), torch.from_numpy(pixels))
    torch.testing.assert_close(whole, fragments, atol=1e-4, rtol=0)  # both inputs go through one trunk
    exact = whole.numpy()
    assert 0 < np.mean((features - exact) ** 2) < 0.3 * np.mean((exact - exact.mean(axis=0)) ** 2)
    # A view's features do not depend on the input that it came in by, or on its neighbour.
    np.testing.assert_allclose(compute_features(trunk, pixels[::-1], FEATURES)[::-1], features, atol=1e-5)


def test_the_whole_way_to_an_assessor(
    trunk: bytes, photos: list[Pixels], views: Views, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    features = compute_features(trunk, interleave(views), FEATURES)
    head = Head(FEATURES, HeadConfig(signature=12, hidden=8))
    teach(head, features[::2], features[1::2])
    card: Card = tiny_artifact.card
    path = tmp_path / "small.foveal.safetensors"
    write_artifact(path, to_artifact(assemble(trunk, head), card), store_float16=True)
    assert path.stat().st_size < 250_000
    with torch.inference_mode():
        quality, spread = head(torch.from_numpy(features[::2]), torch.from_numpy(features[1::2]))
    assert quality.max() - quality.min() > 1
    for engine in ("openvino", "onnxruntime"):
        assessor = foveal.load(path, engine=engine, threads=1)
        assert assessor.card == card
        for i, photo in enumerate(photos):
            Image.fromarray(photo).save(tmp_path / f"{i}.png")
            assessment = assessor(tmp_path / f"{i}.png")
            assert assessment.quality == pytest.approx(float(quality[i]), abs=0.02)
            reach = card.calibration.factor * float(spread[i])
            low, high = max(1.0, assessment.quality - reach), min(5.0, assessment.quality + reach)
            assert assessment.interval.low == pytest.approx(low, abs=0.03)
            assert assessment.interval.high == pytest.approx(high, abs=0.03)


def test_an_fp32_network_gives_the_same_quality_through_the_assessor(
    network: CompactNet, model: bytes, photos: list[Pixels], tiny_artifact: Artifact, tmp_path: Path
) -> None:
    path = tmp_path / "float.foveal.safetensors"
    write_artifact(path, to_artifact(model, tiny_artifact.card))
    weights = read_artifact(path).weights
    assert sum(v.size for v in weights.values()) >= sum(
        part.weight.numel() for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)
    )
    assert {numpy_helper.to_array(t).dtype for t in onnx.load_from_string(model).graph.initializer} == {
        v.dtype for v in weights.values()
    }
    assessor = foveal.load(path, threads=1)
    for photo in photos[:4]:
        single = {"whole": whole_view(photo)[None].copy(), "fragments": fragment_view(photo)[None]}
        assert assessor(photo).quality == pytest.approx(float(judge(network, single)["quality"][0]), abs=1e-4)


def test_an_artifact_holds_no_paths_of_the_machine_that_made_it(
    model: bytes, tiny_artifact: Artifact
) -> None:
    here = str(Path(foveal.__file__).parents[1]).encode()
    assert here in model  # the exporter notes where each node comes from
    artifact = to_artifact(model, tiny_artifact.card)
    assert here not in artifact.graph
    assert b"site-packages" not in artifact.graph
    onnx.checker.check_model(onnx.load_from_string(artifact.model_bytes()))
