from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foveal.errors import RatingsError
from foveal.ratings.biq2021 import read_biq2021
from foveal.ratings.own_table import Columns
from foveal.ratings.sources import DATASETS, read_ratings
from foveal.ratings.table import DatasetCard, Scale

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"picture")
    return tmp_path


def test_a_known_set_has_its_own_card(mini_biq2021: Path, tmp_path: Path) -> None:
    ratings = read_ratings(mini_biq2021, dataset="BIQ2021")
    expected = read_biq2021(mini_biq2021)
    assert (ratings.card, ratings.names, ratings.images) == (expected.card, expected.names, expected.images)
    elsewhere = (mini_biq2021 / "Images").rename(tmp_path / "elsewhere")
    (elsewhere / "ss03 (1).jpg").unlink()
    ratings = read_ratings(mini_biq2021, dataset="biq2021", images=elsewhere, missing="drop")
    assert len(ratings) == 5
    assert ratings.images[0].parent == elsewhere


def test_a_known_set_takes_neither_card_nor_columns(mini_biq2021: Path) -> None:
    with pytest.raises(RatingsError, match="biq2021: its scale and columns are known"):
        read_ratings(mini_biq2021, dataset="biq2021", card=DatasetCard("mine", 0, 1))
    with pytest.raises(RatingsError, match="leave out card and columns"):
        read_ratings(mini_biq2021, dataset="biq2021", columns=Columns())


def test_an_unknown_set_is_refused_with_those_that_are_known(folder: Path) -> None:
    with pytest.raises(RatingsError, match=f"live: no set of this name is known, only {', '.join(DATASETS)}"):
        read_ratings(folder, dataset="live")


@pytest.mark.parametrize("suffix", [".csv", ".xlsx", ".parquet"])
def test_a_table_is_read_with_a_card(folder: Path, write_table: Write, suffix: str) -> None:
    (folder / "tables").mkdir()
    path = write_table(folder / "tables" / f"t{suffix}", {"image": ["a.png", "b.png"], "dmos": [0, 1.5]})
    card = DatasetCard("mine", 0, 2, higher_is_better=False)
    columns = Columns(scores={"quality": "dmos"})
    ratings = read_ratings(path, card=card, columns=columns, images=folder)
    assert ratings.images == (folder / "a.png", folder / "b.png")
    assert ratings.scores["quality"].tolist() == [0.0, 1.5]
    assert ratings.quality().tolist() == [5.0, 2.0]
    with pytest.raises(RatingsError, match=r"2 images .* missing in .*tables"):
        read_ratings(path, card=card, columns=columns)


def test_an_imagefolder_is_read_with_a_card(folder: Path, write_table: Write) -> None:
    write_table(folder / "metadata.jsonl", {"file_name": ["a.png", "gone.png"], "mos": [2, 3]})
    card = DatasetCard("mine", 1, 5)
    with pytest.raises(RatingsError, match=r"1 image \(gone.png\) of 2 missing"):
        read_ratings(folder, card=card)
    ratings = read_ratings(str(folder), card=card, missing="drop")
    assert (ratings.images, ratings.scores["quality"].tolist()) == ((folder / "a.png",), [2.0])
    (folder / "elsewhere").mkdir()
    (folder / "a.png").rename(folder / "elsewhere" / "a.png")
    ratings = read_ratings(folder, card=card, images=folder / "elsewhere", missing="drop")
    assert ratings.images == (folder / "elsewhere" / "a.png",)


def test_each_target_may_have_a_scale_of_its_own(folder: Path, write_table: Write) -> None:
    path = write_table(folder / "t.tsv", {"image": ["a.png"], "mos": [-3], "artefacts": [25]})
    card = DatasetCard("mine", -3, 3, other_scales={"artefacts": Scale(0, 100, higher_is_better=False)})
    columns = Columns(scores={"quality": "mos", "artefacts": "artefacts"})
    ratings = read_ratings(path, card=card, columns=columns)
    np.testing.assert_array_equal([ratings.quality(), ratings.quality("artefacts")], [[1.0], [4.0]])


@pytest.mark.parametrize("place", ["t.csv", "metadata.csv"])
def test_without_a_card_the_error_says_what_to_state_and_what_is_seen(
    folder: Path, write_table: Write, place: str
) -> None:
    image = "image" if place == "t.csv" else "file_name"
    path = write_table(
        folder / place, {image: ["a.png", "b.png", "c.png"], "dmos": [12.5, None, 87], "c": [None] * 3}
    )
    source = path if place == "t.csv" else folder
    with pytest.raises(RatingsError, match=r"low and high.*higher_is_better.*DMOS") as caught:
        read_ratings(source, columns=Columns(scores={"quality": "dmos", "correspondence": "c"}))
    assert str(caught.value).startswith(f"{source}: ")
    assert str(caught.value).endswith(
        "Seen: quality (column 'dmos') from 12.5 to 87; correspondence (column 'c') has no scores"
    )


def test_what_is_not_there_is_named(folder: Path) -> None:
    for name in ("nowhere", "nowhere.csv"):
        with pytest.raises(RatingsError, match=rf"{name}: there is no such file"):
            read_ratings(folder / name, card=DatasetCard("mine", 0, 1))
    with pytest.raises(RatingsError, match="no ratings here"):
        read_ratings(folder, card=DatasetCard("mine", 0, 1))
