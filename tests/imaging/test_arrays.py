"""NumPy arrays as images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from foveal.errors import InvalidArrayError, ZeroSizedImageError
from foveal.imaging.decode import decode

Pixels = NDArray[np.uint8]

SIDES = st.integers(1, 12)
SHAPES = st.one_of(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES, st.sampled_from([1, 3])))
DTYPES: st.SearchStrategy[np.dtype[Any]] = st.sampled_from(
    [np.dtype(kind) for kind in ("u1", "<u2", ">u2", "?")]
)


@given(array=hnp.arrays(DTYPES, SHAPES))
def test_integers_are_scaled_by_their_range(array: NDArray[Any]) -> None:
    before = array.copy()
    pixels = decode(array).pixels
    top = 1 if array.dtype == np.bool_ else np.iinfo(array.dtype).max
    grey = array[..., None] if array.ndim == 2 else array
    expected = np.broadcast_to(np.rint(grey.astype(np.float64) * 255 / top), (*array.shape[:2], 3))
    np.testing.assert_array_equal(pixels, expected)
    assert pixels.dtype == np.uint8
    assert not pixels.flags.writeable
    np.testing.assert_array_equal(array, before)
    assert array.flags.writeable


@given(
    array=hnp.arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3))),
    kind=st.sampled_from([np.float32, np.float64]),
)
def test_floats_from_0_to_1_come_back_as_the_bytes_they_were(array: Pixels, kind: type) -> None:
    np.testing.assert_array_equal(decode((array / 255).astype(kind)).pixels, array)


def test_half_precision(photo: Pixels) -> None:
    pixels = decode((photo / 255).astype(np.float16)).pixels
    assert np.abs(pixels.astype(int) - photo).max() <= 1


@given(
    array=hnp.arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(4))),
    background=st.tuples(*[st.integers(0, 255)] * 3),
)
def test_alpha_is_straight_and_laid_on_the_background(
    array: Pixels, background: tuple[int, int, int]
) -> None:
    share = array[..., 3:] / 255
    expected = array[..., :3] * share + np.array(background) * (1 - share)
    for source in (array, array.astype(np.uint16) * 257, array / 255):
        pixels = decode(source, background=background).pixels
        assert np.abs(pixels - expected).max() <= 1


def test_rgb_bytes_are_shared_not_copied(photo: Pixels) -> None:
    pixels = decode(photo).pixels
    assert np.shares_memory(pixels, photo)
    assert photo.flags.writeable


def test_views_of_any_layout(photo: Pixels) -> None:
    for view in (photo[::-1, ::2], photo[..., ::-1], np.asfortranarray(photo), photo.transpose(1, 0, 2)):
        pixels = decode(view).pixels
        np.testing.assert_array_equal(pixels, view)
        assert pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("array", "advice"),
    [
        (np.zeros((3, 40, 50), np.uint8), "moveaxis"),
        (np.zeros((2, 40, 50, 3), np.uint8), "one by one"),
        (np.zeros(9, np.uint8), "expected"),
        (np.zeros((), np.uint8), "expected"),
        (np.zeros((4, 5, 2), np.uint8), "moveaxis"),
        (np.zeros((9, 5, 2), np.uint8), "expected"),
        (np.zeros((4, 4, 3), np.int64), "convert"),
        (np.zeros((4, 4, 3), np.uint32), "convert"),
        (np.zeros((4, 4, 3), np.complex64), "convert"),
        (np.full((4, 4, 3), "a"), "convert"),
        (np.full((4, 4, 3), None), "convert"),
        (np.full((4, 4, 3), 255.0), "divide"),
        (np.full((4, 4, 3), -0.1), "clip"),
    ],
)
def test_what_is_not_an_image(array: NDArray[np.generic], advice: str) -> None:
    with pytest.raises(InvalidArrayError) as caught:
        decode(array)
    assert caught.value.source == "<array>"
    assert advice in caught.value.advice


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3), (7, 9, 4)])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_single_nan_or_infinity_is_found(value: float, shape: tuple[int, ...], kind: type) -> None:
    array: NDArray[Any] = np.full(shape, 0.5, kind)
    array.flat[-1] = value
    with pytest.raises(InvalidArrayError, match="NaN or infinite"):
        decode(array)


def test_rounding_errors_of_single_precision_are_forgiven() -> None:
    array = np.array([[1 + 2**-23, -1e-8]], np.float32)
    assert decode(array).pixels[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0, 3), (5, 0, 4)])
def test_zero_sized(shape: tuple[int, ...]) -> None:
    with pytest.raises(ZeroSizedImageError):
        decode(np.zeros(shape, np.uint8))
