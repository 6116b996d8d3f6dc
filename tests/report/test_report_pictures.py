"""Thumbnails and explanations: small, upright, within their budget, and never a reason to fail."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from foveal.explanation.explainer import Explainer
from foveal.explanation.sentences import local
from foveal.imaging.limits import Limits
from foveal.report.details import described, explain_all
from foveal.report.thumbnails import LONGEST, read_pictures

LIMITS = Limits()
LOTS = 1 << 30


def opened(text: str) -> Image.Image:
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    picture.load()
    return picture


def test_thumbnails_are_small_and_show_the_image(photo_folder: Path) -> None:
    path = photo_folder / "a.jpg"
    album = read_pictures([(7, str(path))], limits=LIMITS, budget=LOTS)
    small = opened(album.pictures[7])
    assert small.format == "JPEG"
    assert small.size == (LONGEST, LONGEST * 240 // 320)
    expected = Image.open(path).resize(small.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(small, float) - np.asarray(expected, float)).mean() < 8


def test_thumbnails_stand_upright_and_are_never_enlarged(tmp_path: Path) -> None:
    # Left half red, right half blue, and a note that it is to be turned a quarter clockwise.
    pixels = np.zeros((30, 60, 3), np.uint8)
    pixels[:, :30, 0] = pixels[:, 30:, 2] = 255
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    small = opened(read_pictures([(0, str(tmp_path / "turned.jpg"))], limits=LIMITS, budget=LOTS).pictures[0])
    assert small.size == (30, 60)
    assert small.getpixel((15, 5))[0] > 200  # type: ignore[index]
    assert small.getpixel((15, 55))[2] > 200  # type: ignore[index]


def test_files_that_vanished_or_broke_are_counted(photo_folder: Path) -> None:
    wanted = [
        (place, str(photo_folder / name)) for place, name in enumerate(["gone.jpg", "a.jpg", "broken.jpg"])
    ]
    album = read_pictures(wanted, limits=LIMITS, budget=LOTS)
    assert list(album.pictures) == [1]
    assert (album.missing, album.full) == (2, False)
    tight = read_pictures(wanted, limits=Limits(max_pixels=100), budget=LOTS)
    assert (tight.pictures, tight.missing) == ({}, 3)


def test_the_budget_is_kept_in_the_order_of_importance(photo_folder: Path) -> None:
    wanted = [(place, str(photo_folder / name)) for place, name in enumerate(["a.jpg", "b.png", "c.webp"])]
    whole = read_pictures(wanted, limits=LIMITS, budget=LOTS)
    assert list(whole.pictures) == [0, 1, 2]
    assert whole.size == sum(map(len, whole.pictures.values()))
    for fitting in range(3):
        budget = sum(len(whole.pictures[place]) for place in range(fitting))
        album = read_pictures(wanted, limits=LIMITS, budget=budget)
        assert album.pictures == {place: whole.pictures[place] for place in range(fitting)}
        assert album.full


def test_pictures_do_not_depend_on_threads(photo_folder: Path) -> None:
    wanted = [(place, str(photo_folder / name)) for place, name in enumerate(["a.jpg", "b.png", "c.webp"])]
    ticks: list[None] = []
    one, three = (
        read_pictures(wanted, limits=LIMITS, budget=LOTS, workers=workers, advance=lambda: ticks.append(None))
        for workers in (1, 3)
    )
    assert one == three
    assert len(ticks) == 6


def test_an_explanation_is_shown_as_it_is(
    explainer: Explainer, make_photo: Callable[..., NDArray[np.uint8]]
) -> None:
    pixels = make_photo(160, 240)
    explanation = explainer(pixels, name="x.jpg")
    shown = described(explanation, pixels)
    assert shown["description"] == explanation.description
    assert shown["verdict"] == [explanation.verdict.level, round(explanation.verdict.quality, 2)]
    assert shown["local"] == local(explanation.quality_map)
    assert [one["name"] for one in shown["attributes"]] == [
        one.attribute.replace("_", " ") for one in explanation.seen
    ]
    for one, seen in zip(shown["attributes"], explanation.seen, strict=True):
        assert one["said"].startswith(seen.said.phrase)
        assert (one["measured"] is None) == (seen.measured is None)
        assert one["differs"] == seen.differs
    assert opened(shown["picture"]).size == opened(shown["map"]).size == (240, 160)
    assert shown["picture"] != shown["map"]


def test_what_cannot_be_explained_stops_nothing(explainer: Explainer, photo_folder: Path) -> None:
    paths = [str(photo_folder / name) for name in ("gone.jpg", "a.jpg", "b.png")]
    found = explain_all(explainer, enumerate(paths), limits=LIMITS, budget=LOTS)
    assert list(found.by_key) == [1, 2]
    assert (found.missing, found.full, found.model) == ({0}, False, "constructed@1")
    first = len(found.by_key[1]["picture"]) + len(found.by_key[1]["map"])
    tight = explain_all(explainer, enumerate(paths), limits=LIMITS, budget=first)
    assert list(tight.by_key) == [1]
    assert tight.full
    assert tight.size == first


def test_a_fault_of_the_explainer_is_counted_too(
    explainer: Explainer, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Explainer, "__call__", failing)
    found = explain_all(explainer, [(0, str(photo_folder / "a.jpg"))], limits=LIMITS, budget=LOTS)
    assert (found.by_key, found.missing) == ({}, {0})
