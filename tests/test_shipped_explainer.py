"""The shipped explainer on the example photographs: it runs, is small, and sees what was done to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.explanation.explainer import Explainer, load_explainer, shipped
from foveal.explanation.words import TOLD, degrees_of

EXAMPLES = Path(__file__).parents[1] / "examples"
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return load_explainer()


def test_the_file_is_small() -> None:
    assert shipped().stat().st_size < 15e6


@pytest.mark.parametrize("name", PHOTOS)
def test_every_attribute_is_told_and_levels_add_up(explainer: Explainer, name: str) -> None:
    explanation = explainer(EXAMPLES / "photos" / f"{name}.jpg")
    assert set(degrees_of(explanation.description)) == set(TOLD)
    assert sum(explanation.verdict.probabilities.values()) == pytest.approx(1)
    assert explanation.to_dict() == explainer(EXAMPLES / "photos" / f"{name}.jpg").to_dict()


def test_blur_is_said_and_lowers_the_verdict(explainer: Explainer) -> None:
    sharp = explainer(EXAMPLES / "photos" / "coffee.jpg")
    blurred = explainer(EXAMPLES / "degraded" / "coffee--blur-0.8.jpg")
    assert degrees_of(blurred.description)["sharpness"] == 0 < degrees_of(sharp.description)["sharpness"]
    assert blurred.verdict.quality < sharp.verdict.quality - 1


def test_noise_is_said(explainer: Explainer) -> None:
    clean = explainer(EXAMPLES / "photos" / "chelsea.jpg")
    noisy = explainer(EXAMPLES / "degraded" / "chelsea--noise-0.8.jpg")
    assert degrees_of(noisy.description)["noise"] == 4 > degrees_of(clean.description)["noise"]
