"""What holds for every known set, each on a miniature in its owners' layout."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from foveal.errors import RatingsError
from foveal.ratings.check import check_copy
from foveal.ratings.sets.known import locate
from foveal.ratings.sources import DATASETS, known_set, read_ratings

MakeMini = Callable[[str], Any]

# Number of images, ends of the scale and direction, as the owners' papers and pages state them; LIVE's scale
# is the range of its realigned scores, rounded outwards.
STATED = {
    "agiqa-1k": (1080, 0, 5, True),
    "agiqa-3k": (2982, 0, 5, True),
    "aigciqa2023": (2400, 0, 100, True),
    "aigiqa-20k": (20000, 0, 5, True),
    "pku-aigiqa-4k": (4000, 0, 5, True),
    "pku-i2iqa": (1600, 0, 5, True),
    "live-r2": (779, -3, 112, False),
    "csiq": (866, 0, 1, False),
    "tid2013": (3000, 0, 9, True),
    "kadid-10k": (10125, 1, 5, True),
    "live-challenge": (1162, 0, 100, True),
    "koniq-10k": (10073, 0, 100, True),
    "spaq": (11125, 0, 100, True),
    "flive": (39810, 0, 100, True),
    "biq2021": (12000, 0, 1, True),
}


def test_size_range_and_direction_are_those_that_the_owners_state() -> None:
    stated = {
        key: (known.size, known.card.low, known.card.high, known.card.higher_is_better)
        for key, known in DATASETS.items()
    }
    assert stated == STATED


@pytest.mark.parametrize("key", DATASETS)
def test_every_set_is_described(key: str) -> None:
    card = DATASETS[key].card
    assert card.note
    assert "http" in card.citation
    assert card.licence


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("KonIQ-10k", "koniq-10k"),
        ("koniq10k", "koniq-10k"),
        ("LIVE r2", "live-r2"),
        ("Kadid10K", "kadid-10k"),
    ],
)
def test_names_are_taken_however_they_are_written(name: str, key: str) -> None:
    assert known_set(name) is DATASETS[key]


@pytest.mark.parametrize("key", DATASETS)
def test_a_miniature_is_read_and_found_complete(mini_set: MakeMini, key: str) -> None:
    mini = mini_set(key)
    ratings = mini.read()
    refused = 2 if key == "agiqa-1k" else 0
    assert len(ratings) == mini.known.size - refused
    assert ratings.targets == mini.known.targets
    assert all(path.is_file() for path in ratings.images)
    for target in ratings.targets:
        assert np.isfinite(ratings.scores[target]).all()
        assert ((ratings.quality(target) >= 1) & (ratings.quality(target) <= 5)).all()
    found = check_copy(mini.known, mini.folder, decode=True)
    assert found.problems == []
    assert found.images == len(ratings)


@pytest.mark.parametrize("key", DATASETS)
def test_a_missing_image_is_refused_with_a_hint_or_dropped(mini_set: MakeMini, key: str) -> None:
    mini = mini_set(key)
    whole = mini.read()
    whole.images[1].unlink()
    with pytest.raises(RatingsError, match=f"1 image .* missing in .*`foveal ratings check {key} DIR`"):
        read_ratings(mini.folder, dataset=key)
    left = read_ratings(mini.folder, dataset=key, missing="drop")
    kept = [0, *range(2, len(whole))]
    assert left.names == tuple(whole.names[index] for index in kept)
    assert left.groups == tuple(whole.groups[index] for index in kept)
    assert left.split == tuple(whole.split[index] for index in kept)
    for target in whole.targets:
        np.testing.assert_array_equal(left.scores[target], whole.scores[target][kept])


@pytest.mark.parametrize("key", DATASETS)
def test_a_missing_label_file_is_named(mini_set: MakeMini, key: str) -> None:
    mini = mini_set(key)
    names = mini.known.tables[0]
    path = locate(mini.folder, *names)
    assert path is not None
    path.unlink()
    with pytest.raises(RatingsError, match=r"is missing; `foveal ratings check"):
        mini.read()
    found = check_copy(mini.known, mini.folder)
    assert found.problems[0].what == f"label file {' or '.join(names)} missing"


@pytest.mark.parametrize("key", DATASETS)
def test_a_damaged_label_file_is_named(mini_set: MakeMini, key: str) -> None:
    mini = mini_set(key)
    path = locate(mini.folder, *mini.known.tables[0])
    assert path is not None
    path.write_bytes(path.read_bytes()[:11] + b"\xff\xff")
    with pytest.raises(RatingsError, match=rf"{re.escape(str(path))}: .*foveal ratings check"):
        mini.read()
    found = check_copy(mini.known, mini.folder)
    assert str(path) in found.problems[0].what
    assert found.rows is None


def test_a_folder_that_is_not_there_is_refused(tmp_path: Any) -> None:
    with pytest.raises(
        RatingsError, match=r"nowhere: there is no such folder; give the one that holds dmos.csv"
    ):
        read_ratings(tmp_path / "nowhere", dataset="kadid-10k")


@pytest.mark.parametrize("key", ["live-r2", "agiqa-3k", "kadid-10k"])
def test_the_working_folder_may_be_the_copy(
    mini_set: MakeMini, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    mini = mini_set(key)
    monkeypatch.chdir(mini.folder)
    assert mini.known(".").names == mini.read().names
    assert check_copy(mini.known, ".").problems == []


def test_images_may_lie_elsewhere(mini_set: MakeMini, tmp_path: Any) -> None:
    mini = mini_set("spaq")
    elsewhere = (mini.folder / "TestImage").rename(tmp_path / "elsewhere")
    assert mini.read(images=elsewhere).images[0] == elsewhere / "00001.jpg"
    with pytest.raises(RatingsError, match="TestImage: there is no such folder; it should hold the images"):
        mini.read()
    with pytest.raises(ValueError, match="expected 'error' or 'drop'"):
        mini.read(images=elsewhere, missing="perhaps")
