"""Properties of the views, for any image."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foveal.imaging.views import (
    CELL,
    GRID,
    SIDE,
    content_offsets,
    crop_view,
    enlarge_to,
    fragment_view,
    whole_view,
)

Pixels = NDArray[np.uint8]

SIDES = st.integers(1, 520)
LARGE_SIDES = st.integers(SIDE, 700)
SEEDS = st.integers(0, 2**32 - 1)
COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


def noise(height: int, width: int, seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def coordinates(height: int, width: int) -> Pixels:
    """Every pixel tells where it is: 12 bits down, 12 bits right. The reference for literal crops."""
    down, right = np.mgrid[0:height, 0:width]
    return np.stack([down & 255, right & 255, (down >> 8) << 4 | right >> 8], axis=-1).astype(np.uint8)


def places(view: Pixels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the pixels of a view of :func:`coordinates` come from: (down, right)."""
    low_down, low_right, high = (view[..., channel].astype(np.int64) for channel in range(3))
    return (high >> 4) << 8 | low_down, (high & 15) << 8 | low_right


@given(height=SIDES, width=SIDES, seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_all_views_have_one_shape_and_leave_the_image_alone(height: int, width: int, seed: int) -> None:
    pixels = noise(height, width, seed)
    before = pixels.copy()
    for view in (whole_view(pixels), fragment_view(pixels), crop_view(pixels)):
        assert view.shape == (SIDE, SIDE, 3)
        assert view.dtype == np.uint8
    np.testing.assert_array_equal(pixels, before)


@given(height=SIDES, width=SIDES, colour=COLOURS)
@settings(max_examples=40, deadline=None)
def test_a_constant_image_stays_constant(height: int, width: int, colour: tuple[int, int, int]) -> None:
    pixels = np.full((height, width, 3), colour, np.uint8)
    for view in (whole_view(pixels), fragment_view(pixels), crop_view(pixels)):
        assert (view == np.array(colour, np.uint8)).all()


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_an_image_of_the_size_of_a_view_is_its_own_view(seed: int) -> None:
    pixels = noise(SIDE, SIDE, seed)
    for view in (whole_view(pixels), fragment_view(pixels), crop_view(pixels)):
        np.testing.assert_array_equal(view, pixels)


class TestWhole:
    def test_keeps_the_composition(self) -> None:
        quarters = np.zeros((500, 900, 3), np.uint8)
        quarters[:250, 450:], quarters[250:, :450], quarters[250:, 450:] = (
            (255, 0, 0),
            (0, 255, 0),
            (0, 0, 255),
        )
        view = whole_view(quarters)
        assert view[56, 56].tolist() == [0, 0, 0]
        assert view[56, 168].tolist() == [255, 0, 0]
        assert view[168, 56].tolist() == [0, 255, 0]
        assert view[168, 168].tolist() == [0, 0, 255]

    def test_is_antialiased(self) -> None:
        stripes = np.zeros((1792, 1792, 3), np.uint8)
        stripes[:, ::2] = 255
        inner = whole_view(stripes)[4:-4, 4:-4]
        assert np.abs(inner.astype(int) - 127.5).max() < 3

    @pytest.mark.parametrize("side", [1, 64, 384])
    def test_other_sides(self, side: int, photo: Pixels) -> None:
        assert whole_view(photo, side).shape == (side, side, 3)


class TestFragments:
    @given(height=LARGE_SIDES, width=LARGE_SIDES)
    @settings(max_examples=40, deadline=None)
    def test_are_literal_crops_each_inside_its_own_cell(self, height: int, width: int) -> None:
        down, right = places(fragment_view(coordinates(height, width)))
        steps = np.arange(CELL)
        for row in range(GRID):
            for column in range(GRID):
                block = np.s_[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
                top, left = down[block][0, 0], right[block][0, 0]
                np.testing.assert_array_equal(
                    down[block], np.broadcast_to(top + steps[:, None], (CELL, CELL))
                )
                np.testing.assert_array_equal(right[block], np.broadcast_to(left + steps, (CELL, CELL)))
                assert row * height // GRID <= top <= (row + 1) * height // GRID - CELL
                assert column * width // GRID <= left <= (column + 1) * width // GRID - CELL

    def test_offsets_reach_both_ends_of_a_cell(self) -> None:
        pixels = coordinates(700, 1400)
        for share, expected in ((0.0, (0, 0)), (np.nextafter(1.0, 0), (100 - CELL, 200 - CELL))):
            down, right = places(fragment_view(pixels, np.full((GRID, GRID, 2), share)))
            assert (down[0, 0], right[0, 0]) == expected

    def test_offsets_are_down_then_right_and_by_row_then_column(self) -> None:
        offsets = np.zeros((GRID, GRID, 2))
        offsets[2, 5] = 0.5, 0.75
        down, right = places(fragment_view(coordinates(700, 700), offsets))
        assert (down[2 * CELL, 5 * CELL], right[2 * CELL, 5 * CELL]) == (200 + 34, 500 + 51)
        assert (down[5 * CELL, 2 * CELL], right[5 * CELL, 2 * CELL]) == (500, 200)

    def test_smaller_grids(self) -> None:
        view = fragment_view(coordinates(300, 300), grid=3, cell=16)
        assert view.shape == (48, 48, 3)
        assert places(view)[0][16, 0] >= 100

    def test_small_images_are_enlarged_just_enough(self) -> None:
        small = noise(100, 160, 0)
        enlarged = enlarge_to(small, SIDE)
        assert enlarged.shape == (SIDE, round(160 * SIDE / 100), 3)
        offsets = content_offsets(small)
        np.testing.assert_array_equal(fragment_view(small, offsets), fragment_view(enlarged, offsets))

    @pytest.mark.parametrize("shape", [(GRID, GRID), (GRID, GRID, 3), (3, GRID, 2), (GRID * GRID, 2)])
    def test_offsets_of_another_shape(self, shape: tuple[int, ...], photo: Pixels) -> None:
        with pytest.raises(ValueError, match="offsets have shape"):
            fragment_view(photo, np.zeros(shape))

    @pytest.mark.slow
    def test_a_line_of_pixels_does_not_fill_the_memory(self) -> None:
        assert enlarge_to(np.zeros((60_000, 1, 3), np.uint8), SIDE).size <= 3 * 2**26
        assert (fragment_view(np.full((1, 60_000, 3), 7, np.uint8)) == 7).all()


class TestCrop:
    @given(height=LARGE_SIDES, width=LARGE_SIDES, centre=st.tuples(*[st.floats(0, 1)] * 2))
    @settings(max_examples=40, deadline=None)
    def test_is_one_literal_square(self, height: int, width: int, centre: tuple[float, float]) -> None:
        down, right = places(crop_view(coordinates(height, width), centre))
        assert abs(down[0, 0] - centre[0] * (height - SIDE)) <= 0.5
        assert abs(right[0, 0] - centre[1] * (width - SIDE)) <= 0.5
        assert (np.diff(down, axis=0) == 1).all()
        assert (np.diff(right, axis=1) == 1).all()

    def test_is_a_copy(self, photo: Pixels) -> None:
        view = crop_view(photo)
        assert not np.shares_memory(view, photo)
        assert view.flags.c_contiguous

    @pytest.mark.parametrize("centre", [(-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.5)])
    def test_bad_centre(self, centre: tuple[float, float], photo: Pixels) -> None:
        with pytest.raises(ValueError, match="centre"):
            crop_view(photo, centre)


class TestEnlarge:
    @given(height=SIDES, width=SIDES, least=st.integers(1, 300))
    @settings(max_examples=40, deadline=None)
    def test_shorter_side_reaches_the_least_and_shape_is_kept(
        self, height: int, width: int, least: int
    ) -> None:
        pixels = noise(height, width, 1)
        enlarged = enlarge_to(pixels, least)
        if min(height, width) >= least:
            assert enlarged is pixels
            return
        assert min(enlarged.shape[:2]) == least
        scale = least / min(height, width)
        assert abs(enlarged.shape[0] - height * scale) <= 0.5
        assert abs(enlarged.shape[1] - width * scale) <= 0.5


GOLDEN = "9ce6ac3dddee3639"
"""First digits of SHA-256 over the offsets of the picture below. Scores depend on them: they never change."""

PRINT_DIGEST = """
import hashlib, numpy as np
from foveal.imaging.views import content_offsets
down, right = np.mgrid[0:300, 0:400]
pixels = np.stack([down * 3, right * 5, down * right], axis=-1).astype(np.uint8)
print(hashlib.sha256(content_offsets(pixels).tobytes()).hexdigest()[:16])
"""


class TestContentOffsets:
    @given(height=SIDES, width=SIDES, seed=SEEDS, draw=st.integers(0, 9))
    @settings(max_examples=40, deadline=None)
    def test_lie_in_range_and_repeat(self, height: int, width: int, seed: int, draw: int) -> None:
        pixels = noise(height, width, seed)
        offsets = content_offsets(pixels, draw=draw)
        assert offsets.shape == (GRID, GRID, 2)
        assert offsets.dtype == np.float64
        assert (offsets >= 0).all()
        assert (offsets < 1).all()
        np.testing.assert_array_equal(offsets, content_offsets(pixels.copy(), draw=draw))

    def test_depend_on_content_shape_and_draw(self, make_photo: Callable[..., Pixels]) -> None:
        photo = make_photo()
        changed = photo.copy()
        changed[100:120, 100:120] ^= 255
        others = [make_photo(seed=1), changed, photo[:, :-1], photo[::-1].copy()]
        digests = {hashlib.sha256(content_offsets(pixels).tobytes()).digest() for pixels in [photo, *others]}
        digests |= {hashlib.sha256(content_offsets(photo, draw=draw).tobytes()).digest() for draw in (1, 2)}
        assert len(digests) == 7

    def test_are_uniform(self) -> None:
        offsets = np.concatenate([content_offsets(noise(64, 64, seed)).ravel() for seed in range(60)])
        counts = np.histogram(offsets, bins=10, range=(0, 1))[0] / len(offsets)
        assert np.abs(counts - 0.1).max() < 0.02
        assert abs(np.corrcoef(offsets[:-1], offsets[1:])[0, 1]) < 0.05

    def test_are_the_same_in_every_process(self) -> None:
        for seed in ("0", "1"):
            environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
            command = [sys.executable, "-c", PRINT_DIGEST]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            assert done.stdout.strip() == GOLDEN

    @pytest.mark.parametrize("grid", [1, 3, 9])
    def test_other_grids(self, grid: int, photo: Pixels) -> None:
        assert content_offsets(photo, grid=grid).shape == (grid, grid, 2)
