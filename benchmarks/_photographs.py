"""Photographs to measure speed on, made from the examples: every machine gets the same, without any data."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from _common import EXAMPLES, find_images

GRAIN = (0.0, 2.0, 4.0, 6.0, 9.0, 13.0, 18.0)
"""Standard deviations to try, in levels."""
SMALL_SIZE, SMALL_BYTES = (512, 512), 36_000
LARGE_SIZE, LARGE_BYTES = (4000, 3000), 3_200_000
SAMPLE = 512
"""Side of the piece in the middle that the grain is chosen on."""


def small_photographs(folder: Path, count: int) -> list[str]:
    """Write 512 x 512 JPEG files of quality 75 to 85 and about 40 KB."""
    return _write(folder, count, SMALL_SIZE, range(75, 86), SMALL_BYTES)


def large_photographs(folder: Path, count: int) -> list[str]:
    """Write JPEG files of 12 megapixels and 3 to 5 MB, as phones and cameras make them."""
    return _write(folder, count, LARGE_SIZE, range(86, 91), LARGE_BYTES)


def _write(folder: Path, count: int, size: tuple[int, int], qualities: range, least: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    sources = [Image.open(path).convert("RGB") for path in find_images(EXAMPLES / "photos")]
    files = []
    for number in range(count):
        rng = np.random.Generator(np.random.PCG64([size[0], number]))
        picture = vary(sources[number % len(sources)], size, rng)
        path = folder / f"{number:04d}.jpg"
        path.write_bytes(encode(picture, int(rng.choice(qualities)), least, rng))
        files.append(str(path))
    return files


def vary(photo: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Cut a piece in the shape of ``size``, bring it to this size, change light and colour a little."""
    largest = min(photo.width / size[0], photo.height / size[1])
    width, height = (largest * rng.uniform(0.7, 1.0) * side for side in size)
    left, top = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
    piece = photo.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    if rng.random() < 0.5:
        piece = ImageOps.mirror(piece)
    piece = ImageEnhance.Brightness(piece).enhance(rng.uniform(0.85, 1.15))
    return ImageEnhance.Color(piece).enhance(rng.uniform(0.7, 1.3))


def encode(picture: Image.Image, quality: int, least: int, rng: np.random.Generator) -> bytes:
    """Encode as JPEG, with as little grain as fills about ``least`` bytes.

    An enlarged picture is smooth and would be decoded faster than a photograph of its size.
    """
    left, top = (picture.width - SAMPLE) // 2, (picture.height - SAMPLE) // 2
    sample = picture.crop((left, top, left + SAMPLE, top + SAMPLE))
    share = SAMPLE * SAMPLE / (picture.width * picture.height)
    for strength in GRAIN:
        if len(_to_jpeg(sample, quality, strength, rng)) >= least * share:
            break
    return _to_jpeg(picture, quality, strength, rng)


def _to_jpeg(picture: Image.Image, quality: int, strength: float, rng: np.random.Generator) -> bytes:
    if strength:
        pixels = np.asarray(picture, np.float32)
        grain = rng.standard_normal((*pixels.shape[:2], 1), dtype=np.float32) * np.float32(strength)
        picture = Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def mean_kilobytes(files: Sequence[str]) -> float:
    """Mean size of files in kB (1,000 bytes)."""
    return float(np.mean([Path(file).stat().st_size for file in files])) / 1e3
