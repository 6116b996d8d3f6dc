"""Alignment: the projector alone learns to show what descriptions tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from foveal.lab.reasoning.align import Alignment, align_projector
from foveal.lab.reasoning.question import StoredFeatures
from foveal.lab.reasoning.small.build import build_small
from foveal.lab.reasoning.small.shape import DecoderShape
from foveal.lab.reasoning.small.tower import TwoViewConfig, TwoViewTower
from foveal.lab.reasoning.stages import DescribedImages
from foveal.lab.reasoning.vision_language import VisionLanguageModel

COUNT = 400


def make_model() -> VisionLanguageModel:
    trunk = {"widths": [4, 4, 8, 8], "depths": [1, 1, 1, 1]}
    tower = TwoViewTower(TwoViewConfig(trunk="compact", trunk_config=trunk, layers=[4])).eval()
    shape = DecoderShape(width=16, depth=2, heads=2, inner=32, vocabulary=400)
    return build_small(tower, ["very sharp, no visible noise"] * 9, shape)


@pytest.fixture(scope="module")
def images() -> DescribedImages:
    """Sharpness shows in one feature of all places, noise in nothing."""
    random = np.random.default_rng(0)
    tokens = random.normal(size=(COUNT, 49, 16)).astype(np.float16)
    sharpness, noise = random.integers(5, size=(2, COUNT))
    tokens[:, :, 3] += sharpness[:, None]
    degrees = [{"sharpness": int(s), "noise": int(n)} for s, n in zip(sharpness, noise, strict=True)]
    return DescribedImages(degrees, [{}] * COUNT, np.full(COUNT, 3.0), lambda i: StoredFeatures(tokens[i]))


def readable(model: VisionLanguageModel, images: DescribedImages, name: str) -> float:
    """R squared of a degree on the mean projected token, by least squares on images not fitted to."""
    tokens = np.stack([images.picture(i).tokens for i in range(COUNT)]).astype(np.float32)  # type: ignore[union-attr]
    with torch.inference_mode():
        seen = model.projector(torch.from_numpy(tokens)).mean(dim=1).double().numpy()
    wanted = np.array([row[name] for row in images.degrees], np.float64)
    design, half = np.c_[seen, np.ones(COUNT)], COUNT // 2
    weights = np.linalg.lstsq(design[:half], wanted[:half], rcond=None)[0]
    errors = wanted[half:] - design[half:] @ weights
    return 1 - float(errors.var() / wanted[half:].var())


def test_what_can_be_seen_becomes_readable_and_what_cannot_does_not(images: DescribedImages) -> None:
    model = make_model()
    language = {name: value.clone() for name, value in model.model.model.language_model.state_dict().items()}
    told: list[Any] = []
    align_projector(
        model, images, Alignment(epochs=30, batch=50), tell=lambda *progress: told.append(progress)
    )
    assert readable(model, images, "sharpness") > 0.9
    assert readable(model, images, "noise") < 0.2
    assert [step for step, _, _ in told] == list(range(1, 30 * 8 + 1))
    assert np.mean([loss for *_, loss in told[-8:]]) < np.mean([loss for *_, loss in told[:8]]) - 0.2
    for name, value in model.model.model.language_model.state_dict().items():
        assert torch.equal(value, language[name])


def test_the_same_seed_gives_the_same_projector(images: DescribedImages) -> None:
    def aligned(seed: int) -> torch.Tensor:
        model = make_model()
        align_projector(model, images, Alignment(epochs=1), seed=seed)
        return model.projector.linear_1.weight.detach().clone()

    assert torch.equal(aligned(1), aligned(1))
    assert not torch.equal(aligned(1), aligned(2))


def test_no_epochs_leave_it_as_it_is(images: DescribedImages) -> None:
    model = make_model()
    before = model.projector.linear_1.weight.detach().clone()
    align_projector(model, images, Alignment(epochs=0))
    assert torch.equal(model.projector.linear_1.weight, before)


def test_pixels_cannot_be_aligned(images: DescribedImages) -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    seen = DescribedImages(images.degrees, images.places, images.mos, lambda _: pixels)
    with pytest.raises(ValueError, match="stored features"):
        align_projector(make_model(), seen, Alignment())


@pytest.mark.parametrize("wrong", [{"epochs": -1}, {"batch": 0}, {"rate": 0.0}, {"dropout": 1.0}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|must be"):
        Alignment(**wrong)
