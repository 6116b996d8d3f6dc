from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foveal.errors import RatingsError
from foveal.ratings.imagefolder import METADATA, read_imagefolder
from foveal.ratings.own_table import Columns
from foveal.ratings.table import DatasetCard

CARD = DatasetCard("mine", 1.0, 5.0)
Write = Callable[[Path, dict[str, Sequence[object]]], Path]


@pytest.fixture
def place(tmp_path: Path, write_table: Write) -> Callable[..., Path]:
    """Makes a folder with images and their metadata: ``place("train", ["a.png"], mos=[3])``."""

    def place(inside: str, names: list[str], metadata: str = "metadata.csv", **columns: list[object]) -> Path:
        folder = tmp_path / "set" / inside
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"picture")
        write_table(folder / metadata, {"file_name": names, **columns})
        return tmp_path / "set"

    return place


@pytest.mark.parametrize("metadata", METADATA)
def test_one_metadata_file_beside_the_images(place: Callable[..., Path], metadata: str) -> None:
    folder = place("", ["b.png", "in/a.png"], metadata, mos=[4.5, 2], text=["a cat", None])
    ratings = read_imagefolder(folder, CARD, Columns(prompt="text"))
    assert ratings.names == ("b.png", "in/a.png")
    assert ratings.images == (folder / "b.png", folder / "in/a.png")
    assert ratings.scores["quality"].tolist() == [4.5, 2.0]
    assert ratings.prompts == ("a cat", "")
    assert ratings.split == ("", "")
    assert ratings.groups == ratings.names


@pytest.mark.parametrize("metadata", METADATA)
def test_parts_of_the_split_are_folders(place: Callable[..., Path], metadata: str) -> None:
    place("test", ["a.png"], metadata, mos=[1], std=[0.5], scene=["s"])
    place("dev", ["a.png"], metadata, mos=[2], std=[0.25], scene=[""])
    folder = place("Train", ["b.png", "in/a.png"], metadata, mos=[3, 4], std=[None, 1], scene=["t", "s"])
    (folder / "notes").mkdir()
    ratings = read_imagefolder(folder, CARD, Columns(std={"quality": "std"}, group="scene"))
    assert ratings.names == ("Train/b.png", "Train/in/a.png", "dev/a.png", "test/a.png")
    assert ratings.images == tuple(folder / name for name in ratings.names)
    assert ratings.split == ("train", "train", "validation", "test")
    assert ratings.scores["quality"].tolist() == [3.0, 4.0, 2.0, 1.0]
    np.testing.assert_array_equal(ratings.std["quality"], [np.nan, 1.0, 0.25, 0.5])
    assert ratings.groups == ("t", "s", "dev/a.png", "s")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *(("train", "train"), ("training", "train"), ("validation", "validation"), ("valid", "validation")),
        *(("val", "validation"), ("test", "test"), ("eval", "test"), ("evaluation", "test")),
    ],
)
def test_the_hubs_names_of_parts(place: Callable[..., Path], name: str, part: str) -> None:
    # SPLIT_KEYWORDS in datasets/data_files.py.
    assert read_imagefolder(place(name, ["a.png"], mos=[1]), CARD).split == (part,)


def test_one_metadata_file_for_images_in_the_folders_of_parts(place: Callable[..., Path]) -> None:
    names = ["test/a.png", "train/in/a.png", "other/train.png", "train.png"]
    folder = place("", names, mos=[1, 2, 3, 4], part=["train", "", "test", "val"])
    assert read_imagefolder(folder, CARD).split == ("test", "train", "", "")
    # A column that the user names is the owners' word.
    stated = read_imagefolder(folder, CARD, Columns(split="part"))
    assert stated.split == ("train", "", "test", "validation")


def test_a_stated_split_column_counts_more_than_folders(place: Callable[..., Path]) -> None:
    folder = place("train", ["a.png", "b.png"], mos=[1, 2], part=["test", "train"])
    assert read_imagefolder(folder, CARD, Columns(split="part")).split == ("test", "train")


