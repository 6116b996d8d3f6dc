"""What cannot or must not be decoded: one typed error each, with the name, the reason and what to do."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import subprocess
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
    ImageError,
    ImageNotFoundError,
    MissingExtraError,
    NotAnImageError,
    TooManyPixelsError,
    TruncatedImageError,
)
from foveal.imaging.decode import decode

Pixels = NDArray[np.uint8]

WRITTEN = ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "TGA", "PCX", "SGI", "DDS"]


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


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
        path.write_bytes(b"x")
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

    @pytest.mark.parametrize(
        "content", [b"hello, world\n", b"\0" * 100, b"%PDF-1.7\n", b"PK\x03\x04" + b"\1" * 60, b"x"]
    )
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
        expected = (
            CorruptImageError if kind == "JPEG2000" else TruncatedImageError
        )  # its decoder does not tell
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
        [
            kind("broken")
            for kind in (
                OSError, SyntaxError, ValueError, struct.error, zlib.error, OverflowError, MemoryError,
                IndexError, KeyError, TypeError, ZeroDivisionError, RecursionError, AttributeError,
            )
        ],
        ids=lambda error: type(error).__name__,
    )  # fmt: skip
    def test_whatever_pillow_throws(
        self, error: Exception, photo: Pixels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
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
