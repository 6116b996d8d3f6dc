"""A model cut in two: body and head together score as the whole does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from small_graphs import probe_of_two, tiny_model

from foveal.lab.compression.layers import find_layers
from foveal.lab.compression.split import BodyGraph, HeadGraph, can_split, export_body, export_head
from foveal.lab.export import chain
from foveal.lab.export_trained import GraphError, model_graph
from foveal.lab.trained import TrainedModel
from tiny_backbones import SIZE, TinyModel

Backbone = Callable[[str], TinyModel]


def pixels(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def run(model: bytes, views: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model)
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, views), strict=True))


def judge(model: TrainedModel, views: dict[str, NDArray[np.uint8]]) -> tuple[NDArray[Any], NDArray[Any]]:
    with torch.inference_mode():
        judgement = model.network({name: torch.from_numpy(view) for name, view in views.items()})
    return judgement.quality.numpy()[:, 0], judgement.spread.numpy()[:, 0]


@pytest.fixture(scope="module")
def head(tiny_backbone: Backbone) -> bytes:
    model, body = probe_of_two(tiny_backbone("dino").folder)
    return export_head(model.network, body)


def test_body_and_head_together_score_as_the_model_does(tiny_backbone: Backbone, head: bytes) -> None:
    model, body = probe_of_two(tiny_backbone("dino").folder)
    assert can_split(model.network)
    joined = chain(body.onnx, head)
    onnx.checker.check_model(onnx.load_from_string(joined))
    views = {"whole": pixels(3)}
    given = run(joined, views)
    quality, spread = judge(model, views)
    assert list(given) == ["quality", "spread"]
    np.testing.assert_allclose(given["quality"], quality, atol=1e-4)
    np.testing.assert_allclose(given["spread"], spread, atol=1e-4)
    assert np.ptp(quality) > 1e-3


def test_the_body_gives_what_the_head_was_trained_on(tiny_backbone: Backbone) -> None:
    model, body = probe_of_two(tiny_backbone("dino").folder)
    views = pixels(2)
    with torch.inference_mode():
        expected = model.network.encode("whole", torch.from_numpy(views)).numpy()
    assert body.widths == {"whole": expected.shape[1]}
    np.testing.assert_allclose(run(body.onnx, {"whole": views})[body.features["whole"]], expected, atol=1e-4)


def test_layers_of_the_body_are_called_what_modules_are(tiny_backbone: Backbone) -> None:
    model, body = probe_of_two(tiny_backbone("dino").folder)
    graph = BodyGraph(model.network)
    layers = find_layers(onnx.load_from_string(body.onnx))
    assert len(layers) == 1 + 2 * 6  # patches; queries, keys, values, output and two of the MLP, twice
    for layer in layers:
        module = graph.get_submodule(layer.name)
        weight = module.get_parameter("weight").detach()
        held = next(i for i in onnx.load_from_string(body.onnx).graph.initializer if i.name == layer.weight)
        tensor = layer.matrix(onnx.numpy_helper.to_array(held))
        np.testing.assert_array_equal(tensor, weight.flatten(1).numpy())
        assert layer.bias == f"{layer.name}.bias"


def test_a_head_can_be_exported_that_has_changed_since(tiny_backbone: Backbone, head: bytes) -> None:
    model, body = probe_of_two(tiny_backbone("dino").folder)
    changed = copy.deepcopy(model.network)
    changed.get_parameter("probe.head.quality.bias").data.add_(0.5)
    features = {"features_whole": np.random.default_rng(0).normal(size=(4, body.widths["whole"]))}
    features = {name: rows.astype(np.float32) for name, rows in features.items()}
    before, after = run(head, features), run(export_head(changed, body), features)
    np.testing.assert_allclose(after["quality"], before["quality"] + 0.5, atol=1e-5)
    np.testing.assert_allclose(after["spread"], before["spread"], atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("regressor", {"mode": "last"}),
        ("glia", {"width": 4, "heads": 2, "layers": (1, 3), "readout_width": 4}),
    ],
)
def test_models_that_cannot_be_cut(tiny_vit: Path, kind: str, options: dict[str, Any]) -> None:
    """One whose training changed the backbone, and one that gives a map."""
    model = tiny_model(tiny_vit, kind, **options)
    assert not can_split(model.network)
    with pytest.raises(ValueError, match=f"a model of kind {kind} as trained here has no head of its own"):
        export_body(model)


def test_a_model_without_a_head_has_no_graph_of_it(tiny_backbone: Backbone) -> None:
    model = tiny_model(tiny_backbone("dino").folder, "regressor", mode="last")
    with pytest.raises(ValueError, match="the model has no head of its own"):
        HeadGraph(model.network)


def test_a_body_that_torch_cannot_write(tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise torch.onnx.OnnxExporterError("no such operator\nand a long story") from None

    monkeypatch.setattr(torch.onnx, "export", fail)
    model, _ = probe_of_two(tiny_backbone("dino").folder)
    with pytest.raises(GraphError, match=r"torch cannot write this model as a graph \(no such operator\)$"):
        export_body(model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "kind", "options"),
    [
        ("dino", "probe", {"layers": (1, 3), "views": ("whole", "crop"), "hidden": 6}),
        ("dinov3", "probe", {"views": ("whole",), "hidden": 0}),
        ("clip", "regressor", {"hidden": 5}),
        ("siglip", "probe", {"views": ("crop",), "hidden": 6}),
    ],
)
def test_every_kind_scores_as_the_whole_export(
    tiny_backbone: Backbone, family: str, kind: str, options: dict[str, Any]
) -> None:
    model = tiny_model(tiny_backbone(family).folder, kind, **options)
    body = export_body(model)
    whole, _ = model_graph(model)
    views = {name: pixels(3) + np.uint8(number) for number, name in enumerate(model.network.views)}
    given, expected = run(chain(body.onnx, export_head(model.network, body)), views), run(whole, views)
    assert given.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(given[name], values, atol=1e-4)
    graph = BodyGraph(model.network)
    for layer in find_layers(onnx.load_from_string(body.onnx)):
        assert graph.get_submodule(layer.name).get_parameter("weight").numel() == layer.size