def test_other_columns_may_name_the_images(place: Callable[..., Path]) -> None:
    folder = place("train", ["a.png"], mos=[1], left_file_name=["a.png"])
    assert read_imagefolder(folder, CARD, Columns(image="left_file_name")).names == ("train/a.png",)


def test_lower_may_be_better(place: Callable[..., Path]) -> None:
    folder = place("test", ["clean.png", "noisy.png"], dmos=[0, 75])
    card = DatasetCard("mine", 0, 100, higher_is_better=False)
    ratings = read_imagefolder(folder, card, Columns(scores={"quality": "dmos"}))
    assert ratings.scores["quality"].tolist() == [0.0, 75.0]
    assert ratings.quality().tolist() == [5.0, 2.0]


def test_images_may_be_missing_or_lie_elsewhere(place: Callable[..., Path], tmp_path: Path) -> None:
    place("train", ["a.png", "b.png"], mos=[1, 2])
    folder = place("test", ["a.png"], mos=[3])
    (folder / "train" / "a.png").unlink()
    with pytest.raises(RatingsError, match=r"mine: 1 image \(train/a.png\) of 3 missing"):
        read_imagefolder(folder, CARD)
    assert read_imagefolder(folder, CARD, missing="drop").names == ("train/b.png", "test/a.png")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    ratings = read_imagefolder(folder, CARD, images=elsewhere, missing="drop")
    assert ratings.images[0] == elsewhere / "train" / "b.png"


def test_what_may_be_meant_twice_is_refused(place: Callable[..., Path]) -> None:
    folder = place("train", ["a.png"], mos=[1])
    place("train", ["a.png"], "metadata.jsonl", mos=[1])
    with pytest.raises(RatingsError, match=r"train: which of metadata.csv, metadata.jsonl is meant"):
        read_imagefolder(folder, CARD)
    (folder / "train" / "metadata.jsonl").unlink()
    place("", ["b.png"], mos=[1])
    with pytest.raises(RatingsError, match=r"which is meant, metadata.csv or .*train.metadata.csv"):
        read_imagefolder(folder, CARD)


def test_metadata_in_folders_that_are_no_parts_are_refused(place: Callable[..., Path]) -> None:
    place("train", ["a.png"], mos=[1])
    folder = place("portraits", ["a.png"], mos=[1])
    with pytest.raises(RatingsError, match="folder 'portraits' holds a metadata file but is no part"):
        read_imagefolder(folder, CARD)


def test_errors_name_the_table_of_the_part(place: Callable[..., Path]) -> None:
    place("train", ["a.png"], mos=[1])
    folder = place("test", ["a.png"], mos=["?"])
    with pytest.raises(RatingsError, match=r"test.metadata.csv: row 2, mos: '\?' is not a number"):
        read_imagefolder(folder, CARD)
    place("test", ["a.png"], score=[1])
    with pytest.raises(RatingsError, match=r"test.metadata.csv: there is no column 'mos'"):
        read_imagefolder(folder, CARD)
    place("test", ["a.png"], mos=[7])
    with pytest.raises(RatingsError, match=r"quality outside 1 to 5: test/a.png \(7\)"):
        read_imagefolder(folder, CARD)


def test_folders_without_ratings_say_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(RatingsError, match="there is no such folder"):
        read_imagefolder(tmp_path / "nowhere", CARD)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.png").write_bytes(b"picture")
    with pytest.raises(RatingsError, match=r"no ratings here: expected metadata.csv, .* train, validation"):
        read_imagefolder(tmp_path, CARD)


@pytest.mark.parametrize("shard", ["data/train-00000-of-00001.parquet", "0000.parquet"])
def test_a_hub_dataset_in_parquet_is_refused_with_a_way_out(tmp_path: Path, shard: str) -> None:
    (tmp_path / shard).parent.mkdir(exist_ok=True)
    images = [{"bytes": b"picture", "path": "a.png"}]
    pq.write_table(pa.table({"image": images, "mos": [1]}), tmp_path / shard)
    with pytest.raises(RatingsError, match=rf"Parquet files \({shard}\).*write them to files first"):
        read_imagefolder(tmp_path, CARD)
