from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from foveal.errors import RatingsError
from foveal.ratings.biq2021 import read_biq2021, read_near_copies


def test_the_owners_layout_is_read_with_all_its_traps(mini_biq2021: Path) -> None:
    ratings = read_biq2021(mini_biq2021)
    assert ratings.names == (
        *("ss03 (3753).jpg", "ss01 (1726).jpg", "ss02 (1014).jpg", "ss03 (1).jpg"),
        *("ss03 (7805).jpg", "ss02 (9).jpg"),
    )
    assert ratings.images[2].name == "ss02 (1014).JPG"
    assert all(path.is_file() for path in ratings.images)
    assert ratings.scores["quality"].tolist() == [0.8471, 0.2874, 0.4357, 1.0, 0.7321, 0.0]
    np.testing.assert_allclose(ratings.quality()[[3, 5]], [5.0, 1.0])
    assert ratings.split == ("train",) * 4 + ("test",) * 2
    assert ratings.subsets == ("ss03", "ss01", "ss02", "ss03", "ss03", "ss02")


def test_images_may_lie_elsewhere(mini_biq2021: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(mini_biq2021 / "Images", elsewhere)
    assert read_biq2021(mini_biq2021, images=elsewhere).images[0].parent == elsewhere


def test_a_partial_copy_is_refused_or_read_without_the_missing_rows(mini_biq2021: Path) -> None:
    (mini_biq2021 / "Images" / "ss01 (1726).jpg").unlink()
    (mini_biq2021 / "Images" / "ss03 (1).jpg").unlink()
    with pytest.raises(RatingsError, match=r"2 images \(ss01 \(1726\).jpg, ss03 \(1\).jpg\) of 6 missing"):
        read_biq2021(mini_biq2021)
    ratings = read_biq2021(mini_biq2021, missing="drop")
    assert ratings.names == ("ss03 (3753).jpg", "ss02 (1014).jpg", "ss03 (7805).jpg", "ss02 (9).jpg")
    assert ratings.scores["quality"].tolist() == [0.8471, 0.4357, 0.7321, 0.0]
    assert ratings.split == ("train", "train", "test", "test")


def test_a_copy_without_any_image_is_refused_even_when_dropping(mini_biq2021: Path) -> None:
    for image in (mini_biq2021 / "Images").iterdir():
        image.unlink()
    with pytest.raises(RatingsError, match=r"6 images .* of 6 missing"):
        read_biq2021(mini_biq2021, missing="drop")


@pytest.mark.parametrize("part", ["Train", "Test"])
def test_a_missing_table_is_named(mini_biq2021: Path, part: str) -> None:
    (mini_biq2021 / f"{part} (Images and MOS).csv").unlink()
    with pytest.raises(RatingsError, match=f"{part} .Images and MOS..csv missing"):
        read_biq2021(mini_biq2021)


def test_missing_folders_are_named(mini_biq2021: Path, tmp_path: Path) -> None:
    with pytest.raises(RatingsError, match="no such folder"):
        read_biq2021(tmp_path / "nowhere")
    shutil.rmtree(mini_biq2021 / "Images")
    with pytest.raises(RatingsError, match="Images: there is no such folder"):
        read_biq2021(mini_biq2021)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("ss03 (5).jpg,good,,", "row 6, MOS: 'good' is not a number"),
        ("ss03 (1).jpg,0.5,,", "more than once"),
        ("ss02 (9).jpg,0.5,,", "more than once"),
        ("ss03 (3753).JPG,0.5,,", "more than once"),
        ("ss03 (1).jpg", "row 6 has 1 cells, expected 2"),
    ],
)
def test_malformed_rows_are_refused(mini_biq2021: Path, row: str, message: str) -> None:
    with (mini_biq2021 / "Train (Images and MOS).csv").open("a", encoding="utf-8") as file:
        file.write(row + "\n")
    with pytest.raises(RatingsError, match=message):
        read_biq2021(mini_biq2021, missing="drop")


def test_a_score_out_of_range_or_a_foreign_name_is_refused(mini_biq2021: Path) -> None:
    table = mini_biq2021 / "Test (Images and MOS).csv"
    content = table.read_text(encoding="utf-8")
    table.write_text(content.replace("0.7321", "7.321"), encoding="utf-8")
    with pytest.raises(RatingsError, match="quality outside 0 to 1"):
        read_biq2021(mini_biq2021)
    table.write_text(content.replace("ss03 (7805)", "portrait"), encoding="utf-8")
    (mini_biq2021 / "Images" / "ss03 (7805).jpg").rename(mini_biq2021 / "Images" / "portrait.jpg")
    with pytest.raises(RatingsError, match=r"'portrait.jpg' is not a name of this set"):
        read_biq2021(mini_biq2021)


def test_near_copies_are_those_strictly_above_the_threshold(tmp_path: Path) -> None:
    table = tmp_path / "neighbours.csv"
    table.write_bytes(
        b"test_image,nearest_training_image,similarity\r\n"
        b"ss01 (1).jpg,ss01 (2).jpg,0.9956\r\n"
        b"ss01 (3).jpg,ss01 (4).jpg,0.9\r\n"
        b"ss01 (5).jpg,ss01 (4).jpg,0.91\r\n"
    )
    assert read_near_copies(table) == ("ss01 (1).jpg", "ss01 (5).jpg")
    assert read_near_copies(table, above=0.99) == ("ss01 (1).jpg",)
    table.write_text("test_image,similarity\nss01 (1).jpg,\n", encoding="utf-8")
    with pytest.raises(RatingsError, match="row 2 has no similarity"):
        read_near_copies(table)


def test_the_real_partial_copy(shared_folder: Path) -> None:
    # 2,000 test images by its owners; 250 training images and 114 near copies by the copy's description. That
    # counts 283 above .9 before rounding; two similarities are rounded to .9000, so 282 are seen to be.
    folder = shared_folder / "data" / "BIQ2021"
    ratings = read_biq2021(folder, missing="drop")
    test = ratings.part("test")
    assert len(test) == 2000
    assert len(ratings.part("train")) == 250
    assert set(test.subsets) == {"ss01", "ss02", "ss03"}
    near = read_near_copies(folder / "test-neighbours.csv")
    assert len(near) == 282
    assert len(test.indices(near)) == 282
    assert len(read_near_copies(folder / "test-neighbours.csv", above=0.99)) == 114
    with pytest.raises(RatingsError, match=r"9750 images .* of 12000 missing"):
        read_biq2021(folder)
