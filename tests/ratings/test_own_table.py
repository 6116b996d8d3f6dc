from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.errors import RatingsError
from foveal.ratings.files import find_images, read_columns
from foveal.ratings.own_table import Columns, read_table
from foveal.ratings.table import DatasetCard

CARD = DatasetCard("mine", 1.0, 10.0)
ALL = Columns(
    image="file",
    scores={"quality": "q", "correspondence": "c"},
    std={"quality": "q_std"},
    group="scene",
    subset="camera",
    split="part",
    prompt="text",
)
FULL = (
    "\ufefffile, q ,c,q_std,scene,camera,part,text\n"
    'in/a.png,10,,0.5,s1,x,Train,"a cat, asleep"\n'
    "\n"
    "b.png,1, 5.5 ,0.25,,y,VAL,a dog\n"
    "c.png,,10,,s1,x,test,\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name in ("in/a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"picture")
    (tmp_path / "ratings.csv").write_text(FULL, encoding="utf-8")
    return tmp_path


def test_every_column_is_read_by_its_heading(folder: Path) -> None:
    ratings = read_table(folder / "ratings.csv", CARD, ALL)
    assert ratings.names == ("in/a.png", "b.png", "c.png")
    assert ratings.images == (folder / "in/a.png", folder / "b.png", folder / "c.png")
    np.testing.assert_array_equal(ratings.scores["quality"], [10.0, 1.0, np.nan])
    np.testing.assert_array_equal(ratings.quality("correspondence"), [np.nan, 3.0, 5.0])
    np.testing.assert_array_equal(ratings.std["quality"], [0.5, 0.25, np.nan])
    assert ratings.groups == ("s1", "b.png", "s1")
    assert ratings.subsets == ("x", "y", "x")
    assert ratings.split == ("train", "validation", "test")
    assert ratings.prompts == ("a cat, asleep", "a dog", "")


def test_two_columns_suffice_and_images_may_lie_elsewhere(tmp_path: Path, folder: Path) -> None:
    table = tmp_path / "tables" / "own.CSV"
    table.parent.mkdir()
    table.write_text(f"image,mos\nb.png,2\n{folder / 'c.png'},3\n", encoding="utf-8")
    ratings = read_table(table, CARD, folder=folder)
    assert ratings.images == (folder / "b.png", folder / "c.png")
    assert ratings.groups == ratings.names


def test_missing_images_are_refused_or_dropped_with_their_row(folder: Path) -> None:
    (folder / "b.png").unlink()
    with pytest.raises(RatingsError, match=r"mine: 1 image \(b.png\) of 3 missing"):
        read_table(folder / "ratings.csv", CARD, ALL)
    ratings = read_table(folder / "ratings.csv", CARD, ALL, missing="drop")
    assert ratings.names == ("in/a.png", "c.png")
    assert ratings.split == ("train", "test")
    ignore: Any = "ignore"
    with pytest.raises(ValueError, match="expected 'error' or 'drop'"):
        read_table(folder / "ratings.csv", CARD, ALL, missing=ignore)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no rows"),
        ("image,mos\n", "no rows"),
        ("picture,mos\nb.png,1\n", "no column 'image'; there are picture, mos"),
        ("image,mos\n,1\n", "row 2 has no image"),
        ("image,mos\nb.png,five\n", "row 2, mos: 'five' is not a number"),
        ("image,mos\nb.png,11\n", "outside 1 to 10"),
        ("image,mos\nb.png,\n", "score missing: b.png"),
        ("image,mos\nb.png,1,2\n", "more cells than there are headings"),
        ("image,mos\nb.png\n", "row 2 has 1 cells"),
        ("image,mos,mos\nb.png,1,2\n", "same heading"),
        ("image,mos\nb.png,1\nb.png,2\n", "more than once"),
        ('image,mos\n"b.png,1\n', "cannot be read"),
        ("image,mos\nb.png,1_0\n", "row 2, mos: '1_0' is not a number"),
        ("image,mos\nb.png,2024-05-01\n", "row 2, mos: '2024-05-01' is not a number"),
        ("image,mos\nb.png,True\n", "row 2, mos: 'True' is not a number"),
        ("image;mos\nb.png;1\n", "no column 'image'; there are image;mos"),
    ],
)
def test_malformed_tables_are_refused_with_the_reason(folder: Path, content: str, message: str) -> None:
    table = folder / "bad.csv"
    table.write_text(content, encoding="utf-8")
    with pytest.raises(RatingsError, match=message):
        read_table(table, CARD)


