"""Preparing and judging as two steps: together they are what calling an assessor does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

import prompt_models
from foveal.artifact.file import Artifact
from foveal.assessor import Assessor
from foveal.errors import ImageError, MissingPromptError, PromptError
from foveal.runtime import make_engine

MakePhoto = Callable[..., NDArray[np.uint8]]


@pytest.fixture(scope="module")
def assessor(tiny_artifact: Artifact) -> Assessor:
    return Assessor(tiny_artifact, make_engine(tiny_artifact, threads=1))


@pytest.fixture(scope="module")
def prompted() -> Assessor:
    artifact = prompt_models.make_artifact()
    return Assessor(artifact, make_engine(artifact, threads=1))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_any_number_is_judged_at_once(assessor: Assessor, make_photo: MakePhoto, count: int) -> None:
    photos = [make_photo(100 + seed, 120, seed) for seed in range(count)]
    together = assessor.judge([assessor.prepare(photo, name=str(seed)) for seed, photo in enumerate(photos)])
    assert together == [assessor(photo, name=str(seed)) for seed, photo in enumerate(photos)]


def test_prompts_stay_with_their_images(prompted: Assessor, photo: NDArray[np.uint8]) -> None:
    texts = ["red fox", "castle by night", ""]
    together = prompted.judge([prompted.prepare(photo, prompt=text) for text in texts])
    assert together == [prompted(photo, prompt=text) for text in texts]
    assert len({row.aspects.get("correspondence") for row in together}) == 3


def test_errors_come_while_preparing(
    assessor: Assessor, prompted: Assessor, photo: NDArray[np.uint8]
) -> None:
    with pytest.raises(ImageError, match="mine: "):
        assessor.prepare(b"no image", name="mine")
    with pytest.raises(PromptError):
        assessor.prepare(photo, prompt="a fox")
    with pytest.raises(MissingPromptError):
        prompted.prepare(photo)
