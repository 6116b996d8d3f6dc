"""Sets of distorted references: direction, groups by reference, kinds of distortion, odd names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from foveal.errors import RatingsError

MakeMini = Callable[[str], Any]
Write = Callable[..., Any]


def test_live_is_in_the_order_of_its_distortions_without_copies_of_references(mini_set: MakeMini) -> None:
    ratings = mini_set("live-r2").read()
    assert ratings.names == (
        *("jp2k/img1.bmp", "jp2k/img227.bmp", "jpeg/img1.bmp", "jpeg/img233.bmp", "wn/img1.bmp"),
        *("gblur/img1.bmp", "fastfading/img1.bmp", "fastfading/img174.bmp"),
    )
    assert ratings.subsets[:3] == ("jp2k", "jp2k", "jpeg")
    positions = [0, 226, 227, 459, 460, 634, 808, 981]
    np.testing.assert_array_equal(ratings.scores["quality"], np.linspace(-2.64, 111.77, 982)[positions])
    assert ratings.groups == tuple("bikes.bmp" if p % 2 else "womanhat.bmp" for p in positions)
    assert ratings.std["quality"].tolist() == [3.5] * 8
    assert (np.diff(ratings.quality()) < 0).all()  # lower is better


def test_live_without_deviations_or_with_arrays_that_do_not_fit(mini_set: MakeMini, write_mat: Write) -> None:
    mini = mini_set("live-r2")
    path = mini.folder / "dmos_realigned.mat"
    content = scipy.io.loadmat(path)
    dmos, orgs = content["dmos_new"], content["orgs"]
    write_mat(path, dmos_new=dmos, orgs=orgs)
    assert dict(mini.read().std) == {}
    write_mat(path, dmos_new=dmos, orgs=orgs[:, :779])
    with pytest.raises(RatingsError, match=r"dmos_new has 982, orgs has 779, refnames_all has 982"):
        mini.read()
    write_mat(path, dmos_new=dmos, orgs=orgs * 2)
    with pytest.raises(RatingsError, match="orgs is neither 0 nor 1"):
        mini.read()


def test_csiq_is_down_and_finds_images_in_folders_of_their_distortion(mini_set: MakeMini) -> None:
    ratings = mini_set("csiq").read()
    assert ratings.names[0] == "1600.AWGN.1.png"
    assert ratings.images[0].parts[-3:] == ("dst_imgs", "awgn", "1600.AWGN.1.png")
    assert ratings.images[3].parts[-2:] == ("jpeg2000", "boston.jpeg2000.1.png")
    assert ratings.scores["quality"].tolist() == [0.061989, 1.0, 0.2, 0.1, 0.468556, 0.0]
    assert ratings.groups == ("1600", "1600", "boston", "boston", "woman", "woman")
    assert ratings.subsets == ("awgn", "blur", "jpeg", "jpeg2000", "contrast", "fnoise")
    assert ratings.quality()[[1, 5]].tolist() == [1.0, 5.0]


def test_csiq_label_file_of_another_name_and_names_without_suffix(mini_set: MakeMini) -> None:
    mini = mini_set("csiq")
    (mini.folder / "csiq_label.txt").unlink()
    (mini.folder / "labels.txt").write_text("1600.AWGN.1 0.25\n\n", encoding="utf-8")
    assert mini.read().names == ("1600.AWGN.1.png",)
    (mini.folder / "more.txt").write_text("?", encoding="utf-8")
    with pytest.raises(RatingsError, match=r"csiq_label.txt or \*.txt is missing"):
        mini.read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1600.AWGN.1.png 0.06 0.01", "line 1 has 3 words, expected 2"),
        ("1600.AWGN.1.png 0,06", "line 1 has 3 words, expected 2"),
        ("1600.AWGN.1.png low", "entry 1: 'low' is not a number"),
        ("1600.AWGN.1.png 6.1989", "quality outside 0 to 1"),
        ("1600.SNOW.1.png 0.5", "'1600.SNOW.1.png' is not a name of this set"),
        ("portrait.png 0.5", "'portrait.png' is not a name of this set"),
        ("\n \n", "the file has no lines"),
        ("1600.AWGN.1.png 0.1\n1600.AWGN.1.png 0.2", "more than once"),
    ],
)
def test_malformed_label_lines_are_refused(mini_set: MakeMini, content: str, message: str) -> None:
    mini = mini_set("csiq")
    (mini.folder / "csiq_label.txt").write_text(content, encoding="utf-8")
    with pytest.raises(RatingsError, match=message):
        mini.read()


def test_tid2013_names_keep_the_case_of_the_table_and_images_that_of_the_disk(mini_set: MakeMini) -> None:
    ratings = mini_set("tid2013").read()
    assert ratings.names == ("I01_01_1.bmp", "i01_01_2.bmp", "I01_11_1.BMP", "i25_24_5.bmp")
    assert [path.name for path in ratings.images] == [
        *("i01_01_1.bmp", "I01_01_2.BMP", "i01_11_1.bmp", "i25_24_5.BMP")
    ]
    assert ratings.groups == ("I01", "I01", "I01", "I25")
    assert ratings.subsets == (*("additive Gaussian noise",) * 2, "JPEG 2000", "sparse sampling")
    assert ratings.scores["quality"].tolist() == [5.51429, 5.56757, 5.91429, 0.45946]
    assert ratings.std["quality"].tolist() == [0.13013, 0.16008, 0.15186, 0.1]


def test_tid2013_files_that_differ_in_length_or_names_are_refused(mini_set: MakeMini) -> None:
    mini = mini_set("tid2013")
    (mini.folder / "mos_std.txt").write_text("0.1\n0.2\n", encoding="utf-8")
    with pytest.raises(RatingsError, match=r"mos_with_names.txt has 4, mos_std.txt has 2"):
        mini.read()
    (mini.folder / "mos_std.txt").write_text("0.1\n", encoding="utf-8")
    for name in ("I01_25_1.bmp", "I01_01.bmp", "I01_00_1.bmp"):
        (mini.folder / "mos_with_names.txt").write_text(f"5.0 {name}\n", encoding="utf-8")
        with pytest.raises(RatingsError, match=f"'{name}' is not a name of this set"):
            mini.read()


def test_kadid_is_up_in_spite_of_its_column_and_groups_by_reference(mini_set: MakeMini) -> None:
    ratings = mini_set("kadid-10k").read()
    assert ratings.scores["quality"].tolist() == [4.57, 1.0, 5.0]
    assert ratings.quality().tolist() == [4.57, 1.0, 5.0]
    assert ratings.groups == ("I01.png", "I01.png", "I81.png")
    assert ratings.subsets == ("Gaussian blur", "contrast change", "JPEG")


def test_kadid_deviations_are_what_the_column_holds() -> None:
    # 17 fives and 13 fours are the only 30 whole ratings of mean 4.57 with this deviation: as a variance,
    # .496 would need others. So the column called var holds standard deviations.
    ratings = np.array([5] * 17 + [4] * 13)
    assert round(float(ratings.mean()), 2) == 4.57
    assert round(float(ratings.std()), 3) == 0.496


def test_kadid_std_is_read_as_shipped_and_foreign_names_are_refused(mini_set: MakeMini) -> None:
    mini = mini_set("kadid-10k")
    assert mini.read().std["quality"].tolist() == [0.496, 0.0, 0.0]
    path: Path = mini.folder / "dmos.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("I01_25_05", "I01_26_05"), encoding="utf-8")
    with pytest.raises(RatingsError, match=r"'I01_26_05.png' is not a name of this set"):
        mini.read()
