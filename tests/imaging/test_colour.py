"""ICC profiles and colour models, against independent computation."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageColor

from foveal.imaging.decode import decode
from foveal.imaging.profiles import to_srgb

Pixels = NDArray[np.uint8]

SRGB_TO_XYZ = np.array(  # adapted to D50, as ICC profiles state it (http://www.brucelindbloom.com)
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
WIDE_TO_XYZ = np.array(  # Adobe RGB (1998), D50
    [[0.6097559, 0.2052401, 0.1492240], [0.3111242, 0.6256560, 0.0632197], [0.0194811, 0.0608902, 0.7448387]]
)


def tag(kind: bytes, data: bytes) -> bytes:
    data = kind + b"\0\0\0\0" + data
    return data + b"\0" * (-len(data) % 4)


def fixed(values: NDArray[np.float64]) -> bytes:
    return struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC version 2 display profile, written by hand from ICC.1:2001-04."""
    tags = {b"desc": tag(b"desc", struct.pack(">I", 5) + b"test\0" + b"\0" * 78)} | tags
    place = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", place + len(body), len(data))
        body += data
    white = fixed(np.array([0.9642, 1.0, 0.8249]))
    head = struct.pack(">I4sI4s4s4s", place + len(body), b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + white
    return head.ljust(128, b"\0") + table + body


def gamma_curve(gamma: float) -> bytes:
    return tag(b"curv", struct.pack(">IH", 1, round(gamma * 256)))


def rgb_profile(matrix: NDArray[np.float64], gamma: float) -> bytes:
    tags = {b"wtpt": tag(b"XYZ ", fixed(np.array([0.9642, 1.0, 0.8249])))}
    for column, name in enumerate((b"r", b"g", b"b")):
        tags[name + b"XYZ"] = tag(b"XYZ ", fixed(matrix[:, column]))
        tags[name + b"TRC"] = gamma_curve(gamma)
    return profile(b"RGB ", tags)


def grey_profile(gamma: float) -> bytes:
    white = {b"wtpt": tag(b"XYZ ", fixed(np.array([0.9642, 1.0, 0.8249])))}
    return profile(b"GRAY", white | {b"kTRC": gamma_curve(gamma)})


def srgb_encode(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_wide_gamut_profile_is_converted(photo: Pixels) -> None:
    muted = photo // 2 + 60  # stays within the sRGB gamut, where the conversion is plain arithmetic
    data = encoded(Image.fromarray(muted), icc_profile=rgb_profile(WIDE_TO_XYZ, 2.19921875))
    linear = (muted / 255) ** 2.19921875
    expected = srgb_encode(linear @ (np.linalg.inv(SRGB_TO_XYZ) @ WIDE_TO_XYZ).T)
    decoded = decode(data)
    assert decoded.warnings == ()
    assert np.abs(decoded.pixels - expected).max() < 2.5
    assert np.abs(decoded.pixels - muted.astype(float)).max() > 8


def test_alpha_is_laid_on_after_the_conversion() -> None:
    samples = np.array([[[200, 90, 90, 255], [200, 90, 90, 0]]], np.uint8)
    wide = rgb_profile(WIDE_TO_XYZ, 2.2)
    opaque, clear = decode(
        encoded(Image.fromarray(samples), icc_profile=wide), background=(9, 99, 199)
    ).pixels[0]
    converted = decode(encoded(Image.fromarray(samples[..., :3].copy()), icc_profile=wide)).pixels[0, 0]
    assert opaque.tolist() == converted.tolist() != [200, 90, 90]
    assert clear.tolist() == [9, 99, 199]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_an_srgb_profile_changes_nothing(kind: str, photo: Pixels) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(Image.fromarray(photo), kind, icc_profile=srgb)
    plain = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode(data).pixels, plain)


def test_profiles_that_change_nothing_cost_nothing() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert to_srgb(srgb, "RGB") == ("RGB", None)
    assert to_srgb(rgb_profile(SRGB_TO_XYZ, 2.2), "RGB")[1] is not None  # sRGB's primaries, but not its curve


@pytest.mark.parametrize("mode", ["L", "I;16", "LA"])
def test_a_grey_profile_is_applied(mode: str) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pictures = {
        "L": Image.fromarray(levels),
        "I;16": Image.fromarray(levels.astype(np.uint16) * 257),
        "LA": Image.fromarray(levels).convert("LA"),
    }
    expected = srgb_encode((levels / 255) ** 1.4)
    pixels = decode(encoded(pictures[mode], icc_profile=grey_profile(1.4))).pixels
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])
    assert np.abs(pixels[..., 1] - expected).max() < 2


def test_a_palette_takes_the_profile_of_its_colours(photo: Pixels) -> None:
    palette = Image.fromarray(photo).quantize(64)
    wide = rgb_profile(WIDE_TO_XYZ, 2.2)
    expected = decode(encoded(palette.convert("RGB"), icc_profile=wide)).pixels
    np.testing.assert_array_equal(decode(encoded(palette, icc_profile=wide)).pixels, expected)


