"""Each meter ranks the degradation it is made for, is calm under others, and agrees with what is known."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
import scipy.ndimage
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from foveal.attributes import ATTRIBUTES
from foveal.attributes.colour import hasler_suesstrunk
from foveal.attributes.filters import block_mean, spline_smooth
from foveal.attributes.noise import noise_sigma
from foveal.attributes.planes import prepare
from foveal.imaging.degradations import degrade

Pixels = NDArray[np.uint8]
Make = Callable[..., Pixels]

SEEDS = (0, 1, 2)
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)


def value(name: str, pixels: Pixels) -> float:
    return ATTRIBUTES[name].meter(prepare(pixels)).value


def local(name: str, pixels: Pixels) -> NDArray[np.float32]:
    found = ATTRIBUTES[name].meter(prepare(pixels)).local
    assert found is not None
    return found


def values(name: str, pictures: Sequence[Pixels]) -> list[float]:
    return [value(name, picture) for picture in pictures]


def to_pixels(levels: NDArray[np.floating]) -> Pixels:
    pixels: Pixels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return pixels


def rises(numbers: Sequence[float]) -> bool:
    return all(less < more for less, more in pairwise(numbers))


def blurred(pixels: Pixels, radius: float) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def grainy(pixels: Pixels, sigma: float, seed: int = 5) -> Pixels:
    """Grain that is the same in all three colours, so that luma has exactly this much of it."""
    grain = np.random.default_rng(seed).normal(0, sigma, (*pixels.shape[:2], 1))
    return to_pixels(pixels + grain)


def compressed(pixels: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def moved(pixels: Pixels, length: int, down: int, right: int) -> Pixels:
    """Mean of copies shifted along a direction, as under a camera that moves."""
    copies = [np.roll(pixels.astype(np.float64), (i * down, i * right), (0, 1)) for i in range(length)]
    return to_pixels(np.mean(copies, axis=0))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["sharpness", "crispness"])
def test_blur_takes_sharpness(name: str, seed: int, make_scene: Make) -> None:
    picture = make_scene(seed=seed)
    found = values(name, [blurred(picture, radius) for radius in (2, 1, 0.5, 0)])
    assert rises(found), found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["sharpness", "detail"])
def test_blur_takes_detail_of_what_is_textured(name: str, seed: int, make_photo: Make) -> None:
    picture = make_photo(seed=seed)
    found = values(name, [blurred(picture, radius) for radius in (4, 2, 1, 0.5, 0)])
    assert rises(found), found


@pytest.mark.parametrize("kind", ["blur", "downscale"])
def test_the_degradations_of_this_package_are_ranked(kind: str, make_photo: Make) -> None:
    found = values("sharpness", [degrade(make_photo(), kind, step) for step in (1.0, 0.7, 0.4, 0.0)])
    assert rises(found), found


@pytest.mark.parametrize("seed", SEEDS)
def test_crispness_does_not_fall_with_contrast_as_sharpness_does(seed: int, make_scene: Make) -> None:
    picture = make_scene(seed=seed)
    faint = degrade(picture, "contrast-loss", 0.5)
    fuzzy = blurred(picture, 1.5)
    assert value("sharpness", faint) < value("sharpness", picture) - 0.3
    lost = {kind: value("crispness", picture) - value("crispness", kept) for kind, kept in
            (("contrast", faint), ("blur", fuzzy))}  # fmt: skip
    assert abs(lost["contrast"]) < 0.2 * lost["blur"]


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_is_ranked_and_blur_is_not_noise(seed: int, make_scene: Make) -> None:
    picture = make_scene(seed=seed)
    noisy = values("noise", [grainy(picture, sigma) for sigma in (0, 2, 5, 10, 20)])
    assert rises(noisy), noisy
    fuzzy = values("noise", [blurred(picture, radius) for radius in (0, 1, 2, 4)])
    assert max(fuzzy) - min(fuzzy) < 0.1 * (noisy[-1] - noisy[0])


@pytest.mark.parametrize("sigma", [2.0, 4.0, 8.0, 16.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_known_sigma_is_found_beside_texture(sigma: float, seed: int) -> None:
    rough = np.random.default_rng(seed + 50).normal(0, 1, (360, 480))
    texture = sum(scipy.ndimage.gaussian_filter(rough, width) * width * 30 for width in (0.7, 1.5, 3))
    picture = 128 + 0.1 * np.arange(360.0)[:, None] + np.where(np.arange(480) > 280, texture, 0)
    picture = np.repeat(picture[..., None], 3, axis=2)
    found, _ = noise_sigma(prepare(grainy(to_pixels(picture), sigma, seed)))
    assert found == pytest.approx(sigma, rel=0.15)


def test_noise_is_found_where_it_is() -> None:
    rng = np.random.default_rng(0)
    picture = np.full((480, 480, 3), 128.0)
    picture[:, 320:] += rng.normal(0, 6, (480, 160, 1))
    places = local("noise", to_pixels(picture))
    assert places[:, 2].min() > places[:, :2].max() + 3


def test_white_and_black_areas_do_not_hide_noise() -> None:
    picture = np.full((384, 384, 3), 128, np.uint8)
    picture = grainy(picture, 6)
    picture[:, :130] = 255
    picture[:, 250:] = 0
    assert noise_sigma(prepare(picture))[0] == pytest.approx(6, rel=0.15)


def test_colour_noise_is_noise_of_colour_alone(scene: Pixels) -> None:
    rng = np.random.default_rng(3)
    blotches = scipy.ndimage.gaussian_filter(rng.normal(0, 1, scene.shape), (1.5, 1.5, 0)) * 20
    blotches -= (blotches @ np.array([0.299, 0.587, 0.114]))[..., None]
    coloured = [to_pixels(scene + strength * blotches) for strength in (0, 0.5, 1, 2)]
    assert rises(values("colour_noise", coloured))
    assert value("colour_noise", grainy(scene, 10)) < value("colour_noise", coloured[1])


@pytest.mark.parametrize("seed", SEEDS)
def test_compression_makes_blocks(seed: int, make_scene: Make) -> None:
    picture = make_scene(400, 520, seed)
    found = values("blocking", [compressed(picture, quality) for quality in (90, 50, 25, 10, 5)])
    assert rises(found), found
    assert found[-1] > 1.0
    assert abs(value("blocking", picture)) < 0.1
    assert value("blocking", compressed(picture, 10)[3:, 3:]) < 0.1  # the grid lies elsewhere


@pytest.mark.parametrize("seed", SEEDS)
def test_posterising_makes_bands(seed: int, make_photo: Make) -> None:
    smooth = blurred(make_photo(400, 400, seed), 8).astype(np.float64)
    smooth += np.random.default_rng(seed).uniform(-1.5, 1.5, (400, 400, 1))  # as sensors dither what they see
    steps = [to_pixels(smooth // step * step) for step in (1, 8, 16)]
    found = values("banding", steps)
    assert found[0] == pytest.approx(-4, abs=0.3)
    assert rises(found), found


def test_a_clean_ramp_in_wide_steps_is_banded_where_it_is() -> None:
    picture = np.random.default_rng(1).integers(100, 140, (384, 384, 3), dtype=np.uint8)
    picture[:128] = (np.arange(384) // 12 * 4 + 40)[None, :, None]
    places = local("banding", picture)
    assert places[0].min() > -1.5
    assert places[1:].max() < -3.5


DIRECTIONS = [(0, 1), (1, 0), (1, 1), (1, -1)]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("seed", SEEDS)
def test_blur_in_one_direction_is_motion(direction: tuple[int, int], seed: int, make_scene: Make) -> None:
    picture = make_scene(seed=seed)
    found = values("motion_blur", [moved(picture, length, *direction) for length in (1, 3, 7)])
    assert rises(found), found
    same_spread = blurred(picture, ((7**2 - 1) / 12) ** 0.5)
    assert found[-1] > value("motion_blur", same_spread) + 0.1


def test_oversharpening_makes_halos_and_blur_none(scene: Pixels) -> None:
    soft = blurred(scene, 0.7)
    sharpened = [
        np.asarray(Image.fromarray(soft).filter(ImageFilter.UnsharpMask(1.5, percent, 0)))
        for percent in (100, 200, 400)
    ]
    found = values("halos", [blurred(scene, 2), soft, *sharpened])
    assert rises(found), found
    assert found[1] < 0 < found[2]


def test_an_ideal_edge_has_no_halo() -> None:
    picture = np.full((192, 192, 3), 60, np.uint8)
    picture[:, 99:] = 180
    assert value("halos", picture) == 0


def test_focus_on_the_centre(scene: Pixels) -> None:
    fuzzy = blurred(scene, 4)
    centre, around = fuzzy.copy(), scene.copy()
    middle = slice(128, 256)
    centre[middle, middle] = scene[middle, middle]
    around[middle, middle] = fuzzy[middle, middle]
    found = values("subject_focus", [around, scene, centre])
    assert rises(found), found
    assert found[0] < -0.5 < 0.5 < found[2]
    assert value("focus_spread", centre) > value("focus_spread", fuzzy)
    assert local("sharpness", centre).argmax() == 4


def test_light_is_ranked(scene: Pixels) -> None:
    darker = [degrade(scene, "underexposure", step) for step in STEPS[::-1]]
    lighter = [degrade(scene, "overexposure", step) for step in STEPS[1:]]
    assert rises(values("brightness", [*darker, *lighter]))
    assert values("shadows", [scene, darker[0]])[0] < -2 < -1.5 < value("shadows", darker[0])
    assert rises(values("highlights", [scene, degrade(scene, "overexposure", 0.6), lighter[-1]]))


@pytest.mark.parametrize("name", ["contrast", "tonal_range", "local_contrast", "colourfulness", "sharpness"])
def test_contrast_loss_is_ranked(name: str, scene: Pixels) -> None:
    assert rises(values(name, [degrade(scene, "contrast-loss", step) for step in STEPS[::-1]]))


def test_plain_numbers_of_light() -> None:
    picture = np.full((100, 200, 3), 40, np.uint8)
    picture[:, 100:] = 200
    assert value("brightness", picture) == pytest.approx(120)
    assert value("contrast", picture) == pytest.approx(80)
    assert value("tonal_range", picture) == pytest.approx(160, abs=1)
    assert value("highlights", picture) == value("shadows", picture) == -4
    picture[:25] = 255
    picture[25:50] = 0
    assert value("highlights", picture) == pytest.approx(np.log10(0.25 + 1e-4))
    assert value("shadows", picture) == pytest.approx(np.log10(0.25 + 1e-4))


def test_a_centre_against_the_light() -> None:
    picture = np.full((90, 90, 3), 230, np.uint8)
    picture[30:60, 30:60] = 30
    assert value("subject_light", picture) == pytest.approx(-200)


def test_colourfulness_is_that_of_the_paper() -> None:
    """Computed pixel by pixel from the paper's formula, with the standard library."""
    picture = np.random.default_rng(8).integers(0, 256, (23, 31, 3), dtype=np.uint8)
    pixels = [tuple(int(level) for level in pixel) for pixel in picture.reshape(-1, 3)]
    red_green = [r - g for r, g, _ in pixels]
    yellow_blue = [(r + g) / 2 - b for r, g, b in pixels]
    spread = (statistics.pvariance(red_green) + statistics.pvariance(yellow_blue)) ** 0.5
    mean = (statistics.fmean(red_green) ** 2 + statistics.fmean(yellow_blue) ** 2) ** 0.5
    expected = spread + 0.3 * mean
    assert hasler_suesstrunk(*prepare(picture).opponents) == pytest.approx(expected, rel=1e-5)
    assert value("colourfulness", picture) == pytest.approx(np.log1p(expected), rel=1e-5)


