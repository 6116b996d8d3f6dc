"""Reading an image: invariances, sizes, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from foveal.attributes import ATTRIBUTES, Reading, measure
from foveal.attributes.planes import TILE_SIDE, WHOLE_SIDE, prepare

Pixels = NDArray[np.uint8]
Make = Callable[..., Pixels]


def random_pixels(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_sound(readings: dict[str, Reading]) -> None:
    assert list(readings) == list(ATTRIBUTES)
    for name, reading in readings.items():
        attribute = ATTRIBUTES[name]
        assert np.isfinite(reading.value), name
        assert reading.degree == sum(reading.value >= cut for cut in attribute.thresholds)
        assert reading.phrase == attribute.degrees[reading.degree]
        assert (reading.local is not None) == attribute.local
        if reading.local is None or (attribute.seen_from is not None and reading.degree == 0):
            assert reading.place is None
        if reading.local is not None:
            assert reading.local.shape == (3, 3)
            assert reading.local.dtype == np.float32
            assert np.isfinite(reading.local).all(), name
            assert not reading.local.flags.writeable


@pytest.mark.filterwarnings("error")
@given(height=st.integers(1, 100), width=st.integers(1, 100), seed=st.integers(0, 9), grey=st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_size_has_its_readings(height: int, width: int, seed: int, grey: bool) -> None:
    pixels = random_pixels(height, width, seed)
    if grey:
        pixels[:] = seed * 28
    before = pixels.copy()
    readings = measure(pixels)
    assert_sound(readings)
    np.testing.assert_array_equal(pixels, before)
    again = measure(pixels)
    for name, reading in readings.items():
        assert reading.value == again[name].value
        assert reading.place == again[name].place


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3), (577, 389)])
def test_odd_shapes_have_their_readings(shape: tuple[int, int]) -> None:
    assert_sound(measure(random_pixels(*shape)))


@pytest.mark.parametrize("level", [0, 100, 255])
def test_one_pixel_and_a_plain_area_read_alike(level: int) -> None:
    pixel, area = (measure(np.full((side, side, 3), level, np.uint8)) for side in (1, 300))
    for name, reading in pixel.items():
        assert reading.value == pytest.approx(area[name].value, abs=1e-4), name
        assert reading.place is None
    nothing = ("sharpness", "focus_spread", "motion_blur", "blocking", "halos", "contrast", "colourfulness")
    assert [pixel[name].value for name in nothing] == [0] * len(nothing)
    assert pixel["brightness"].value == pytest.approx(level, abs=1e-3)


# Each pixel's step to the right and below is read: an edge on the border of two places falls to either.
ONE_SIDED = {"sharpness", "focus_spread", "subject_focus", "plainness"}


def tolerance(name: str) -> float:
    """A quarter of the outer degrees' distance for what reads one-sided steps."""
    cuts = ATTRIBUTES[name].thresholds
    return 0.25 * (cuts[3] - cuts[0]) if name in ONE_SIDED else 2e-3


@given(seed=st.integers(0, 2**20))
@settings(max_examples=4, deadline=None)
def test_a_mirror_swaps_places_and_nothing_else(make_scene: Make, seed: int) -> None:
    picture = make_scene(seed=seed)
    straight, mirrored = measure(picture), measure(picture[:, ::-1])
    for name, reading in straight.items():
        other, allowed = mirrored[name], tolerance(name)
        assert other.value == pytest.approx(reading.value, abs=allowed), name
        if reading.local is not None and other.local is not None and name not in ONE_SIDED:
            np.testing.assert_allclose(other.local, reading.local[:, ::-1], atol=allowed, err_msg=name)


def test_turning_turns_places(scene: Pixels) -> None:
    straight, turned = measure(scene), measure(np.swapaxes(scene, 0, 1))
    for name, reading in straight.items():
        assert turned[name].value == pytest.approx(reading.value, abs=2e-3), name
        other = turned[name].local
        if reading.local is not None and other is not None:
            np.testing.assert_allclose(other, reading.local.T, atol=2e-3, err_msg=name)


def test_the_order_of_bytes_in_memory_does_not_matter(scene: Pixels) -> None:
    plain, strided = measure(scene), measure(np.asfortranarray(scene))
    assert [reading.value for reading in plain.values()] == [reading.value for reading in strided.values()]


@pytest.mark.parametrize(
    "name", ["brightness", "contrast", "colourfulness", "saturation", "warmth", "haze", "clutter"]
)
def test_megapixels_hardly_change_what_is_seen_of_the_whole(name: str, make_photo: Make) -> None:
    small = make_photo(512, 640)
    large = np.asarray(Image.fromarray(small).resize((2560, 2048), Image.Resampling.BICUBIC))
    cuts = ATTRIBUTES[name].thresholds
    assert measure(large)[name].value == pytest.approx(
        measure(small)[name].value, abs=0.15 * (cuts[3] - cuts[0])
    )


def test_the_whole_is_reduced_and_tiles_are_native() -> None:
    pixels = random_pixels(1300, 2000)
    planes = prepare(pixels)
    assert planes.whole.shape == (WHOLE_SIDE, round(2000 * WHOLE_SIDE / 1300), 3)
    assert planes.tiles.shape == (9, TILE_SIDE, TILE_SIDE, 3)
    places = {
        tuple(np.argwhere((pixels[::8, ::8] == tile[0, 0]).all(axis=2))[0] * 8) for tile in planes.tiles
    }
    assert len(places) == 9
    for tile, (top, left) in zip(planes.tiles, sorted(places), strict=True):
        np.testing.assert_array_equal(tile, pixels[top : top + TILE_SIDE, left : left + TILE_SIDE])


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((5, 5, 3), np.float32), r"pixels are float32 of shape \(5, 5, 3\), expected uint8"),
        (np.zeros((5, 5), np.uint8), r"pixels are uint8 of shape \(5, 5\), expected .*\(height, width, 3\)"),
        (np.zeros((5, 5, 4), np.uint8), r"shape \(5, 5, 4\)"),
        (np.zeros((0, 5, 3), np.uint8), r"shape \(0, 5, 3\): there is nothing to measure"),
    ],
)
def test_what_is_not_an_image_is_refused(pixels: Pixels, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(pixels)


def test_no_torch_and_no_scipy() -> None:
    code = "import foveal.attributes, sys; print(*({'torch', 'scipy', 'onnx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
