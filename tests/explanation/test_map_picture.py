"""Colours of quality and the map over an image."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from foveal.explanation.colours import STOPS, colours, hexadecimal
from foveal.explanation.picture import LONGEST, map_picture, overlay, thumbnail
from foveal.explanation.sentences import local

# Machado, Oliveira and Fernandes, IEEE TVCG 15(6), 2009, severity 1.0, on linear RGB.
BLIND = {
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(srgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* (D65) of linear RGB."""
    xyz = srgb @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    f = np.cbrt(np.clip(xyz / [0.9505, 1.0, 1.089], 1e-6, None))
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("sight", ["full", *BLIND])
def test_no_eye_takes_one_colour_for_another(sight: str) -> None:
    levels = colours([1, 2, 3, 4, 5]) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    seen = linear if sight == "full" else np.clip(linear @ np.array(BLIND[sight]).T, 0, 1)
    shown = lab(seen)
    distances = [float(np.linalg.norm(first - second)) for first, second in combinations(shown, 2)]
    assert min(distances) > 20  # 2 is just noticeable side by side


def test_colours_are_the_stops_and_mixed_between() -> None:
    assert tuple(map(hexadecimal, (1, 2, 3, 4, 5))) == STOPS
    assert (hexadecimal(-3), hexadecimal(9)) == (STOPS[0], STOPS[-1])
    ends, middle = colours([[3, 4]])[0].astype(int), colours(3.5).astype(int)
    np.testing.assert_allclose(middle, ends.mean(axis=0), atol=1)


def test_the_overlay_shows_quality_where_it_is(photo: NDArray[np.uint8]) -> None:
    quality_map = np.full((7, 7), 5, np.float32)
    quality_map[:, 4:] = 1
    picture = Image.fromarray(photo)
    over = np.asarray(overlay(picture, quality_map)).astype(int)
    assert over.shape == photo.shape
    half = photo.shape[1] // 2
    assert over[:, : half - 40, 2].mean() > over[:, : half - 40, 0].mean() + 20  # blue: good
    assert over[:, half + 60 :, 0].mean() > over[:, half + 60 :, 2].mean() + 20  # orange: bad


def test_the_overlay_keeps_what_the_image_shows(photo: NDArray[np.uint8]) -> None:
    over = np.asarray(overlay(Image.fromarray(photo), np.full((7, 7), 3, np.float32)).convert("L"), float)
    grey = np.asarray(Image.fromarray(photo).convert("L"), float)
    assert np.corrcoef(over.ravel(), grey.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("size", [(300, 400), (900, 450), (3, 900), (5, 4)])
def test_pictures_of_any_shape(size: tuple[int, int], make_photo: Callable[..., NDArray[np.uint8]]) -> None:
    quality_map = np.linspace(1, 5, 49, dtype=np.float32).reshape(7, 7)
    with Image.open(io.BytesIO(map_picture(make_photo(*size), quality_map))) as picture:
        assert picture.format == "PNG"
        assert max(thumbnail(make_photo(*size)).size) == min(max(size), LONGEST)
        # The legend, below: its ends have the colours of the ends of the scale.
        pixels = np.asarray(picture.convert("RGB"))
        row = pixels[thumbnail(make_photo(*size)).height + 23]
        assert hexadecimal(1) in {"#" + bytes(value).hex() for value in row}


def test_the_same_image_gives_the_same_bytes(photo: NDArray[np.uint8]) -> None:
    quality_map = np.linspace(2, 4, 49, dtype=np.float32).reshape(7, 7)
    assert map_picture(photo, quality_map) == map_picture(photo, quality_map)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((0, 0), "at the upper left"),
        ((6, 3), "at the bottom"),
        ((3, 6), "on the right"),
        ((3, 3), "in the centre"),
    ],
)
def test_places_have_names(place: tuple[int, int], words: str) -> None:
    quality_map = np.full((7, 7), 3, np.float32)
    quality_map[place] = 4.5
    assert local(quality_map).endswith(f"strongest 4.50 {words}")
