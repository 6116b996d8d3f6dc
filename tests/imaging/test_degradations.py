"""Degradations: shape and type kept, no damage at severity 0, more damage the more severe."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foveal.imaging.degradations import DEGRADATIONS, degrade

Pixels = NDArray[np.uint8]

KINDS = sorted(DEGRADATIONS)


def mean_squared_error(one: Pixels, other: Pixels) -> float:
    return float(np.square(one.astype(np.float64) - other).mean())


@pytest.mark.parametrize("kind", KINDS)
@given(height=st.integers(1, 60), width=st.integers(1, 60), severity=st.floats(0, 1))
@settings(max_examples=15, deadline=None)
def test_shape_and_type_are_kept(kind: str, height: int, width: int, severity: float) -> None:
    pixels = np.random.default_rng(height * 61 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = pixels.copy()
    degraded = degrade(pixels, kind, severity)
    assert degraded.shape == pixels.shape
    assert degraded.dtype == np.uint8
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(degrade(pixels, kind, severity), degraded)


@pytest.mark.parametrize("kind", KINDS)
def test_severity_0_is_the_image(kind: str, photo: Pixels) -> None:
    np.testing.assert_array_equal(degrade(photo, kind, 0.0), photo)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_damage_grows_with_severity(kind: str, seed: int, make_photo: Callable[..., Pixels]) -> None:
    photo = make_photo(seed=seed)
    damage = [
        mean_squared_error(degrade(photo, kind, severity), photo) for severity in (0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    assert damage[0] > 0.1
    assert all(less < more for less, more in pairwise(damage)), damage


def test_each_damages_in_its_own_way(photo: Pixels) -> None:
    flat = np.full((64, 64, 3), (90, 120, 150), np.uint8)
    for kind in ("blur", "downscale", "contrast-loss"):
        assert mean_squared_error(degrade(flat, kind, 1.0), flat) < 1, kind
    assert degrade(photo, "underexposure", 1.0).mean() < 0.3 * photo.mean()
    assert degrade(photo, "overexposure", 1.0).mean() > 1.5 * photo.mean()
    assert degrade(photo, "contrast-loss", 1.0).std(axis=(0, 1)).max() < 0.15 * photo.std(axis=(0, 1)).max()
    assert degrade(photo, "noise", 1.0)[..., 0].std() > photo[..., 0].std()

    def detail(pixels: Pixels) -> float:
        return float(np.abs(np.diff(pixels.astype(np.float64), axis=1)).mean())

    assert detail(degrade(photo, "blur", 1.0)) < 0.5 * detail(photo)
    assert detail(degrade(photo, "downscale", 1.0)) < 0.5 * detail(photo)


def test_exposure_counts_in_stops_of_linear_light() -> None:
    """One stop down from linear 0.5 (sRGB 188) is linear 0.25 (sRGB 137): IEC 61966-2-1."""
    grey = np.full((4, 4, 3), 188, np.uint8)
    assert np.unique(degrade(grey, "underexposure", 0.2)).tolist() == [137]
    assert np.unique(degrade(np.full((4, 4, 3), 137, np.uint8), "overexposure", 1 / 3.5)).tolist() == [188]


@pytest.mark.parametrize("kind", ["", "Blur", "sharpen"])
def test_unknown_kind(kind: str, photo: Pixels) -> None:
    with pytest.raises(ValueError, match="unknown degradation"):
        degrade(photo, kind, 0.5)


@pytest.mark.parametrize("severity", [-0.1, 1.1, float("nan")])
def test_severity_out_of_range(severity: float, photo: Pixels) -> None:
    with pytest.raises(ValueError, match="severity"):
        degrade(photo, "blur", severity)
