"""Real encoded files, damaged in a thousand ways: a typed error or pixels, never anything else."""

from __future__ import annotations

import io
import resource
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from foveal.errors import ImageError
from foveal.imaging.decode import Limits, decode

LIMITS = Limits(max_pixels=1_100_000, max_bytes=2**22)
MUTANTS_EACH = 42
SECONDS_EACH = 10
FORMATS: list[tuple[str, str, dict[str, object]]] = [
    ("JPEG", "RGB", {"quality": 80}),
    ("JPEG", "RGB", {"quality": 80, "progressive": True, "exif": True, "icc_profile": True}),
    ("JPEG", "CMYK", {}),
    ("MPO", "RGB", {"save_all": True}),
    ("PNG", "RGB", {"exif": True, "icc_profile": True}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "I;16", {}),
    ("PNG", "RGBA", {"save_all": True}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True, "exif": True}),
    ("AVIF", "RGB", {}),
    ("GIF", "P", {"save_all": True}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "F", {}),
    ("TIFF", "1", {"compression": "group4"}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("BMP", "RGB", {}),
    ("DDS", "RGBA", {}),
    ("ICO", "RGBA", {}),
    ("ICO", "RGB", {"bitmap_format": "bmp"}),
    ("ICNS", "RGBA", {}),
    ("JPEG2000", "RGB", {}),
    ("MSP", "1", {}),
    ("PCX", "P", {}),
    ("PPM", "RGB", {}),
    ("QOI", "RGBA", {}),
    ("SGI", "RGB", {}),
    ("SPIDER", "F", {}),
    ("TGA", "RGBA", {"compression": "tga_rle"}),
    ("XBM", "1", {}),
    ("BLP", "P", {}),
]

Mutation = Callable[[bytearray, bytes, np.random.Generator], None]


def encode(pixels: NDArray[np.uint8], kind: str, mode: str, options: dict[str, object]) -> bytes:
    from PIL import ImageCms

    picture = Image.fromarray(pixels)
    options = dict(options)
    if options.pop("exif", False):
        tags = Image.Exif()
        tags[274] = 6
        options["exif"] = tags
    if options.pop("icc_profile", False):
        options["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    if options.get("save_all"):
        options["append_images"] = [picture.rotate(90, expand=False).convert(mode)]
    if mode == "I;16":
        picture = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
    buffer = io.BytesIO()
    (picture if mode == "I;16" else picture.convert(mode)).save(buffer, kind, **options)
    return buffer.getvalue()


def flip_bits(data: bytearray, _: bytes, rng: np.random.Generator) -> None:
    for position in rng.integers(0, len(data), rng.integers(1, 24)):
        data[position] ^= 1 << int(rng.integers(8))


def cut(data: bytearray, _: bytes, rng: np.random.Generator) -> None:
    del data[int(rng.integers(0, len(data))) :]


def cut_out(data: bytearray, _: bytes, rng: np.random.Generator) -> None:
    start = int(rng.integers(0, len(data)))
    del data[start : start + int(rng.integers(1, 200))]


def splice(data: bytearray, other: bytes, rng: np.random.Generator) -> None:
    place, start = int(rng.integers(0, len(data))), int(rng.integers(0, len(other)))
    data[place : place + int(rng.integers(0, 100))] = other[start : start + int(rng.integers(1, 300))]


def edit_header(data: bytearray, _: bytes, rng: np.random.Generator) -> None:
    """Put extreme numbers where sizes, counts and offsets stand."""
    extremes = (
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\x80",
        b"\x01\0\0\0",
        b"\0\0\xff\xff",
    )
    for _edit in range(int(rng.integers(1, 4))):
        place = int(rng.integers(0, min(len(data), 160)))
        width = int(rng.integers(1, 5))
        data[place : place + width] = extremes[rng.integers(len(extremes))][:width]


def scramble_tail(data: bytearray, _: bytes, rng: np.random.Generator) -> None:
    start = int(rng.integers(len(data) // 8, len(data)))
    data[start:] = rng.bytes(len(data) - start)


MUTATIONS: list[Mutation] = [flip_bits, cut, cut_out, splice, edit_header, scramble_tail]


def mutants(data: bytes, other: bytes, seed: int, count: int) -> Iterator[bytes]:
    rng = np.random.default_rng(seed)
    for number in range(count):
        mutant = bytearray(data)
        MUTATIONS[number % len(MUTATIONS)](mutant, other, rng)
        yield bytes(mutant)


@pytest.fixture(scope="module")
def corpus(make_photo: Callable[..., NDArray[np.uint8]]) -> list[bytes]:
    """One file of each kind, 72 x 56 pixels."""
    pixels = make_photo(56, 72, 5)
    return [encode(pixels, *entry) for entry in FORMATS]


def outcome(data: bytes) -> str:
    """Name of the typed error, or "decoded". Anything else that decode() raises ends the test."""
    started = time.monotonic()
    try:
        pixels = decode(data, limits=LIMITS).pixels
    except ImageError as error:
        result, message = type(error).__name__, str(error)
    else:
        result, message = "decoded", "<bytes>: "
        assert pixels.dtype == np.uint8
        assert pixels.shape[2:] == (3,)
        assert 0 < pixels.shape[0] * pixels.shape[1] <= LIMITS.max_pixels
    assert message.startswith("<bytes>: ")
    assert time.monotonic() - started < SECONDS_EACH
    return result


def test_every_format_decodes_unharmed(corpus: list[bytes]) -> None:
    assert [outcome(data) for data in corpus] == ["decoded"] * len(corpus)


@pytest.mark.filterwarnings("ignore")  # Pillow's plugins warn of all sorts of damage
@pytest.mark.parametrize("number", range(len(FORMATS)), ids=lambda number: f"{number}-{FORMATS[number][0]}")
def test_mutants_give_pixels_or_a_typed_error(corpus: list[bytes], number: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    other = corpus[(number * 7 + 3) % len(corpus)]
    outcomes = [outcome(mutant) for mutant in mutants(corpus[number], other, number, MUTANTS_EACH)]
    assert set(outcomes) != {"decoded"}
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (
        2**10 if sys.platform == "linux" else 2**20
    )
    assert grown < 200, f"memory grew by {grown:.0f} MiB"


def test_there_are_enough_mutants() -> None:
    assert len(FORMATS) * MUTANTS_EACH >= 1000


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_behind_a_known_signature(corpus: list[bytes], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for data in corpus:
        outcome(data[: int(rng.integers(2, 24))] + rng.bytes(int(rng.integers(0, 2000))))
