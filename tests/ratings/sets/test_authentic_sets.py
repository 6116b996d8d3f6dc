"""Sets of photographs: official splits, practice images, attributes, tables that differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foveal.errors import RatingsError
from foveal.imaging.decode import decode
from foveal.ratings.biq2021 import read_biq2021
from foveal.ratings.check import check_copy
from foveal.ratings.sources import known_set

MakeMini = Callable[[str], Any]
Write = Callable[..., Any]


def test_live_challenge_leaves_out_the_practice_images(mini_set: MakeMini) -> None:
    ratings = mini_set("live-challenge").read()
    assert ratings.names == ("3.bmp", "5.JPG", "1169.bmp")
    assert ratings.scores["quality"].tolist() == [63.9634, 3.42, 92.43]
    assert ratings.std["quality"].tolist() == [22.0, 23.0, 24.0]
    assert ratings.groups == ratings.names


def test_live_challenge_arrays_must_fit(mini_set: MakeMini, write_mat: Write) -> None:
    mini = mini_set("live-challenge")
    write_mat(mini.folder / "Data" / "AllMOS_release.mat", AllMOS_release=np.full((1, 3), 50.0))
    with pytest.raises(RatingsError, match="AllImages has 10, AllMOS has 3, AllStdDev has 10"):
        mini.read()


def test_koniq_has_the_official_split_and_scores_to_100(mini_set: MakeMini) -> None:
    ratings = mini_set("koniq-10k").read()
    assert ratings.split == ("train", "test", "validation", "train")
    assert ratings.scores["quality"].tolist() == [77.3836206897, 3.91176470588, 88.3888888889, 50.0]
    assert (ratings.card.low, ratings.card.high) == (0, 100)
    # SD is in units of the raw ratings from 1 to 5, the scores are not.
    assert dict(ratings.std) == {}


def test_koniq_other_table_is_from_1_to_5_with_deviations(mini_set: MakeMini, write_table: Write) -> None:
    mini = mini_set("koniq-10k")
    names = mini.read().names
    (mini.folder / "koniq10k_distributions_sets.csv").unlink()
    columns = {
        "image_name": names,
        "MOS": [3.9, 1.2, 4.4, 3],
        "SD": [0.5, 0.6, 0.7, 0.8],
        "MOS_zscore": [70] * 4,
    }
    write_table(mini.folder / "koniq10k_scores_and_distributions.csv", columns)
    ratings = mini.read()
    assert (ratings.card.low, ratings.card.high) == (1, 5)
    assert ratings.scores["quality"].tolist() == [3.9, 1.2, 4.4, 3.0]
    assert ratings.quality().tolist() == [3.9, 1.2, 4.4, 3.0]
    assert ratings.std["quality"].tolist() == [0.5, 0.6, 0.7, 0.8]
    assert set(ratings.split) == {""}
    assert check_copy(mini.known, mini.folder).complete


def test_koniq_unknown_part_is_refused(mini_set: MakeMini) -> None:
    mini = mini_set("koniq-10k")
    path = mini.folder / "koniq10k_distributions_sets.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("validation", "spare"), encoding="utf-8")
    with pytest.raises(RatingsError, match="unknown part 'spare'"):
        mini.read()


def test_spaq_has_attributes_and_photographs_that_lie_on_their_side(mini_set: MakeMini) -> None:
    mini = mini_set("spaq")
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (16, 8)).save(mini.folder / "TestImage" / "00001.jpg", exif=exif)
    ratings = mini.read()
    assert ratings.targets == ("quality", "brightness", "colorfulness", "contrast", "noisiness", "sharpness")
    assert [column[0] for column in ratings.scores.values()] == [31.5, 10, 11, 12, 13, 14]
    assert decode(ratings.images[0]).pixels.shape == (16, 8, 3)


def test_flive_official_test_part_and_sources(mini_set: MakeMini) -> None:
    mini = mini_set("flive")
    ratings = mini.read()
    assert ratings.names[0] == "blur_dataset/motion0044.jpg"
    assert ratings.split == ("train", "train", "test")
    assert ratings.subsets == ("blur_dataset", "voc_emotic_ava", "voc_emotic_ava")
    (mini.folder / "database" / "labels640.csv").unlink()
    assert set(mini.read().split) == {""}
    found = check_copy(mini.known, mini.folder)
    assert [problem.what for problem in found.problems] == [
        "label file labels640.csv or database/labels640.csv missing"
    ]


def test_flive_test_images_without_a_score_are_refused(mini_set: MakeMini, write_table: Write) -> None:
    mini = mini_set("flive")
    write_table(mini.folder / "labels640.csv", {"name_image": ["voc_emotic_ava/gone.jpg"]})
    with pytest.raises(
        RatingsError, match=r"labels640.csv: 1 image \(voc_emotic_ava/gone.jpg\) without a score"
    ):
        mini.read()


def test_biq2021_is_the_same_by_name_and_by_function(mini_set: MakeMini) -> None:
    mini = mini_set("biq2021")
    one, other = mini.read(), read_biq2021(mini.folder)
    assert (one.card, one.names, one.images, one.split) == (
        other.card,
        other.names,
        other.images,
        other.split,
    )
    assert (one.subsets, one.groups) == (other.subsets, other.groups)
    np.testing.assert_array_equal(one.scores["quality"], other.scores["quality"])
    (mini.folder / "Test (Images and MOS).csv").write_text(
        "Image Name,MOS\nportrait.jpg,1\n", encoding="utf-8"
    )
    with pytest.raises(RatingsError, match=r"'portrait.jpg' is not a name of this set"):
        mini.read()


@pytest.mark.slow
def test_the_real_partial_copy_of_biq2021_lacks_nothing_but_images(shared_folder: Path) -> None:
    found = check_copy(known_set("BIQ2021"), shared_folder / "data" / "BIQ2021")
    assert [problem.what.split(" (")[0] for problem in found.problems] == ["9750 images"]
    assert (found.rows, found.images) == (12000, 2250)
