"""Heads fitted anew to features that have changed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from small_graphs import node, random
from torch import Tensor, nn

from foveal.artifact.card import ViewSpec
from foveal.evaluation.correlation import srcc
from foveal.lab.compression.refit import RatedFeatures, RefitConfig, compute_features, refit_head
from foveal.lab.models.base import Judgement, JudgementHead, QualityModel
from foveal.lab.training.config import TrainingConfig

WIDTH = 8
FAST = RefitConfig(TrainingConfig(epochs=12, batch=32, lr=0.05, weight_decay=0.0, validation_batch=200))


class Standardised(nn.Module):
    """A linear head on standardised features of two views."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(2 * WIDTH))
        self.judge = JudgementHead(2 * WIDTH)

    def forward(self, features: Mapping[str, Tensor]) -> Judgement:
        judgement: Judgement = self.judge(torch.cat([features["whole"], features["crop"]], dim=1) - self.mean)
        return judgement


class HeadAlone(QualityModel):
    """A model of which nothing is there but its head."""

    def __init__(self, direction: NDArray[np.float32]) -> None:
        super().__init__()
        self.views = {"whole": ViewSpec("whole", 28), "crop": ViewSpec("crop", 28)}
        self.head = Standardised()
        with torch.no_grad():
            self.head.judge.quality.weight.copy_(torch.from_numpy(direction)[None])

    def frozen_head(self) -> nn.Module | None:
        return self.head

    def standardise(self, features: Mapping[str, list[Tensor]]) -> None:  # type: ignore[override]
        self.head.mean.copy_(torch.cat([features[name][0].mean(dim=0) for name in self.views]))


class NoHead(HeadAlone):
    def frozen_head(self) -> nn.Module | None:
        return None


DIRECTION = random(2 * WIDTH, seed=1, size=0.2)


def rated(
    count: int, seed: int, change: NDArray[np.float32] | None = None, shift: float = 0.0
) -> RatedFeatures:
    """Features whose rating follows :data:`DIRECTION`, then changed by a matrix and a shift."""
    features = random(count, 2 * WIDTH, seed=seed)
    scores = 3 + features @ DIRECTION + random(count, seed=seed, size=0.05)
    if change is not None:
        features = features @ change
    features += np.float32(shift)
    return RatedFeatures(
        {"whole": features[:, :WIDTH], "crop": features[:, WIDTH:]}, scores[:, None].astype(np.float64)
    )


def agreement(network: QualityModel, part: RatedFeatures) -> float:
    head = network.frozen_head()
    assert head is not None
    with torch.inference_mode():
        judged = head({name: torch.from_numpy(rows) for name, rows in part.features.items()})
    return srcc(judged.quality[:, 0].double().numpy(), part.rated[:, 0])


def rotation() -> NDArray[np.float32]:
    matrix, _ = np.linalg.qr(random(2 * WIDTH, 2 * WIDTH, seed=7))
    return matrix.astype(np.float32)


def test_a_head_learns_to_read_features_that_were_turned_and_shifted() -> None:
    network = HeadAlone(DIRECTION)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train, validation, test = (
        rated(count, seed, rotation(), 4.0) for count, seed in ((320, 2), (100, 3), (200, 4))
    )
    assert agreement(network, test) < 0.6
    fitted, reached = refit_head(network, train, validation, FAST)
    assert agreement(fitted, test) > 0.95
    assert reached == pytest.approx(agreement(fitted, validation), abs=1e-6)
    assert not fitted.training
    # Statistics are those of the training part, and the network that was given is what it was.
    mean = torch.from_numpy(np.concatenate([rows.mean(axis=0) for rows in train.features.values()]))
    assert torch.allclose(fitted.get_buffer("head.mean"), mean, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_head_that_is_right_stays_right() -> None:
    network = HeadAlone(DIRECTION)
    test = rated(200, 4)
    fitted, _ = refit_head(network, rated(256, 2), rated(100, 3))
    assert agreement(fitted, test) > agreement(network, test) - 0.005


def test_fitting_twice_gives_the_same() -> None:
    parts = rated(320, 2, rotation()), rated(100, 3, rotation())
    first, second = (refit_head(HeadAlone(DIRECTION), *parts, FAST) for _ in range(2))
    assert first[1] == second[1]
    other = second[0].state_dict()
    assert all(torch.equal(value, other[name]) for name, value in first[0].state_dict().items())


def test_ratings_that_are_missing_are_left_out() -> None:
    train = rated(320, 2, rotation())
    train.rated[::5] = np.nan
    fitted, reached = refit_head(HeadAlone(DIRECTION), train, rated(100, 3, rotation()), FAST)
    assert np.isfinite(reached)
    assert agreement(fitted, rated(200, 4, rotation())) > 0.9


def test_few_images_are_one_batch() -> None:
    network, validation = HeadAlone(DIRECTION), rated(100, 3)
    fitted, _ = refit_head(network, rated(20, 2), validation, FAST)
    assert not torch.equal(
        fitted.get_parameter("head.judge.quality.weight"), network.head.judge.quality.weight
    )
    assert agreement(fitted, validation) > 0.9


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="NoHead as trained here has no head of its own"):
        refit_head(NoHead(DIRECTION), rated(320, 2), rated(100, 3))
    with pytest.raises(ValueError, match="1 training images do not fill one batch of 2"):
        refit_head(HeadAlone(DIRECTION), rated(1, 2), rated(100, 3), FAST)


def body() -> bytes:
    """Two outputs from two inputs: the mean colour of the one, and minus that of the other."""
    nodes = []
    for name in ("whole", "crop"):
        nodes.append(node("Cast", [name], f"{name}.float", to=TensorProto.FLOAT))
        nodes.append(node("ReduceMean", [f"{name}.float", "axes"], f"features_{name}", keepdims=0))
    nodes[-1].output[0] = "positive"
    nodes.append(node("Neg", ["positive"], "features_crop"))
    graph = helper.make_graph(
        nodes,
        "body",
        [helper.make_tensor_value_info(n, TensorProto.UINT8, ["N", 28, 28, 3]) for n in ("whole", "crop")],
        [
            helper.make_tensor_value_info(f"features_{n}", TensorProto.FLOAT, ["N", 3])
            for n in ("whole", "crop")
        ],
        [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def test_features_are_those_of_each_view_in_order() -> None:
    rng = np.random.default_rng(0)
    views = [
        {name: rng.integers(0, 256, (1, 28, 28, 3), dtype=np.uint8) for name in ("crop", "whole")}
        for _ in range(7)
    ]
    shapes = dict.fromkeys(("whole", "crop"), (28, 28, 3))
    outputs = {"whole": "features_whole", "crop": "features_crop"}
    features = compute_features(body(), shapes, outputs, iter(views))
    assert list(features) == ["whole", "crop"]
    for name, sign in (("whole", 1), ("crop", -1)):
        expected = [sign * view[name][0].mean(axis=(0, 1)) for view in views]
        np.testing.assert_allclose(features[name], expected, rtol=1e-5)
    with pytest.raises(ValueError, match="no images to compute features of"):
        compute_features(body(), shapes, outputs, [])
