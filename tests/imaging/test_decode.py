"""Sources, formats, orientation, depth, transparency and frames."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from foveal.imaging.decode import Source, decode, name_of

Pixels = NDArray[np.uint8]


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def picture(photo: Pixels) -> Image.Image:
    return Image.fromarray(photo)


class TestSources:
    def test_all_sources_give_the_same_pixels(
        self, photo: Pixels, picture: Image.Image, tmp_path: Path
    ) -> None:
        path = tmp_path / "photo.png"
        picture.save(path)
        data = path.read_bytes()
        with path.open("rb") as file:
            sources: list[Source] = [
                str(path),
                path,
                data,
                bytearray(data),
                memoryview(data),
                io.BytesIO(data),
                file,
                picture,
                photo,
            ]
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

    def test_a_pipe_that_cannot_seek_and_gives_little_at_a_time(
        self, photo: Pixels, picture: Image.Image
    ) -> None:
        class Pipe(io.RawIOBase):
            def __init__(self, data: bytes) -> None:
                self.rest = io.BytesIO(data)

            def readable(self) -> bool:
                return True

            def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
                part = self.rest.read(min(len(buffer), 1000))
                buffer[: len(part)] = part
                return len(part)

        np.testing.assert_array_equal(decode(cast("IO[bytes]", Pipe(encoded(picture, "PNG")))).pixels, photo)

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
        files = [
            encoded(Image.fromarray(make_photo(60, 80, seed)), kind) for seed in range(4) for kind in kinds
        ]
        alone = [decode(data).pixels for data in files]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda data: decode(data).pixels, files * 4))
        for number, pixels in enumerate(together):
            np.testing.assert_array_equal(pixels, alone[number % len(files)])


class TestFormats:
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_deflate"}),
            ("PPM", {}), ("WEBP", {"lossless": True}), ("JPEG2000", {}), ("TGA", {}), ("PCX", {}),
            ("SGI", {}), ("DDS", {}),
        ],
    )  # fmt: skip
    def test_lossless(
        self, kind: str, options: dict[str, object], picture: Image.Image, photo: Pixels
    ) -> None:
        np.testing.assert_array_equal(decode(encoded(picture, kind, **options)).pixels, photo)

    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("JPEG", {"quality": 95}),
            ("WEBP", {"quality": 95}),
            ("AVIF", {"quality": 90}),
            ("MPO", {"quality": 95}),
        ],
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


class TestFrames:
    @pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
    def test_first_frame_of_several_with_a_warning(self, kind: str) -> None:
        frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "lime", "blue")]
        decoded = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert len(decoded.warnings) == 1
        assert "only the first" in decoded.warnings[0]
        np.testing.assert_allclose(
            decoded.pixels.astype(int), np.broadcast_to([255, 0, 0], (24, 32, 3)), atol=12
        )

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


def test_strips_of_a_large_picture_join_without_a_seam(
    monkeypatch: pytest.MonkeyPatch, photo: Pixels
) -> None:
    """Pictures of many megapixels go in strips; with small strips the result must be the same."""
    alpha = np.dstack([photo, photo[..., 0]])
    sources: list[Source] = [
        encoded(Image.fromarray(photo), "JPEG", quality=90),
        encoded(Image.fromarray(alpha), "PNG"),
        alpha,
    ]
    deep = photo[..., 0].astype(np.uint16) * 256
    sources += [encoded(Image.fromarray(deep), "PNG"), deep, deep / 65535]
    expected = [decode(source).pixels for source in sources]
    monkeypatch.setattr("foveal.imaging.strips._WHOLE", 1000)
    monkeypatch.setattr("foveal.imaging.strips._STRIP", 7 * 400)
    for source, pixels in zip(sources, expected, strict=True):
        np.testing.assert_array_equal(decode(source).pixels, pixels)