@pytest.mark.parametrize(
    ("label", "part"),
    [("Training", "train"), ("VAL", "validation"), ("dev", "validation"), ("testing", "test"), ("", "")],
)
def test_parts_have_several_names(folder: Path, label: str, part: str) -> None:
    table = folder / "parts.csv"
    table.write_text(f"image,mos,split\nb.png,1,{label}\n", encoding="utf-8")
    assert read_table(table, CARD, Columns(split="split")).split == (part,)


def test_an_unknown_part_is_refused(folder: Path) -> None:
    table = folder / "bad.csv"
    table.write_text("image,mos,split\nb.png,1,exam\n", encoding="utf-8")
    with pytest.raises(RatingsError, match="unknown part 'exam'"):
        read_table(table, CARD, Columns(split="split"))


def test_files_that_are_no_tables_are_refused(folder: Path) -> None:
    for absent in ("absent.csv", "absent.parquet", "absent.xlsx", "absent.jsonl", "absent"):
        with pytest.raises(RatingsError, match=f"{absent}: there is no such file"):
            read_table(folder / absent, CARD)
    with pytest.raises(RatingsError, match=r"in: unknown kind of table"):
        read_table(folder / "in", CARD)
    (folder / "folder.csv").mkdir()
    with pytest.raises(RatingsError, match=r"folder.csv: cannot be read"):
        read_table(folder / "folder.csv", CARD)
    with pytest.raises(RatingsError, match=r"unknown kind of table; expected .csv"):
        read_table(folder / "b.png", CARD)
    (folder / "latin.csv").write_bytes("image,mos\nb\xe9.png,1\n".encode("latin-1"))
    with pytest.raises(RatingsError, match="cannot be read"):
        read_columns(folder / "latin.csv")


def test_impossible_names_of_images_are_missing_images(folder: Path) -> None:
    table = folder / "long.csv"
    for name in (f"{'x' * 300}.png", "nul\0/b.png", "nul\0.png"):
        table.write_text(f"image,mos\n{name},1\n", encoding="utf-8")
        with pytest.raises(RatingsError, match=r"mine: 1 image .* missing"):
            read_table(table, CARD)
    table.write_text(f"image,mos\n{'x' * 300}/b.png,1\n", encoding="utf-8")
    with pytest.raises(RatingsError, match=r"cannot be listed|missing"):
        read_table(table, CARD)


def test_images_are_found_whatever_their_case_but_never_guessed(tmp_path: Path) -> None:
    for name in ("A.JPG", "b.jpg", "B.JPG"):
        (tmp_path / name).write_bytes(name.encode())
    if len(list(tmp_path.iterdir())) < 3:
        # A file system that does not tell b.jpg from B.JPG cannot be ambiguous.
        assert find_images(tmp_path, ["a.jpg"])[0] is not None
        return
    found = find_images(tmp_path, ["a.jpg", "b.jpg", "B.JPG", "c.jpg", "nowhere/a.jpg"])
    assert found == [tmp_path / "A.JPG", tmp_path / "b.jpg", tmp_path / "B.JPG", None, None]
    with pytest.raises(RatingsError, match=r"which of B.JPG, b.jpg is meant"):
        find_images(tmp_path, ["b.JPG"])
