"""Limits on bytes, pixels and memory, each checked before the harm is done."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from foveal.errors import (
    FileTooLargeError,
    ImageError,
    TooManyPixelsError,
    TruncatedImageError,
    ZeroSizedImageError,
)
from foveal.imaging.decode import Limits, decode

Pixels = NDArray[np.uint8]

WRITTEN = ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "TGA", "PCX", "SGI", "DDS"]


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def check_message(error: ImageError, name: str) -> None:
    assert error.source == name
    assert str(error) == f"{name}: {error.reason}; {error.advice}"


class TestSizes:
    def test_pixel_limit_is_exact(self, photo: Pixels) -> None:
        data = encoded(Image.fromarray(photo), "PNG")
        for source in (data, photo, Image.fromarray(photo)):
            assert decode(source, limits=Limits(max_pixels=120_000)).pixels.size == 360_000
            with pytest.raises(TooManyPixelsError, match="400 x 300") as caught:
                decode(source, limits=Limits(max_pixels=119_999))
            check_message(caught.value, caught.value.source)

    def test_header_alone_is_enough_to_refuse(self) -> None:
        with pytest.raises(TooManyPixelsError, match="200"):
            decode(png_claiming(20_000, 10_001))

    def test_a_picture_within_the_limit_is_not_refused_for_its_size(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(TruncatedImageError):
                decode(png_claiming(14_000, 14_000))

    def test_an_unopened_pillow_image_is_checked_before_it_is_decoded(self) -> None:
        opened = Image.open(io.BytesIO(png_claiming(9_000, 9_000)))
        with pytest.raises(TooManyPixelsError):
            decode(opened, limits=Limits(max_pixels=10**6))

    @pytest.mark.parametrize("kind", [kind for kind in WRITTEN if kind != "WEBP"])
    def test_pillows_own_limit_neither_warns_nor_refuses(
        self, kind: str, photo: Pixels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = encoded(Image.fromarray(photo), kind)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for limit in (100_000, 1_000):  # Pillow warns above its limit and fails above twice as much
                monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
                assert decode(data).pixels.shape == photo.shape
                assert limit == Image.MAX_IMAGE_PIXELS

    def test_where_pillow_insists_on_its_limit_the_error_is_typed(
        self, photo: Pixels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = encoded(Image.fromarray(photo), "WEBP")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
        assert decode(data).pixels.shape == photo.shape
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 0)
        try:
            decode(data)
        except TooManyPixelsError as error:
            check_message(error, "<bytes>")

    def test_an_icon_that_hides_a_large_picture(self) -> None:
        inner = encoded(Image.new("RGBA", (300, 300)), "PNG")
        entry = struct.pack("<4B2H2I", 16, 16, 0, 0, 1, 32, len(inner), 22)
        icon = struct.pack("<3H", 0, 1, 1) + entry + inner
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert decode(icon, limits=Limits(max_pixels=90_000)).pixels.shape == (300, 300, 3)
            with pytest.raises(TooManyPixelsError):
                decode(icon, limits=Limits(max_pixels=10_000))

    def test_byte_limit_is_exact_and_comes_before_reading(self, photo: Pixels, tmp_path: Path) -> None:
        path = tmp_path / "photo.png"
        Image.fromarray(photo).save(path)
        size = path.stat().st_size
        for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
            assert decode(source, limits=Limits(max_bytes=size)).pixels.shape == photo.shape
            with pytest.raises(FileTooLargeError, match="limit"):
                decode(source, limits=Limits(max_bytes=size - 1))

    def test_a_huge_file_is_refused_without_reading_it(self, tmp_path: Path) -> None:
        path = tmp_path / "huge.tif"
        with path.open("wb") as file:
            file.truncate(40 * 2**30)  # sparse: takes no room on the disk
        with pytest.raises(FileTooLargeError, match="512 MiB") as caught:
            decode(path)
        check_message(caught.value, str(path))

    def test_an_endless_stream_is_refused(self) -> None:
        class Endless(io.RawIOBase):
            given = 0

            def read(self, size: int = -1, /) -> bytes:
                self.given += size
                return b"\0" * size

        stream = Endless()
        with pytest.raises(FileTooLargeError):
            decode(cast("IO[bytes]", stream), limits=Limits(max_bytes=10**6))
        assert stream.given < 5 * 10**6

    @pytest.mark.parametrize(
        "data",
        [
            png_claiming(0, 7),
            b"GIF89a\0\0\5\0\0\0\0;",
            b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 0, 3, 1, 24, 0, 0, 0, 0, 0, 0),
        ],
        ids=["PNG", "GIF", "BMP"],
    )
    def test_zero_sized(self, data: bytes) -> None:
        with pytest.raises(ZeroSizedImageError) as caught:
            decode(data)
        check_message(caught.value, "<bytes>")

    def test_zero_sized_pillow_image(self) -> None:
        with pytest.raises(ZeroSizedImageError, match="0 x 5"):
            decode(Image.new("RGB", (0, 5)))

    @pytest.mark.parametrize("values", [{"max_pixels": 0}, {"max_bytes": -1}])
    def test_limits_must_be_positive(self, values: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="positive"):
            Limits(**values)

    def test_extreme_shapes_pass(self) -> None:
        for shape in ((1, 30_000), (30_000, 1), (1, 1)):
            assert decode(encoded(Image.new("RGB", shape), "PNG")).pixels.shape == (*shape[::-1], 3)


MEASURE = """
import sys
from foveal.imaging.decode import decode
from foveal.imaging.views import fragment_view, whole_view
from peak_memory import peak_bytes
pixels = decode(sys.argv[1]).pixels
assert pixels.shape == (8192, 6144, 3)
assert whole_view(pixels).shape == fragment_view(pixels).shape == (224, 224, 3)
print(peak_bytes())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["JPEG", "WEBP", "PNG"],
)
def test_fifty_megapixels_take_less_than_a_gigabyte(kind: str, photo: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "large"
    tags = Image.Exif()
    tags[274] = 6
    options = {"method": 0} if kind == "WEBP" else {"compress_level": 1} if kind == "PNG" else {}
    Image.fromarray(photo).resize((8192, 6144)).save(path, kind, exif=tags, **options)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", MEASURE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) < 950e6
