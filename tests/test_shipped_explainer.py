"""The shipped explainer on the example photographs: it runs, is small, and sees what was done to them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from foveal.explanation.explainer import Explainer, load_explainer, shipped
from foveal.explanation.explanation import Explanation
from foveal.explanation.words import TOLD, degrees_of

EXAMPLES = Path(__file__).parents[1] / "examples"
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return load_explainer()


@pytest.fixture(scope="module")
def explained(explainer: Explainer) -> Callable[[str], Explanation]:
    """Explains an example, each once: ``explained("photos/coffee.jpg")``."""
    return cache(lambda name: explainer(EXAMPLES / name))


def test_the_file_is_small() -> None:
    assert shipped().stat().st_size < 15e6


@pytest.mark.parametrize("name", PHOTOS)
def test_every_attribute_is_told_and_levels_add_up(
    explained: Callable[[str], Explanation], name: str
) -> None:
    explanation = explained(f"photos/{name}.jpg")
    assert set(degrees_of(explanation.description)) == set(TOLD)
    assert sum(explanation.verdict.probabilities.values()) == pytest.approx(1)


def test_the_same_image_is_explained_alike(
    explainer: Explainer, explained: Callable[[str], Explanation]
) -> None:
    before = explained("photos/chelsea.jpg")
    explained("photos/coffee.jpg")
    assert explainer(EXAMPLES / "photos" / "chelsea.jpg").to_dict() == before.to_dict()


def test_blur_is_said_and_lowers_the_verdict(explained: Callable[[str], Explanation]) -> None:
    sharp, blurred = explained("photos/coffee.jpg"), explained("degraded/coffee--blur-0.8.jpg")
    assert degrees_of(blurred.description)["sharpness"] == 0 < degrees_of(sharp.description)["sharpness"]
    assert blurred.verdict.quality < sharp.verdict.quality - 1


def test_noise_is_said(explained: Callable[[str], Explanation]) -> None:
    clean, noisy = explained("photos/chelsea.jpg"), explained("degraded/chelsea--noise-0.8.jpg")
    assert degrees_of(noisy.description)["noise"] == 4 > degrees_of(clean.description)["noise"]
