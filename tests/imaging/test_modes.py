"""Depths, palettes and transparency: every kind of sample ends as 8-bit RGB."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from foveal.imaging.decode import Source, decode

Pixels = NDArray[np.uint8]


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG written by hand (ISO/IEC 15948), for what Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + body


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


class TestDepth:
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
    def test_16_bit_grey(self, kind: str) -> None:
        pixels = decode(encoded(Image.fromarray(self.ramp), kind)).pixels
        np.testing.assert_array_equal(pixels, np.repeat(self.levels[..., None], 3, axis=2))

    def test_16_bit_grey_is_rounded_not_cut(self) -> None:
        samples = np.array([[0, 128, 129, 65406, 65407, 65535]], np.uint16)
        assert decode(Image.fromarray(samples)).pixels[0, :, 0].tolist() == [0, 0, 1, 254, 255, 255]

    def test_big_endian_samples(self) -> None:
        picture = Image.frombytes("I;16B", (16, 16), self.ramp.astype(">u2").tobytes())
        np.testing.assert_array_equal(decode(picture).pixels[..., 0], self.levels)

    @pytest.mark.parametrize("channels", [3, 4])
    def test_16_bit_colour_png(self, channels: int) -> None:
        samples = np.full((2, 2, channels), 65535, ">u2")
        samples[0, 0, :3] = 0x1234, 0x8000, 0xFE00
        rows = b"".join(b"\0" + row.tobytes() for row in samples)
        pixels = decode(png(2, 2, 16, 2 if channels == 3 else 6, rows)).pixels
        assert np.abs(pixels[0, 0].astype(int) - (0x12, 0x80, 0xFE)).max() <= 1
        assert pixels[1, 1].tolist() == [255] * 3

    def test_32_bit_integers_within_16_bits_are_16_bit(self) -> None:
        picture = Image.fromarray(self.ramp.astype(np.int32))
        assert picture.mode == "I"
        decoded = decode(picture)
        np.testing.assert_array_equal(decoded.pixels[..., 0], self.levels)
        assert decoded.warnings == ()

    def test_larger_integers_are_stretched_with_a_warning(self) -> None:
        decoded = decode(Image.fromarray(np.array([[-1000, 0, 99_000]], np.int32)))
        assert decoded.pixels[0, :, 0].tolist() == [0, round(255 / 100), 255]
        assert "stretched" in decoded.warnings[0]

    def test_floats_from_0_to_1(self) -> None:
        decoded = decode(encoded(Image.fromarray(np.array([[0, 0.25, 0.5, 1]], np.float32)), "TIFF"))
        assert decoded.pixels[0, :, 1].tolist() == [0, 64, 128, 255]
        assert decoded.warnings == ()

    def test_other_floats_are_stretched_with_a_warning(self) -> None:
        decoded = decode(encoded(Image.fromarray(np.array([[-10, 0, 10]], np.float32)), "TIFF"))
        assert decoded.pixels[0, :, 1].tolist() == [0, 128, 255]
        assert "from -10 to 10" in decoded.warnings[0]

    def test_a_constant_float_image_decodes(self) -> None:
        assert decode(Image.fromarray(np.full((2, 2), 7, np.float32))).pixels.shape == (2, 2, 3)

    def test_bilevel(self) -> None:
        pixels = decode(encoded(Image.fromarray(np.eye(9, dtype=bool)), "PNG")).pixels
        np.testing.assert_array_equal(pixels[..., 2], np.eye(9, dtype=np.uint8) * 255)


class TestTransparency:
    background = (10, 200, 30)

    def composite(self, source: Source) -> list[list[int]]:
        decoded = decode(source, background=self.background)
        assert decoded.warnings == ("transparent parts were laid on the colour (10, 200, 30)",)
        return [[int(level) for level in pixel] for pixel in decoded.pixels[0]]

    @pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "TGA", "ICO", None])
    def test_straight_alpha(self, kind: str | None) -> None:
        samples = (
            np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 100, 51]]], np.uint8)
            .repeat(8, 1)
            .repeat(24, 0)
        )
        picture = Image.fromarray(samples)
        options = (
            {"lossless": True, "exact": True}
            if kind == "WEBP"
            else {"sizes": [(24, 24)]}
            if kind == "ICO"
            else {}
        )
        source = encoded(picture, kind, **options) if kind else picture
        opaque, clear, part = (self.composite(source)[place] for place in (0, 8, 16))
        assert opaque == [255, 0, 0]
        assert clear == list(self.background)
        # 0.2 of the colour and 0.8 of the background
        np.testing.assert_allclose(part, [59, 160, 44], atol=1)

    def test_grey_alpha(self) -> None:
        picture = Image.fromarray(np.array([[[100, 255], [100, 0]]], np.uint8), "LA")
        assert self.composite(encoded(picture, "PNG")) == [[100, 100, 100], list(self.background)]

    def test_premultiplied_alpha(self) -> None:
        picture = Image.fromarray(np.array([[[51, 0, 20, 51], [9, 8, 7, 255]]], np.uint8)).copy()
        premultiplied = Image.frombytes("RGBa", (2, 1), picture.tobytes())
        assert self.composite(premultiplied) == [[59, 160, 44], [9, 8, 7]]

    @pytest.mark.parametrize("kind", ["PNG", "GIF"])
    def test_transparent_palette_entry(self, kind: str) -> None:
        picture = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
        picture.putpalette([255, 0, 0, 0, 0, 255])
        assert self.composite(encoded(picture, kind, transparency=1)) == [[255, 0, 0], list(self.background)]

    def test_palette_with_alpha(self) -> None:
        picture = Image.fromarray(np.array([[[255, 0, 0, 255], [0, 0, 255, 0]]], np.uint8)).convert("PA")
        assert self.composite(picture)[1] == list(self.background)

    def test_transparent_colour_and_grey_of_a_png(self) -> None:
        colour = png(
            2, 1, 8, 2, b"\0" + bytes([1, 2, 3, 4, 5, 6]), chunk(b"tRNS", struct.pack(">3H", 4, 5, 6))
        )
        assert self.composite(colour) == [[1, 2, 3], list(self.background)]
        grey = png(2, 1, 8, 0, b"\0" + bytes([7, 8]), chunk(b"tRNS", struct.pack(">H", 7)))
        assert self.composite(grey) == [list(self.background), [8, 8, 8]]
        deep = png(
            2,
            1,
            16,
            0,
            b"\0" + struct.pack(">2H", 257 * 9, 257 * 8),
            chunk(b"tRNS", struct.pack(">H", 257 * 9)),
        )
        assert self.composite(deep) == [list(self.background), [8, 8, 8]]

    def test_default_is_white_and_opaque_alpha_is_not_worth_a_warning(self) -> None:
        samples = np.zeros((1, 2, 4), np.uint8)
        assert decode(Image.fromarray(samples)).pixels.min() == 255
        samples[..., 3] = 255
        decoded = decode(Image.fromarray(samples))
        assert decoded.pixels.max() == 0
        assert decoded.warnings == ()

    @pytest.mark.parametrize("background", [(0, 0), (0, 0, 256), (-1, 0, 0), (0.5, 0, 0), "red"])
    def test_bad_background(self, background: object, photo: Pixels) -> None:
        with pytest.raises(ValueError, match="background"):
            decode(photo, background=background)  # type: ignore[arg-type]
