from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from foveal.errors import MissingExtraError
from foveal.ratings.check import check_copy
from foveal.ratings.sets.biq2021 import BIQ2021
from foveal.ratings.sets.known import KnownSet
from foveal.ratings.sets.koniq10k import KONIQ_10K
from foveal.ratings.sets.live import LIVE_CHALLENGE

NAMES = [f"{letter}.jpg" for letter in "abcdefgh"]
KNOWN = replace(KONIQ_10K, size=len(NAMES))


def write_labels(folder: Path, rows: list[str]) -> None:
    text = "image_name,MOS,set\n" + "".join(f"{row}\n" for row in rows)
    (folder / "koniq10k_distributions_sets.csv").write_text(text, encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    images = tmp_path / "1024x768"
    images.mkdir()
    for name in NAMES:
        Image.effect_noise((64, 64), 50).convert("RGB").save(images / name)
    write_labels(tmp_path, [f"{name},50,training" for name in NAMES])
    return tmp_path


def said(known: KnownSet, folder: Path, decode: bool = False) -> list[str]:
    return [problem.what for problem in check_copy(known, folder, decode=decode, workers=2).problems]


def test_a_complete_copy(copy: Path) -> None:
    found = check_copy(KNOWN, copy, decode=True)
    assert found.complete
    assert (found.rows, found.images) == (8, 8)
    assert found.to_text().splitlines() == [
        f"KonIQ-10k in {copy}",
        "  rated in the label files: 8 of 8",
        "  images on disk: 8 of 8",
        "complete: all images decode",
    ]


def test_everything_that_is_wrong_is_told_at_once(copy: Path) -> None:
    images = copy / "1024x768"
    (images / "a.jpg").unlink()
    (images / "b.jpg").write_bytes(b"")
    (images / "c.jpg").write_bytes(b"<html>log in first</html>")
    whole = (images / "d.jpg").read_bytes()
    (images / "d.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "e.jpg").rename(images / "E.JPG")  # another case is no problem
    (images / "thumbs").mkdir()
    (images / "spare.png").write_bytes(whole)
    (images / "readme.txt").write_text("no image", encoding="utf-8")
    write_labels(
        copy, [f"{name},{score},test" for name, score in zip(NAMES, [50] * 6 + [101, ""], strict=True)]
    )
    with (copy / "koniq10k_distributions_sets.csv").open("a", encoding="utf-8") as file:
        file.write("h.jpg,50,test\n")
    expected = [
        "9 rated images, expected 8",
        "1 name (h.jpg) more than once in the label files",
        "1 row (g.jpg) with quality outside 0 to 100",
        "1 row (h.jpg) without a score",
        f"1 image (a.jpg) missing in {images}",
        f"1 extra image (spare.png) in {images}",
        "1 image (b.jpg) empty",
    ]
    problems = said(KNOWN, copy)
    assert problems[:-1] == expected
    assert problems[-1].startswith("1 image (c.jpg: ")
    assert problems[-1].endswith(") unreadable")
    decoded = said(KNOWN, copy, decode=True)
    assert decoded[:-1] == expected
    assert decoded[-1].startswith("2 images (c.jpg: ")
    assert "d.jpg: ends too early" in decoded[-1]


def test_every_problem_comes_with_advice_and_a_line(copy: Path) -> None:
    (copy / "1024x768" / "a.jpg").unlink()
    found = check_copy(KNOWN, copy)
    text = found.to_text()
    assert f"  problem: 1 image (a.jpg) missing in {copy / '1024x768'}; complete the download" in text
    assert "  images on disk: 7 of 8" in text
    assert text.endswith("1 problem\n")
    (copy / "1024x768" / "b.jpg").write_bytes(b"")
    assert check_copy(KNOWN, copy).to_text().endswith("2 problems\n")


def test_only_the_first_names_are_shown(copy: Path) -> None:
    for name in NAMES[:5]:
        (copy / "1024x768" / name).unlink()
    assert said(KNOWN, copy) == [f"5 images (a.jpg, b.jpg, c.jpg, ...) missing in {copy / '1024x768'}"]


def test_images_are_checked_although_the_labels_cannot_be_read(copy: Path) -> None:
    images = copy / "1024x768"
    (images / "a.jpg").unlink()
    (images / "b.jpg").write_bytes(b"")
    write_labels(copy, ["c.jpg,good,test"])
    found = check_copy(KNOWN, copy)
    assert (found.rows, found.images) == (None, 7)
    table = copy / "koniq10k_distributions_sets.csv"
    assert [problem.what for problem in found.problems] == [
        f"{table}: row 2, MOS: 'good' is not a number",
        f"7 images in {images}, expected 8",
        "1 image (b.jpg) empty",
    ]
    assert "unknown of 8" in found.to_text()


def test_every_damaged_label_file_is_named(tmp_path: Path) -> None:
    known = replace(BIQ2021, size=1)
    (tmp_path / "Images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "Images" / "ss01 (1).jpg")
    train, test = (tmp_path / f"{part} (Images and MOS).csv" for part in ("Train", "Test"))
    train.write_bytes(b"\xff\xfe\x00")
    test.write_text('Image Name,MOS\n"ss01 (1).jpg,0.5\n', encoding="utf-8")
    problems = said(known, tmp_path)
    assert len(problems) == 2
    assert str(train) in problems[0]
    assert str(test) in problems[1]
    train.unlink()
    problems = said(known, tmp_path)
    assert problems[0] == "label file Train (Images and MOS).csv missing"
    assert str(test) in problems[1]


def test_a_missing_folder_of_the_set_or_of_its_images(copy: Path, tmp_path: Path) -> None:
    assert said(KNOWN, tmp_path / "nowhere") == [f"{tmp_path / 'nowhere'}: there is no such folder"]
    elsewhere = (copy / "1024x768").rename(tmp_path / "elsewhere")
    problems = said(KNOWN, copy)
    assert problems == [f"{copy / '1024x768'}: there is no such folder; it should hold the images"]
    assert check_copy(KNOWN, copy, images=elsewhere).complete


def test_two_files_that_fit_one_name_do_not_hide_the_rest(copy: Path) -> None:
    images = copy / "1024x768"
    whole = (images / "a.jpg").read_bytes()
    (images / "a.jpg").rename(images / "A.jpg")
    (images / "a.JPG").write_bytes(whole)
    if len(list(images.iterdir())) == len(NAMES):
        pytest.skip("this file system does not tell case apart")
    (images / "h.jpg").unlink()
    problems = said(KNOWN, copy)
    assert problems[0].startswith(f"{images / 'a.jpg'}: which of A.jpg, a.JPG is meant?")
    assert problems[1] == f"1 image (h.jpg) missing in {images}"


def test_two_names_for_one_file(copy: Path) -> None:
    write_labels(copy, [f"{name},50,training" for name in [*NAMES[:-1], "A.JPG"]])
    images = copy / "1024x768"
    assert said(KNOWN, copy) == [
        f"1 image ({images / 'a.jpg'}) meant by several names",
        f"1 extra image (h.jpg) in {images}",
    ]


def test_what_is_not_installed_is_no_problem_of_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Data").mkdir()
    for kind in ("Images", "MOS", "StdDev"):
        (tmp_path / "Data" / f"All{kind}_release.mat").write_bytes(b"MATLAB")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(MissingExtraError, match=r"AllImages_release.mat: reading MAT needs"):
        check_copy(LIVE_CHALLENGE, tmp_path)


def test_negative_deviations_are_told(tmp_path: Path) -> None:
    (tmp_path / "1024x768").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "1024x768" / "a.jpg")
    table = tmp_path / "koniq10k_scores_and_distributions.csv"
    table.write_text("image_name,MOS,SD\na.jpg,3,-1\n", encoding="utf-8")
    assert said(replace(KNOWN, size=1), tmp_path) == [
        "1 row (a.jpg) with a negative or infinite standard deviation of quality"
    ]