def test_colourfulness_of_plain_red_is_known() -> None:
    """R - G = 255 and (R + G) / 2 - B = 127.5 everywhere: no spread, 0.3 times the length of the mean."""
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = 255
    assert hasler_suesstrunk(*prepare(red).opponents) == pytest.approx(0.3 * 285.0987548, rel=1e-6)


@pytest.mark.parametrize("name", ["colourfulness", "saturation"])
def test_desaturation_is_ranked(name: str, scene: Pixels) -> None:
    grey = scene.mean(axis=2, keepdims=True)
    found = values(name, [to_pixels(grey + keep * (scene - grey)) for keep in (0, 0.3, 0.6, 1.0)])
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert rises(found), found


def test_tints_are_ranked(scene: Pixels) -> None:
    grey = np.repeat(scene.mean(axis=2, keepdims=True), 3, axis=2) * 0.5 + 50
    tinted = [to_pixels(grey + np.array([shift, 0, -shift])) for shift in (-40, -20, 0, 20, 40)]
    assert rises(values("warmth", tinted))
    casts = values("colour_cast", tinted)
    assert rises(casts[2:])
    assert rises(casts[2::-1])


def test_green_is_counted(scene: Pixels) -> None:
    grey = np.full((90, 90, 3), 100, np.uint8)
    grey[:, :30, 1] = 140
    assert value("greenery", grey) == pytest.approx(np.log10(1 / 3 + 0.01), abs=1e-4)
    np.testing.assert_allclose(local("greenery", grey)[0], [np.log10(1.01), -2, -2], atol=1e-4)


