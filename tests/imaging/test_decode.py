"""Sources, formats, orientation, depth, transparency and frames."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from foveal.imaging.decode import decode, name_of

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


@pytest.fixture
def picture(photo: Pixels) -> Image.Image:
    return Image.fromarray(photo)


class TestSources:
    def test_all_sources_give_the_same_pixels(self, photo: Pixels, picture: Image.Image, tmp_path: Path) -> None:
        path = tmp_path / "photo.png"
        picture.save(path)
        data = path.read_bytes()
        with path.open("rb") as file:
            sources = [str(path), path, data, bytearray(data), memoryview(data), io.BytesIO(data), file, picture, photo]
            for source in sources:
                decoded = decode(source)
                np.testing.assert_array_equal(decoded.pixels, photo)
                assert decoded.pixels.dtype == np.uint8
                assert not decoded.pixels.flags.writeable
                assert decoded.warnings == ()

    def test_names(self, tmp_path: Path, photo: Pixels, picture: Image.Image) -> None:
        path = tmp_path / "a b.png"
        picture.save(path)
        with path.open("rb") as file, Image.open(path) as opened:
            assert [decode(source).name for source in (path, str(path), file, opened)] == [str(path)] * 4
        assert decode(path.read_bytes()).name == "<bytes>"
        assert name_of(io.BytesIO()) == "<file object>"
        assert name_of(picture) == "<image>"
        assert name_of(photo) == "<array>"
        assert name_of(3) == "<int>"

    def test_a_file_object_is_read_from_its_start_and_left_open(self, picture: Image.Image) -> None:
        file = io.BytesIO()
        picture.save(file, "PNG")
        assert decode(file).pixels.shape == (300, 400, 3)
        assert not file.closed

    def test_a_pipe_that_cannot_seek_and_gives_little_at_a_time(self, photo: Pixels, picture: Image.Image) -> None:
        class Pipe(io.RawIOBase):
            def __init__(self, data: bytes) -> None:
                self.rest = io.BytesIO(data)

            def readable(self) -> bool:
                return True

            def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
                part = self.rest.read(min(len(buffer), 1000))
                buffer[: len(part)] = part
                return len(part)

        np.testing.assert_array_equal(decode(Pipe(encoded(picture, "PNG"))).pixels, photo)

    def test_a_pillow_image_stays_as_it_is(self, picture: Image.Image, photo: Pixels) -> None:
        tags = Image.Exif()
        tags[274] = 6
        opened = Image.open(io.BytesIO(encoded(picture, "PNG", exif=tags)))
        assert decode(opened).pixels.shape == (400, 300, 3)
        assert opened.size == (400, 300)
        np.testing.assert_array_equal(np.asarray(opened), photo)

    def test_a_plain_jpeg_is_what_pillow_decodes(self, picture: Image.Image) -> None:
        data = encoded(picture, "JPEG", quality=90)
        np.testing.assert_array_equal(decode(data).pixels, np.asarray(Image.open(io.BytesIO(data))))

    def test_many_threads_give_what_one_gives(self, make_photo: Callable[..., Pixels]) -> None:
        kinds = ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF"]
        files = [encoded(Image.fromarray(make_photo(60, 80, seed)), kind) for seed in range(4) for kind in kinds]
        alone = [decode(data).pixels for data in files]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda data: decode(data).pixels, files * 4))
        for number, pixels in enumerate(together):
            np.testing.assert_array_equal(pixels, alone[number % len(files)])


class TestFormats:
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_deflate"}), ("PPM", {}),
            ("WEBP", {"lossless": True}), ("JPEG2000", {}), ("TGA", {}), ("PCX", {}), ("SGI", {}), ("DDS", {}),
        ],
    )  # fmt: skip
    def test_lossless(self, kind: str, options: dict[str, object], picture: Image.Image, photo: Pixels) -> None:
        np.testing.assert_array_equal(decode(encoded(picture, kind, **options)).pixels, photo)

    @pytest.mark.parametrize(
        ("kind", "options"),
        [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95}), ("AVIF", {"quality": 90}), ("MPO", {"quality": 95})],
    )
    def test_lossy(self, kind: str, options: dict[str, object], picture: Image.Image, photo: Pixels) -> None:
        decoded = decode(encoded(picture, kind, **options))
        assert decoded.warnings == ()
        assert np.abs(decoded.pixels.astype(float) - photo).mean() < 6

    def test_heic(self, picture: Image.Image, photo: Pixels, tmp_path: Path) -> None:
        pillow_heif = pytest.importorskip("pillow_heif")
        path = tmp_path / "phone.heic"
        pillow_heif.from_pillow(picture).save(path, quality=95)
        registered = dict(Image.OPEN)
        assert np.abs(decode(path).pixels.astype(float) - photo).mean() < 6
        assert registered.items() <= Image.OPEN.items()
        assert "HEIF" not in Image.OPEN  # other users of Pillow are left alone


class TestOrientation:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_is_applied_as_pillow_does(self, kind: str, orientation: int, photo: Pixels) -> None:
        tags = Image.Exif()
        tags[274] = orientation
        data = encoded(Image.fromarray(photo[:40, :64]), kind, exif=tags)
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
        assert expected.shape == ((64, 40, 3) if orientation > 4 else (40, 64, 3))
        np.testing.assert_array_equal(decode(data).pixels, expected)

    def test_known_corner(self) -> None:
        stored = np.zeros((2, 3, 3), np.uint8)
        stored[0, 0] = 255
        tags = Image.Exif()
        tags[274] = 6  # the first row is the right-hand side
        upright = decode(encoded(Image.fromarray(stored), "PNG", exif=tags)).pixels
        assert upright.shape == (3, 2, 3)
        assert upright[0, 1].tolist() == [255] * 3
        assert int(upright.sum()) == 3 * 255

    @pytest.mark.parametrize("note", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense", b"Exif\0\0"])
    def test_broken_exif_does_not_spoil_the_picture(self, note: bytes, picture: Image.Image) -> None:
        assert decode(encoded(picture, "JPEG", exif=note)).pixels.shape == (300, 400, 3)

    @pytest.mark.parametrize("orientation", [0, 9, 65535])
    def test_values_without_a_meaning_change_nothing(self, orientation: int, picture: Image.Image) -> None:
        tags = Image.Exif()
        tags[274] = orientation
        assert decode(encoded(picture, "JPEG", exif=tags)).pixels.shape == (300, 400, 3)


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
        decoded = decode(encoded(Image.fromarray(np.float32([[0, 0.25, 0.5, 1]])), "TIFF"))
        assert decoded.pixels[0, :, 1].tolist() == [0, 64, 128, 255]
        assert decoded.warnings == ()

    def test_other_floats_are_stretched_with_a_warning(self) -> None:
        decoded = decode(encoded(Image.fromarray(np.float32([[-10, 0, 10]])), "TIFF"))
        assert decoded.pixels[0, :, 1].tolist() == [0, 128, 255]
        assert "from -10 to 10" in decoded.warnings[0]

    def test_a_constant_float_image_decodes(self) -> None:
        assert decode(Image.fromarray(np.full((2, 2), 7, np.float32))).pixels.shape == (2, 2, 3)

    def test_bilevel(self) -> None:
        pixels = decode(encoded(Image.fromarray(np.eye(9, dtype=bool)), "PNG")).pixels
        np.testing.assert_array_equal(pixels[..., 2], np.eye(9, dtype=np.uint8) * 255)


class TestTransparency:
    background = (10, 200, 30)

    def composite(self, source: object) -> list[list[int]]:
        decoded = decode(source, background=self.background)  # type: ignore[arg-type]
        assert decoded.warnings == ("transparent parts were laid on the colour (10, 200, 30)",)
        return [[int(level) for level in pixel] for pixel in decoded.pixels[0]]

    @pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "TGA", "ICO", None])
    def test_straight_alpha(self, kind: str | None) -> None:
        samples = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 100, 51]]], np.uint8).repeat(8, 1).repeat(24, 0)
        picture = Image.fromarray(samples)
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {"sizes": [(24, 24)]} if kind == "ICO" else {}
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
        colour = png(2, 1, 8, 2, b"\0" + bytes([1, 2, 3, 4, 5, 6]), chunk(b"tRNS", struct.pack(">3H", 4, 5, 6)))
        assert self.composite(colour) == [[1, 2, 3], list(self.background)]
        grey = png(2, 1, 8, 0, b"\0" + bytes([7, 8]), chunk(b"tRNS", struct.pack(">H", 7)))
        assert self.composite(grey) == [list(self.background), [8, 8, 8]]
        deep = png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 257 * 9, 257 * 8), chunk(b"tRNS", struct.pack(">H", 257 * 9)))
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


class TestFrames:
    @pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
    def test_first_frame_of_several_with_a_warning(self, kind: str) -> None:
        frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "lime", "blue")]
        decoded = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert len(decoded.warnings) == 1
        assert "only the first" in decoded.warnings[0]
        np.testing.assert_allclose(decoded.pixels.astype(int), np.broadcast_to([255, 0, 0], (24, 32, 3)), atol=12)

    def test_the_frame_chosen_in_a_pillow_image_is_kept(self) -> None:
        frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "lime")]
        opened = Image.open(io.BytesIO(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])))
        opened.seek(1)
        decoded = decode(opened)
        assert decoded.pixels[0, 0].tolist() == [0, 255, 0]
        assert decoded.warnings == ()

    def test_previews_in_a_phone_photograph_are_not_frames(self) -> None:
        views = [Image.new("RGB", (32, 24), colour) for colour in ("red", "lime")]
        decoded = decode(encoded(views[0], "MPO", save_all=True, append_images=views[1:]))
        assert decoded.warnings == ()
        assert decoded.pixels[0, 0, 0] > 240


def test_strips_of_a_large_picture_join_without_a_seam(monkeypatch: pytest.MonkeyPatch, photo: Pixels) -> None:
    """Pictures of many megapixels go in strips; with small strips the result must be the same."""
    alpha = np.dstack([photo, photo[..., 0]])
    sources = [encoded(Image.fromarray(photo), "JPEG", quality=90), encoded(Image.fromarray(alpha), "PNG"), alpha]
    deep = photo[..., 0].astype(np.uint16) * 256
    sources += [encoded(Image.fromarray(deep), "PNG"), deep, deep / 65535]
    expected = [decode(source).pixels for source in sources]
    monkeypatch.setattr("foveal.imaging.strips._WHOLE", 1000)
    monkeypatch.setattr("foveal.imaging.strips._STRIP", 7 * 400)
    for source, pixels in zip(sources, expected, strict=True):
        np.testing.assert_array_equal(decode(source).pixels, pixels)
