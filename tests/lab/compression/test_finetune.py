"""Bodies on grids that learn to give the features they gave before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from small_graphs import arrays, probe_of_two, scales_of

from foveal.lab.compression.finetune import FinetuneConfig, OnGrid, finetune_body
from foveal.lab.compression.layers import Layer, find_layers, read_weights
from foveal.lab.compression.rated_views import RatedViews
from foveal.lab.compression.refit import Features, compute_features
from foveal.lab.compression.sequential import QuantizedGraph, SequentialConfig, quantize_graph
from foveal.lab.compression.split import Body
from foveal.lab.trained import TrainedModel
from tiny_backbones import SIZE, TinyModel

# Fine-tuning takes seconds.
pytestmark = pytest.mark.slow

COUNT = 24
SHAPES = {"whole": (SIZE, SIZE, 3)}


class Case:
    """A tiny body, coarsely quantised, with the features that it gave before."""

    def __init__(self, model: TrainedModel, body: Body) -> None:
        self.model, self.body = model, body
        rng = np.random.default_rng(3)
        colours = rng.uniform(0, 255, (COUNT, 4, 4, 3)).repeat(SIZE // 4, axis=1).repeat(SIZE // 4, axis=2)
        pictures = (colours + rng.normal(0, 20, colours.shape)).clip(0, 255).astype(np.uint8)
        self.images = RatedViews(list(pictures), model.network.views)
        graph = onnx.load_from_string(body.onnx)
        self.layers: list[Layer] = find_layers(graph)
        self.teacher = self.features(body.onnx)
        self.start: QuantizedGraph = quantize_graph(
            graph, self.layers, scales_of(graph, 1.0), list(self.images), SequentialConfig(biases=False)
        )

    def features(self, graph: bytes) -> Features:
        return compute_features(graph, SHAPES, self.body.features, self.images)

    def error(self, graph: onnx.ModelProto) -> float:
        """What fine-tuning minimises, from the features that OpenVINO computes."""
        wanted = self.teacher["whole"]
        given = self.features(graph.SerializeToString())["whole"]
        return float((((given - wanted) / wanted.std(axis=0)) ** 2).mean())

    def finetune(self, **options: Any) -> tuple[QuantizedGraph, list[tuple[int, int, float]]]:
        told: list[tuple[int, int, float]] = []
        config = FinetuneConfig(**{"precision": "fp32", **options})
        done = finetune_body(
            self.model, self.start, self.layers, self.images, self.teacher, config,
            lambda *step: told.append(step),
        )  # fmt: skip
        return done, told


@pytest.fixture(scope="module")
def case(tiny_backbone: Callable[[str], TinyModel]) -> Case:
    return Case(*probe_of_two(tiny_backbone("dino").folder))


@pytest.fixture(scope="module")
def tuned(case: Case) -> tuple[QuantizedGraph, list[tuple[int, int, float]]]:
    return case.finetune(epochs=10, batch=12, lr=5e-3, free_lr=3e-3)


@pytest.mark.slow
def test_features_come_nearer_to_what_they_were(case: Case, tuned: tuple[QuantizedGraph, Any]) -> None:
    done, told = tuned
    assert case.error(done.model) < 0.75 * case.error(case.start.model)
    assert [step[:2] for step in told] == [(number, 20) for number in range(1, 21)]
    onnx.checker.check_model(done.model)


@pytest.mark.slow
def test_the_first_step_sees_the_quantised_graph(case: Case) -> None:
    """So all that the graph holds has found its place in the network."""
    _, told = case.finetune(epochs=1, batch=COUNT)
    assert told[0][2] == pytest.approx(case.error(case.start.model), rel=1e-3)


@pytest.mark.slow
def test_what_was_learnt_is_what_the_graph_computes(case: Case) -> None:
    """The loss of a step is that of the weights which the step before left."""
    once, _ = case.finetune(epochs=1, batch=COUNT, lr=0.05)
    assert any((once.layers[n].levels != case.start.layers[n].levels).any() for n in once.layers)
    # With two epochs the rate of the first step is the same: its peak.
    _, told = case.finetune(epochs=2, batch=COUNT, lr=0.05)
    assert told[1][2] == pytest.approx(case.error(once.model), rel=1e-3)
    assert told[1][2] != pytest.approx(told[0][2], rel=1e-3)


@pytest.mark.slow
def test_weights_stay_on_their_grids(case: Case, tuned: tuple[QuantizedGraph, Any]) -> None:
    done, _ = tuned
    held = read_weights(done.model, case.layers)
    assert done.layers.keys() == {layer.name for layer in case.layers}
    for name, quantized in done.layers.items():
        assert np.array_equal(quantized.scale, case.start.layers[name].scale)
        assert quantized.levels.dtype == np.int8
        assert quantized.levels.shape == case.start.layers[name].levels.shape
        assert np.array_equal(held[name], quantized.weights)
    moved = np.concatenate(
        [
            (done.layers[layer.name].levels != case.start.layers[layer.name].levels).ravel()
            for layer in case.layers
        ]
    )
    assert 0.001 < moved.mean() < 0.5


@pytest.mark.slow
def test_what_has_no_grid_is_trained_too_and_nothing_else_changes(
    case: Case, tuned: tuple[QuantizedGraph, Any]
) -> None:
    before, after = arrays(case.start.model), arrays(tuned[0].model)
    assert list(before) == list(after)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    parameters = {f"network.{name}" for name, _ in case.model.network.named_parameters()}
    weights = {layer.weight for layer in case.layers}
    assert weights & changed
    assert {layer.bias for layer in case.layers} <= changed
    assert any("layernorm" in name for name in changed)
    assert any("position" in name for name in changed)
    assert changed - weights <= parameters


@pytest.mark.slow
def test_the_model_and_the_start_stay_as_they_are(case: Case) -> None:
    state = {name: value.clone() for name, value in case.model.network.state_dict().items()}
    before = case.start.model.SerializeToString()
    levels = {name: item.levels.copy() for name, item in case.start.layers.items()}
    case.finetune(epochs=1)
    now = case.model.network.state_dict()
    assert now.keys() == state.keys()
    assert all(torch.equal(now[name], value) for name, value in state.items())
    assert case.start.model.SerializeToString() == before
    assert all(np.array_equal(case.start.layers[name].levels, value) for name, value in levels.items())


@pytest.mark.slow
def test_equal_seeds_give_equal_bodies(case: Case) -> None:
    one, same, other = (case.finetune(epochs=1, lr=3e-3, seed=seed)[0] for seed in (5, 5, 6))
    assert one.model.SerializeToString() == same.model.SerializeToString()
    assert one.model.SerializeToString() != other.model.SerializeToString()


def test_half_precision_is_enough(case: Case) -> None:
    done, _ = case.finetune(epochs=3, lr=3e-3, free_lr=3e-3, precision="bf16")
    assert case.error(done.model) < case.error(case.start.model)


def test_what_does_not_fit_together(case: Case) -> None:
    short = {"whole": case.teacher["whole"][1:]}
    with pytest.raises(ValueError, match="there must be features of each image"):
        finetune_body(case.model, case.start, case.layers, case.images, short)
    none = RatedViews([], case.images.views)
    with pytest.raises(ValueError, match="no images to fine-tune on"):
        finetune_body(case.model, case.start, case.layers, none, {"whole": case.teacher["whole"][:0]})
    odd = Layer("val_7", case.layers[0].weight, case.layers[0].shape, ("x",), ("y",), 0)
    with pytest.raises(ValueError, match="layer val_7: the model has no module of this name"):
        finetune_body(case.model, case.start, [odd], case.images, case.teacher)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "0 epochs in batches of 12"),
        ({"batch": 0}, "2 epochs in batches of 0"),
        ({"lr": 0.0}, "lr and free_lr must be above 0"),
        ({"free_lr": float("nan")}, "lr and free_lr must be above 0"),
        ({"precision": "fp16"}, "precision is 'fp16', expected 'bf16' or 'fp32'"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FinetuneConfig(**options)


def grid_and_weights() -> tuple[OnGrid, torch.Tensor]:
    torch.manual_seed(1)
    scale = torch.tensor([0.3, 1e-12, 2.0])
    return OnGrid(scale), torch.randn(3, 4, 2, 2, requires_grad=True)


def test_weights_are_rounded_to_the_last_bit_and_gradients_pass() -> None:
    grid, weights = grid_and_weights()
    rounded = grid(weights)
    levels = (weights.detach() / grid.scale.view(3, 1, 1, 1)).round().clamp(-127, 127)
    assert torch.equal(rounded.detach(), levels * grid.scale.view(3, 1, 1, 1))
    assert torch.equal(rounded[1].detach().abs(), torch.full((4, 2, 2), 127) * torch.tensor(1e-12))
    loss_weights = torch.randn_like(weights)
    torch.autograd.backward((rounded * loss_weights).sum())
    assert weights.grad is not None
    assert torch.equal(weights.grad, loss_weights)
