"""What cannot or must not be decoded: one typed error each, with the name, the reason and what to do."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from foveal.errors import (
    CorruptImageError,
    EmptyImageError,
    FileTooLargeError,
    ImageError,
    ImageNotFoundError,
    MissingExtraError,
    NotAnImageError,
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
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def check_message(error: ImageError, name: str) -> None:
    assert error.source == name
    assert str(error) == f"{name}: {error.reason}; {error.advice}"
    assert error.reason
    assert error.advice
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - errors cross between processes this way
    assert type(copy) is type(error)
    assert str(copy) == str(error)


class TestFiles:
    def test_missing(self, tmp_path: Path) -> None:
        path = tmp_path / "gone.jpg"
        with pytest.raises(ImageNotFoundError, match="no such file") as caught:
            decode(path)
        check_message(caught.value, str(path))

    def test_directory(self, tmp_path: Path) -> None:
        with pytest.raises(ImageNotFoundError, match="is a directory") as caught:
            decode(tmp_path)
        check_message(caught.value, str(tmp_path))

    def test_a_file_taken_for_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(b"x")
        with pytest.raises(ImageNotFoundError):
            decode(tmp_path / "a.jpg" / "b.jpg")

    @pytest.mark.parametrize("name", ["", "a\0b.jpg", "x" * 5000])
    def test_impossible_names(self, name: str) -> None:
        with pytest.raises(ImageNotFoundError):
            decode(name)

    def test_not_permitted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "mine.png"
        path.write_bytes(png_claiming(1, 1))
        path.chmod(0)
        if os.access(path, os.R_OK):  # the administrator may read everything

            def refuse(*_: object, **__: object) -> None:
                raise PermissionError(13, "Permission denied")

            monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(ImageNotFoundError, match="may not be read") as caught:
            decode(path)
        check_message(caught.value, str(path))

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    def test_a_pipe_that_nobody_writes_to_does_not_block(self, tmp_path: Path) -> None:
        path = tmp_path / "pipe.jpg"
        os.mkfifo(path)
        with pytest.raises(ImageNotFoundError, match="not a regular file"):
            decode(path)

    def test_a_disk_that_fails_on_the_way(self, photo: Pixels) -> None:
        class Failing(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                raise OSError(5, "Input/output error")

        with pytest.raises(ImageNotFoundError, match="Input/output error"):
            decode(Failing(encoded(Image.fromarray(photo), "PNG")))

    def test_a_closed_file_object(self) -> None:
        file = io.BytesIO(b"x")
        file.close()
        with pytest.raises(ImageNotFoundError, match="cannot be read"):
            decode(file)

    def test_text_file_object(self) -> None:
        with pytest.raises(NotAnImageError, match="binary mode") as caught:
            decode(io.StringIO("P3 1 1 255 0 0 0"))  # type: ignore[arg-type]
        check_message(caught.value, "<file object>")

    @pytest.mark.parametrize("source", [None, 3, ["a.jpg"], object()])
    def test_other_kinds_of_source(self, source: object) -> None:
        with pytest.raises(NotAnImageError, match="not an image source"):
            decode(source)  # type: ignore[arg-type]

    def test_empty(self, tmp_path: Path) -> None:
        path = tmp_path / "empty.png"
        path.touch()
        for source in (path, b"", io.BytesIO()):
            with pytest.raises(EmptyImageError, match="no bytes"):
                decode(source)

    @pytest.mark.parametrize("content", [b"hello, world\n", b"\0" * 100, b"%PDF-1.7\n", b"PK\x03\x04" + b"\1" * 60, b"x"])
    def test_not_an_image(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "notes.jpg"
        path.write_bytes(content)
        with pytest.raises(NotAnImageError, match="not an image") as caught:
            decode(path)
        check_message(caught.value, str(path))

    def test_postscript_is_not_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ran: list[object] = []
        monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **_: ran.append(arguments))
        program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
        with pytest.raises(NotAnImageError):
            decode(program)
        assert ran == []


class TestDamage:
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
    @pytest.mark.parametrize("kind", WRITTEN)
    def test_cut(self, kind: str, share: float, photo: Pixels) -> None:
        data = encoded(Image.fromarray(photo), kind)
        expected = CorruptImageError if kind == "JPEG2000" else TruncatedImageError  # its decoder does not tell
        with pytest.raises(expected) as caught:
            decode(data[: int(share * len(data))])
        check_message(caught.value, "<bytes>")

    def test_cut_heic(self, photo: Pixels) -> None:
        pillow_heif = pytest.importorskip("pillow_heif")
        buffer = io.BytesIO()
        pillow_heif.from_pillow(Image.fromarray(photo)).save(buffer)
        with pytest.raises(TruncatedImageError):
            decode(buffer.getvalue()[: len(buffer.getvalue()) // 2])

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "JPEG2000"])
    def test_header_destroyed_after_the_signature(self, kind: str, photo: Pixels) -> None:
        data = bytearray(encoded(Image.fromarray(photo), kind))
        data[24:] = b"\xa5" * (len(data) - 24)
        with pytest.raises((CorruptImageError, TruncatedImageError, TooManyPixelsError)):
            decode(bytes(data))

    def test_checksum(self, photo: Pixels) -> None:
        data = bytearray(encoded(Image.fromarray(photo), "PNG"))
        data[len(data) // 2] ^= 0x55
        with pytest.raises(CorruptImageError) as caught:
            decode(bytes(data))
        check_message(caught.value, "<bytes>")

    def test_truncated_images_stay_refused_for_all(self) -> None:
        assert ImageFile.LOAD_TRUNCATED_IMAGES is False

    def test_nan_in_a_float_file(self) -> None:
        samples = np.full((8, 8), 0.5, np.float32)
        samples[3, 3] = np.nan
        with pytest.raises(CorruptImageError, match="NaN"):
            decode(encoded(Image.fromarray(samples), "TIFF"))

    @pytest.mark.parametrize(
        "error",
        [OSError("broken"), SyntaxError("broken"), ValueError("broken"), struct.error("broken"), zlib.error("broken"),
         OverflowError("broken"), MemoryError(), IndexError("broken"), KeyError("broken"), TypeError("broken"),
         ZeroDivisionError("broken"), RecursionError("broken"), AttributeError("broken")],
        ids=lambda error: type(error).__name__,
    )  # fmt: skip
    def test_whatever_pillow_throws(self, error: Exception, photo: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: object) -> None:
            raise error

        data = encoded(Image.fromarray(photo), "PNG")
        monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
        with pytest.raises(CorruptImageError) as caught:
            decode(data)
        assert caught.value.__cause__ is error
        check_message(caught.value, "<bytes>")

    def test_end_of_file_is_truncation(self, photo: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: object) -> None:
            raise EOFError

        data = encoded(Image.fromarray(photo), "PNG")
        monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
        with pytest.raises(TruncatedImageError):
            decode(data)


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
            decode(stream, limits=Limits(max_bytes=10**6))
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


class TestHeicWithoutItsExtra:
    head = struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic"

    def test_names_the_file_and_the_extra(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "IMG_0001.HEIC"
        path.write_bytes(self.head + b"\0" * 100)
        really_import = builtins.__import__

        def without(
            name: str,
            globals: Mapping[str, object] | None = None,  # noqa: A002 - the names of __import__
            locals: Mapping[str, object] | None = None,  # noqa: A002
            fromlist: Sequence[str] = (),
            level: int = 0,
        ) -> object:
            if name.startswith("pillow_heif"):
                raise ImportError(name)
            return really_import(name, globals, locals, fromlist, level)

        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(MissingExtraError, match=r"IMG_0001\.HEIC.*foveal\[heic\]") as caught:
            decode(path)
        assert caught.value.extra == "heic"


MEASURE = """
import resource, sys
from foveal.imaging.decode import decode
from foveal.imaging.views import fragment_view, whole_view
pixels = decode(sys.argv[1]).pixels
assert pixels.shape == (8192, 6144, 3)
assert whole_view(pixels).shape == fragment_view(pixels).shape == (224, 224, 3)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
@pytest.mark.parametrize("kind", ["JPEG", pytest.param("WEBP", marks=pytest.mark.slow), pytest.param("PNG", marks=pytest.mark.slow)])
def test_fifty_megapixels_take_less_than_a_gigabyte(kind: str, photo: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "large"
    tags = Image.Exif()
    tags[274] = 6
    options = {"method": 0} if kind == "WEBP" else {"compress_level": 1} if kind == "PNG" else {}
    Image.fromarray(photo).resize((8192, 6144)).save(path, kind, exif=tags, **options)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 950e6