def test_a_grey_picture_with_a_colour_profile_is_converted() -> None:
    levels = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    pixels = decode(encoded(levels, icc_profile=rgb_profile(SRGB_TO_XYZ, 1.0))).pixels
    expected = srgb_encode(np.asarray(levels) / 255)
    assert np.abs(pixels[..., 1] - expected).max() < 2


@pytest.mark.parametrize(
    "broken",
    [
        b"not a profile",
        rgb_profile(WIDE_TO_XYZ, 2.2)[:200],
        rgb_profile(WIDE_TO_XYZ, 2.2)[:128] + b"\xff" * 300,
    ],
)
def test_a_broken_profile_is_a_warning(broken: bytes, photo: Pixels) -> None:
    decoded = decode(encoded(Image.fromarray(photo), icc_profile=broken))
    np.testing.assert_array_equal(decoded.pixels, photo)
    assert len(decoded.warnings) == 1
    assert "colour profile is broken" in decoded.warnings[0]


def test_a_profile_for_another_kind_of_picture_is_a_warning(photo: Pixels) -> None:
    decoded = decode(encoded(Image.fromarray(photo), icc_profile=grey_profile(1.8)))
    np.testing.assert_array_equal(decoded.pixels, photo)
    assert "is for GRAY pictures" in decoded.warnings[0]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile(kind: str) -> None:
    inks = {"white": (0, 0, 0, 0), "black": (0, 0, 0, 255), "red": (0, 255, 255, 0), "blue": (255, 255, 0, 0)}
    for name, ink in inks.items():
        decoded = decode(encoded(Image.new("CMYK", (16, 16), ink), kind))
        expected = ImageColor.getrgb(name)
        np.testing.assert_allclose(decoded.pixels[8, 8], expected, atol=4)
        assert "approximate" in decoded.warnings[0]


def test_cmyk_with_a_profile_that_is_not_for_it(photo: Pixels) -> None:
    data = encoded(Image.fromarray(photo).convert("CMYK"), "TIFF", icc_profile=rgb_profile(WIDE_TO_XYZ, 2.2))
    decoded = decode(data)
    assert decoded.pixels.shape == photo.shape
    assert "is for RGB pictures" in decoded.warnings[0]
    assert "approximate" in decoded.warnings[1]


def cmyk_profile() -> bytes:
    """A printer profile with a lut16 table of two steps an ink: XYZ of the light that inks let through."""
    inks = np.indices((2, 2, 2, 2)).reshape(4, -1).T
    through = (1 - inks[:, :3]) * (1 - inks[:, 3:])
    white = np.array([0.9642, 1.0, 0.8249]) * 32768 / 65535
    xyz = (through @ SRGB_TO_XYZ.T) * 32768 / 65535
    assert np.allclose(xyz[0], white, atol=1e-3)
    identity = struct.pack(">9i", *(65536 * int(i == j) for i in range(3) for j in range(3)))
    ramp = np.array([0, 65535], ">u2").tobytes()
    table = np.rint(xyz * 65535).astype(">u2").tobytes()
    lut = struct.pack(">4B", 4, 3, 2, 0) + identity + struct.pack(">HH", 2, 2) + ramp * 4 + table + ramp * 3
    made = profile(
        b"CMYK", {b"wtpt": tag(b"XYZ ", fixed(np.array([0.9642, 1.0, 0.8249]))), b"A2B0": tag(b"mft2", lut)}
    )
    return made[:12] + b"prtr" + made[16:]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_with_its_profile(kind: str) -> None:
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[:, 16:] = 128, 0, 0, 64
    decoded = decode(
        encoded(
            Image.fromarray(inks, "CMYK"),
            kind,
            icc_profile=cmyk_profile(),
            **({"quality": 100} if kind == "JPEG" else {}),
        )
    )
    assert decoded.warnings == ()
    let_through = (1 - np.array([128, 0, 0]) / 255) * (1 - 64 / 255)
    np.testing.assert_allclose(decoded.pixels[8, 4], [255, 255, 255], atol=3)
    np.testing.assert_allclose(decoded.pixels[8, 28], srgb_encode(let_through), atol=4)


def test_lab_and_ycbcr_and_hsv(photo: Pixels) -> None:
    picture = Image.fromarray(photo)
    ycbcr = decode(picture.convert("YCbCr")).pixels
    assert np.abs(ycbcr.astype(int) - photo).max() <= 3
    spaces = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.buildTransform(*spaces, "RGB", "LAB").apply(picture)
    assert np.abs(decode(lab).pixels.astype(int) - photo).mean() < 2
    assert np.abs(decode(picture.convert("HSV")).pixels.astype(int) - photo).mean() < 3


def test_one_transform_serves_many_threads(make_photo: Callable[..., Pixels]) -> None:
    wide = rgb_profile(WIDE_TO_XYZ, 1.8)
    files = [encoded(Image.fromarray(make_photo(64, 64, seed)), icc_profile=wide) for seed in range(6)]
    alone = [decode(data).pixels for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode(data).pixels, files * 6))
    for number, pixels in enumerate(together):
        np.testing.assert_array_equal(pixels, alone[number % len(files)])
