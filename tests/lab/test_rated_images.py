"""Batches of views: the assessor's own without augmentation, repeatable with it, the same on any thread."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.artifact.card import ViewSpec
from foveal.assessor import cut_views
from foveal.errors import ImageError
from foveal.imaging.decode import decode
from foveal.imaging.views import crop_view, whole_view
from foveal.lab.training.data import Augmentation, Batch, RatedImages, augmented_views
from foveal.ratings.table import DatasetCard, Ratings

VIEWS = {
    "whole": ViewSpec("whole", 56),
    "fragments": ViewSpec("fragments", 56),
    "crop": ViewSpec("crop", 56),
}
POSITIONS = [np.array([3, 0, 7]), np.array([5, 1])]


def batches(ratings: Ratings, seed: int = 0, **options: Any) -> list[Batch]:
    return list(RatedImages(ratings, VIEWS, seed=seed).batches(POSITIONS, **options))


def test_without_augmentation_they_are_the_views_of_the_assessor(rated_pictures: Ratings) -> None:
    quality = rated_pictures.quality()
    for draw in (0, 2):
        for batch, chosen in zip(batches(rated_pictures, draw=draw), POSITIONS, strict=True):
            for row, index in enumerate(chosen):
                pixels = decode(rated_pictures.images[index]).pixels
                for name, view in cut_views(pixels, VIEWS, draw=draw).items():
                    assert np.array_equal(batch.views[name][row].numpy(), view)
                assert batch.rated[row, 0] == pytest.approx(quality[index], rel=1e-6)


def test_draws_move_the_fragments_only(rated_pictures: Ratings) -> None:
    first, second = (batches(rated_pictures, draw=draw)[0].views for draw in (0, 1))
    assert torch.equal(first["whole"], second["whole"])
    assert torch.equal(first["crop"], second["crop"])
    assert not torch.equal(first["fragments"], second["fragments"])


def test_augmentation_depends_on_seed_epoch_and_image_alone(rated_pictures: Ratings) -> None:
    options: dict[str, Any] = {"augmentation": Augmentation(least_kept=0.8), "epoch": 3}
    expected = batches(rated_pictures, **options)
    for other in (batches(rated_pictures, workers=3, **options), batches(rated_pictures, **options)):
        for a, b in zip(expected, other, strict=True):
            assert all(torch.equal(a.views[name], b.views[name]) for name in VIEWS)
    # Taken from another table, at another place, an image is augmented as before.
    alone = RatedImages(rated_pictures.take([7]), VIEWS).batches([np.array([0])], **options)
    assert torch.equal(next(alone).views["fragments"][0], expected[0].views["fragments"][2])
    later = batches(rated_pictures, **{**options, "epoch": 4})
    other_seed = batches(rated_pictures, seed=1, **options)
    for changed in (later, other_seed):
        assert not torch.equal(changed[0].views["fragments"], expected[0].views["fragments"])


def test_order_is_a_permutation_that_changes_with_the_epoch(rated_pictures: Ratings) -> None:
    source = RatedImages(rated_pictures, VIEWS, seed=2)
    first, second = source.order(0), source.order(1)
    assert sorted(first) == sorted(second) == list(range(len(rated_pictures)))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, source.order(0))


def test_a_differential_score_is_turned_round() -> None:
    card = DatasetCard("dmos", 0, 100, higher_is_better=False)
    ratings = Ratings(card=card, images=(), scores={"quality": []})
    assert len(RatedImages(ratings, VIEWS)) == 0
    quality = card.scale("quality").to_quality([0.0, 100.0])
    assert quality.tolist() == [5.0, 1.0]


def test_several_targets_are_columns_and_missing_scores_stay_missing(rated_pictures: Ratings) -> None:
    authenticity = np.linspace(0, 10, len(rated_pictures))
    authenticity[3] = np.nan
    both = replace(rated_pictures, scores={**rated_pictures.scores, "authenticity": authenticity})
    source = RatedImages(both, VIEWS, ("quality", "authenticity"))
    assert source.rated.shape == (40, 2)
    assert source.rated[:, 1].isnan().nonzero().flatten().tolist() == [3]


def test_an_image_that_cannot_be_decoded_is_named(rated_pictures: Ratings, tmp_path: Any) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(rated_pictures.images[0].read_bytes()[:200])
    ratings = replace(rated_pictures.take([0]), images=(broken,))
    with pytest.raises(ImageError, match=r"broken\.png"):
        list(RatedImages(ratings, VIEWS).batches([np.array([0])]))


@given(
    height=st.integers(30, 120),
    width=st.integers(30, 120),
    least_kept=st.floats(0.3, 1.0),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=40)
def test_augmented_views_are_made_of_the_images_own_pixels(
    height: int, width: int, least_kept: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    small = {"fragments": ViewSpec("fragments", 28), "whole": ViewSpec("whole", 28)}
    views = augmented_views(pixels, small, Augmentation(least_kept=least_kept), np.random.default_rng(seed))
    colours = {tuple(colour) for colour in pixels.reshape(-1, 3).tolist()}
    assert {tuple(colour) for colour in views["fragments"].reshape(-1, 3).tolist()} <= colours
    assert views["whole"].shape == (28, 28, 3)


def test_kinds_of_augmentation_can_be_left_out() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    none = Augmentation(flip=False, offsets=False)
    views = augmented_views(pixels, VIEWS, none, np.random.default_rng(1))
    for name, view in cut_views(pixels, VIEWS).items():
        assert np.array_equal(views[name], view), name
    mirrored = set()
    for seed in range(20):
        views = augmented_views(pixels, VIEWS, Augmentation(offsets=False), np.random.default_rng(seed))
        turned = np.array_equal(views["whole"], whole_view(pixels[:, ::-1], 56))
        assert turned or np.array_equal(views["whole"], whole_view(pixels, 56))
        assert turned == np.array_equal(views["crop"], crop_view(pixels[:, ::-1], side=56))
        mirrored.add(turned)
    assert mirrored == {True, False}


@pytest.mark.parametrize("least_kept", [0.0, -1.0, 1.1, float("nan")])
def test_a_crop_that_keeps_nothing_is_refused(least_kept: float) -> None:
    with pytest.raises(ValueError, match="least_kept is"):
        Augmentation(least_kept=least_kept)