def test_a_veil_is_haze(scene: Pixels) -> None:
    veiled = [to_pixels(scene * clear + 230.0 * (1 - clear)) for clear in (1.0, 0.8, 0.5, 0.2)]
    assert rises(values("haze", veiled))


def test_the_dark_channel_is_the_least_of_each_patch() -> None:
    picture = np.full((64, 64, 3), 200, np.uint8)
    picture[8, 8, 2] = 40  # one pixel in one of sixteen patches
    assert value("haze", picture) == pytest.approx((15 * 200 + 40) / 16)


def test_clutter_and_plainness_tell_empty_from_busy() -> None:
    empty = np.full((384, 384, 3), 150, np.uint8)
    rough = np.random.default_rng(6).normal(0, 1, (384, 384, 1))
    busy = to_pixels(empty + 150 * scipy.ndimage.gaussian_filter(rough, (1.5, 1.5, 0)))
    half = empty.copy()
    half[:, 192:] = busy[:, 192:]
    assert rises(values("clutter", [empty, half, busy]))
    plain = values("plainness", [busy, half, empty])
    assert rises(plain)
    assert plain[-1] == 1


def test_smoothing_agrees_with_scipy() -> None:
    plane = np.random.default_rng(2).normal(0, 50, (3, 40, 33)).astype(np.float32)
    for spacing in (1, 2, 4):
        kernel = np.zeros(4 * spacing + 1)
        kernel[::spacing] = np.array([1, 4, 6, 4, 1]) / 16
        expected = scipy.ndimage.convolve1d(plane.astype(np.float64), kernel, axis=1, mode="reflect")
        expected = scipy.ndimage.convolve1d(expected, kernel, axis=2, mode="reflect")
        np.testing.assert_allclose(spline_smooth(plane, spacing), expected, atol=1e-4)


def test_block_means_are_means_of_blocks() -> None:
    plane = np.random.default_rng(2).normal(0, 50, (2, 20, 35)).astype(np.float32)
    found = block_mean(plane)
    assert found.shape == (2, 2, 4)
    for row in range(2):
        for column in range(4):
            block = plane[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            np.testing.assert_allclose(found[:, row, column], block.mean(axis=(1, 2)), rtol=1e-4, atol=1e-4)
