"""Views of images, one at a time, with their scores."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from foveal.artifact.card import ViewSpec
from foveal.assessor import cut_views
from foveal.errors import ImageError
from foveal.lab.compression.rated_views import RatedViews

VIEWS = {"whole": ViewSpec("whole", 56), "fragments": ViewSpec("fragments", 112, 1)}


def pictures(count: int) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(2)
    return [rng.integers(0, 256, (130 + number, 150, 3), dtype=np.uint8) for number in range(count)]


def test_views_are_those_that_an_assessor_cuts_in_the_order_of_the_images() -> None:
    """More of them than are cut ahead, and again in a second pass."""
    images = pictures(11)
    views = RatedViews(images, VIEWS)
    assert len(views) == 11
    for _ in range(2):
        cut = list(views)
        assert len(cut) == 11
        for image, seen in zip(images, cut, strict=True):
            expected = cut_views(image, VIEWS)
            assert seen.keys() == VIEWS.keys()
            for name, spec in VIEWS.items():
                assert seen[name].shape == (1, spec.side, spec.side, 3)
                assert seen[name].dtype == np.uint8
                assert np.array_equal(seen[name][0], expected[name])


def test_images_may_be_files_as_bytes() -> None:
    (image,) = pictures(1)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    own, same = list(RatedViews([image, buffer.getvalue()], VIEWS))
    assert all(np.array_equal(own[name], same[name]) for name in VIEWS)


def test_an_image_that_cannot_be_decoded() -> None:
    stream = iter(RatedViews([*pictures(1), b"no image"], VIEWS))
    next(stream)
    with pytest.raises(ImageError):
        next(stream)


def test_some_are_evenly_spaced_and_keep_their_scores() -> None:
    rated = np.arange(20.0).reshape(10, 2)
    views = RatedViews(list(range(10)), VIEWS, rated)
    four = views.some(4)
    assert four.images == [0, 3, 6, 9]
    assert four.rated is not None
    assert np.array_equal(four.rated, rated[[0, 3, 6, 9]])
    assert four.views == VIEWS
    assert views.some(10) is views
    assert views.some(99) is views
    assert views.some(1).images == [0]


def test_some_rows_in_any_order() -> None:
    views = RatedViews(list("abcd"), VIEWS, np.arange(4.0)[:, None])
    taken = views.take(np.array([3, 0, 3]))
    assert taken.images == ["d", "a", "d"]
    assert taken.rated is not None
    assert taken.rated.ravel().tolist() == [3, 0, 3]
    assert RatedViews(list("abcd"), VIEWS).take(np.array([1])).rated is None


def test_scores_must_be_of_the_images() -> None:
    with pytest.raises(ValueError, match="3 scores for 4 images"):
        RatedViews(list("abcd"), VIEWS, np.zeros((3, 1)))
