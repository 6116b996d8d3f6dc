"""Near copies by looks: what is found, what is not, and the hash against SciPy's DCT."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageOps

from foveal.ratings import perceptual_hash
from foveal.ratings.biq2021 import read_biq2021
from foveal.ratings.perceptual_hash import (
    BITS,
    FREQUENCIES,
    MIRRORED_CORRELATION,
    SIDE,
    NearCopies,
    Thumbnails,
    find_near_copies,
    has_detail,
    perceptual_hashes,
    thumbnail,
)

Edit = Callable[[Image.Image], Image.Image]


def scene(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """A picture with structure of all sizes, as photographs have: fields of noise, coarse ones strongest."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells in (3, 6, 12, 24, 48):
        field = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        total += np.asarray(field.resize((width, height), Image.Resampling.BICUBIC), np.float64) / cells**0.7
    total = (total - total.min()) / (total.max() - total.min())
    return Image.fromarray((total * 255).astype(np.uint8))


def thumbnails(pictures: list[Image.Image]) -> Thumbnails:
    return np.stack([thumbnail(picture) for picture in pictures])


def pairs(found: NearCopies) -> list[tuple[int, int]]:
    return list(zip(found.first.tolist(), found.second.tolist(), strict=True))


SCENES = [scene(seed) for seed in range(10)]
ORIGINALS = thumbnails(SCENES)


def jpeg(quality: int) -> Edit:
    def edit(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return edit


def crop(left: float, top: float, right: float, bottom: float) -> Edit:
    """Cut these shares of the sides away."""

    def edit(picture: Image.Image) -> Image.Image:
        width, height = picture.size
        box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        return picture.crop(tuple(round(edge) for edge in box))

    return edit


def levels(change: Callable[[float], float]) -> Edit:
    return lambda picture: picture.point([round(255 * min(1, change(i / 255))) for i in range(256)] * 3)


def noise(picture: Image.Image) -> Image.Image:
    grain = np.random.default_rng(0).normal(0, 25, np.shape(picture))
    return Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))


def turn(degrees: float) -> Edit:
    inner = crop(0.03, 0.03, 0.03, 0.03)
    return lambda picture: inner(picture.rotate(degrees, Image.Resampling.BICUBIC))


COPIES: dict[str, Edit] = {
    "recompressed": jpeg(12),
    "smaller": lambda picture: picture.resize((128, 96)),
    "larger": lambda picture: picture.resize((960, 720), Image.Resampling.BICUBIC),
    "stretched": lambda picture: picture.resize((200, 300)),
    "darker": levels(lambda x: 0.5 * x),
    "brighter, clipped": levels(lambda x: 1.4 * x),
    "gamma": levels(lambda x: x**1.8),
    "flat": levels(lambda x: 0.3 + 0.4 * x),
    "grey": lambda picture: picture.convert("L"),
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(3)),
    "noisy": noise,
    "cropped all round": crop(0.05, 0.05, 0.05, 0.05),
    "cropped left and above": crop(0.15, 0.15, 0, 0),
    "cropped right and below": crop(0, 0, 0.18, 0.12),
    "cropped in width": crop(0.1, 0, 0.1, 0),
    "turned a little": turn(1.5),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_found_and_nothing_else(copy: str) -> None:
    copies = thumbnails([COPIES[copy](picture) for picture in SCENES])
    found = find_near_copies(ORIGINALS, copies)
    assert pairs(found) == [(index, index) for index in range(len(SCENES))]
    assert not found.mirrored.any()
    assert found.correlation.min() >= 0.8


@pytest.mark.parametrize("edit", [crop(0.15, 0.15, 0, 0), crop(0, 0.15, 0.15, 0), crop(0.19, 0, 0, 0)])
def test_mirror_images_are_found_as_such(edit: Edit) -> None:
    copies = thumbnails([jpeg(30)(edit(ImageOps.mirror(picture))) for picture in SCENES])
    found = find_near_copies(ORIGINALS, copies)
    assert pairs(found) == [(index, index) for index in range(len(SCENES))]
    assert found.mirrored.all()
    assert found.correlation.min() >= MIRRORED_CORRELATION


def test_poor_mirror_images_do_not_count() -> None:
    poor = thumbnails([noise(picture.filter(ImageFilter.GaussianBlur(14))) for picture in SCENES])
    plain, mirrored = find_near_copies(ORIGINALS, poor), find_near_copies(ORIGINALS, poor[:, :, ::-1])
    good = plain.correlation >= MIRRORED_CORRELATION + 0.005
    assert len(plain) == len(SCENES)
    assert not good.all()
    assert {pair for pair, enough in zip(pairs(plain), good, strict=True) if enough} <= set(pairs(mirrored))
    assert len(mirrored) < len(SCENES)
    assert (mirrored.mirrored & (mirrored.correlation >= MIRRORED_CORRELATION)).all()


def test_two_overlapping_crops_are_found() -> None:
    ours = thumbnails([crop(0, 0.1, 0.12, 0)(picture) for picture in SCENES])
    theirs = thumbnails([crop(0.12, 0, 0, 0.1)(picture) for picture in SCENES])
    assert pairs(find_near_copies(ours, theirs)) == [(index, index) for index in range(len(SCENES))]


@pytest.mark.parametrize(
    "other",
    [
        ImageOps.flip,
        ImageOps.invert,
        lambda picture: picture.rotate(90, expand=True),
        crop(0.5, 0.5, 0, 0),
    ],
    ids=["upside down", "negative", "quarter turn", "detail"],
)
def test_what_is_said_not_to_be_found_is_not(other: Edit) -> None:
    assert len(find_near_copies(ORIGINALS, thumbnails([other(picture) for picture in SCENES]))) == 0


def test_unrelated_pictures_are_no_copies() -> None:
    # Even where the hash is no obstacle: every pair gets a second look.
    pictures = thumbnails([scene(seed, 96, 96) for seed in range(100, 124)])
    assert len(find_near_copies(pictures, most_bits=BITS // 2 - 1)) == 0


def landscape(horizon: float, slope: float, seed: int) -> Thumbnails:
    """A sky above dark ground: flat, but for a little of its own."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    picture = np.where(down < horizon + slope * right, 200 - 80 * down, 30) + rng.normal(0, 3, (SIDE, SIDE))
    return picture.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("turned", [False, True])
def test_a_horizon_in_common_is_not_enough(turned: bool) -> None:
    pictures = np.stack([landscape(0.6, slope, seed) for seed, slope in enumerate([0, 0.01, 0.02, 0, 0.01])])
    pictures = pictures.transpose(0, 2, 1) if turned else pictures
    assert has_detail(pictures).all()
    assert len(find_near_copies(pictures, most_bits=BITS // 2 - 1)) == 0


def test_pictures_without_detail_are_not_compared() -> None:
    down, right = np.mgrid[0:SIDE, 0:SIDE]
    grain = np.random.default_rng(0).normal(0, 0.4, (SIDE, SIDE))
    plain = [np.full((SIDE, SIDE), 255), 20 + 3 * down, 3 * right, 2 * right + down, 60 + grain]
    pictures = np.stack(plain).astype(np.uint8)
    assert not has_detail(pictures).any()
    both = np.concatenate([pictures, pictures, ORIGINALS[:1]])
    assert has_detail(both).tolist() == [False] * 10 + [True]
    assert len(find_near_copies(both)) == 0


@pytest.mark.parametrize("count", [0, 1])
def test_few_pictures_have_no_copies(count: int) -> None:
    assert len(find_near_copies(ORIGINALS[:count])) == 0
    assert len(find_near_copies(ORIGINALS[:count], ORIGINALS[5:5])) == 0


def test_an_exact_copy_correlates_fully() -> None:
    found = find_near_copies(ORIGINALS, ORIGINALS.copy())
    assert pairs(found) == [(index, index) for index in range(len(SCENES))]
    np.testing.assert_allclose(found.correlation, 1, atol=1e-4)


def test_a_higher_limit_leaves_fewer_pairs() -> None:
    copies = thumbnails([noise(picture.filter(ImageFilter.GaussianBlur(8))) for picture in SCENES])
    correlation = find_near_copies(ORIGINALS, copies).correlation
    limit = float(np.median(correlation))
    fewer = find_near_copies(ORIGINALS, copies, correlation=limit).correlation
    np.testing.assert_array_equal(fewer, correlation[correlation >= limit])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # Fifteen pictures of five scenes, in any order: each scene gives three pairs.
    edits = [jpeg(40), crop(0.05, 0, 0, 0.05), levels(lambda x: 0.7 * x)]
    order = np.random.default_rng(3).permutation(15)
    pictures = thumbnails([edits[index // 5](SCENES[index % 5]) for index in order])
    whole = find_near_copies(pictures)
    same = {(i, j) for i in range(15) for j in range(i + 1, 15) if order[i] % 5 == order[j] % 5}
    assert set(pairs(whole)) == same
    assert pairs(whole) == sorted(same)
    monkeypatch.setattr(perceptual_hash, "_BLOCK", 4)
    monkeypatch.setattr(perceptual_hash, "_PAIRS", 2)
    blocks = find_near_copies(pictures)
    assert pairs(blocks) == pairs(whole)
    np.testing.assert_allclose(blocks.correlation, whole.correlation, atol=1e-4)


def test_hashes_are_signs_of_the_dct() -> None:
    hashes = perceptual_hashes(ORIGINALS)
    assert hashes.shape == (len(ORIGINALS), BITS)
    expected = [(u, v) for u in range(SIDE) for v in range(SIDE) if 0 < u + v <= FREQUENCIES]
    for picture, bits in zip(ORIGINALS, hashes, strict=True):
        coefficients = scipy.fft.dctn(picture.astype(np.float64), type=2)
        np.testing.assert_array_equal(bits, [coefficients[place] > 0 for place in expected])


@settings(max_examples=20, deadline=None)
@given(gain=st.floats(0.3, 1), offset=st.floats(0, 30), index=st.integers(0, 9))
def test_hashes_hardly_depend_on_brightness_and_contrast(gain: float, offset: float, index: int) -> None:
    original = ORIGINALS[index : index + 1]
    changed = (gain * original * 0.85 + offset).round().astype(np.uint8)
    assert np.count_nonzero(perceptual_hashes(original) != perceptual_hashes(changed)) <= 3


def test_unrelated_hashes_differ_in_about_half_of_the_bits() -> None:
    hashes = perceptual_hashes(thumbnails([scene(seed, 64, 64) for seed in range(40)]))
    different = (hashes[:, None] != hashes[None]).sum(axis=2)[np.triu_indices(40, 1)]
    assert 0.47 * BITS < different.mean() < 0.53 * BITS


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_thumbnails_are_grey_squares_of_any_picture(mode: str) -> None:
    picture = SCENES[0].convert(mode)
    small = thumbnail(picture)
    assert (small.shape, small.dtype) == ((SIDE, SIDE), np.uint8)
    tolerance = 12 if mode == "P" else 1  # 256 colours
    assert np.abs(small.astype(int) - ORIGINALS[0]).mean() < tolerance


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"thumbnails": ORIGINALS.astype(np.float32)}, r"float32 \(10, 64, 64\), expected uint8"),
        ({"thumbnails": ORIGINALS[0]}, r"uint8 \(64, 64\), expected uint8 \(n, 64, 64\)"),
        ({"others": ORIGINALS[:, :32]}, r"\(10, 32, 64\)"),
        ({"correlation": 0.0}, "correlation is 0.0"),
        ({"correlation": float("nan")}, "correlation is nan"),
        ({"correlation": 1.1}, "correlation is 1.1"),
        ({"most_bits": -1}, "most_bits is -1"),
        ({"most_bits": BITS // 2}, "half of the bits agree by chance"),
    ],
)
def test_unfit_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_near_copies(**{"thumbnails": ORIGINALS, **arguments})


@pytest.mark.slow
def test_on_photographs(shared_folder: Path) -> None:
    """Copies of 100 photographs: origin of the shares is a run on 150 others, which found .96 to 1."""
    folder = shared_folder / "data" / "BIQ2021"
    ratings = read_biq2021(folder, missing="drop").part("train")
    pictures = [Image.open(path).convert("RGB") for path in ratings.images[:100]]
    originals = thumbnails(pictures)
    cropped = COPIES["cropped left and above"]
    edits = {**COPIES, "cropped mirror image": lambda picture: cropped(ImageOps.mirror(picture))}
    for name, edit in edits.items():
        found = find_near_copies(originals, thumbnails([edit(picture) for picture in pictures]))
        assert sum(i == j for i, j in pairs(found)) >= 93, name


@pytest.mark.slow
def test_known_near_copies_of_biq2021(shared_folder: Path) -> None:
    """Pairs of cosine above .99 in ViT features are re-saved pictures; so are those found here."""
    folder = shared_folder / "data" / "BIQ2021"
    ratings = read_biq2021(folder, missing="drop")
    place = {name: index for index, name in enumerate(ratings.names)}
    with (folder / "test-neighbours.csv").open(newline="", encoding="utf-8") as file:
        known = [
            (place[row["nearest_training_image"]], place[row["test_image"]])
            for row in csv.DictReader(file)
            if float(row["similarity"]) > 0.99 and row["nearest_training_image"] in place
        ]
    if not known:
        pytest.skip("none of the training images of the known pairs is there")
    chosen = sorted({index for pair in known for index in pair})
    found = find_near_copies(thumbnails([Image.open(ratings.images[index]) for index in chosen]))
    named = {(chosen[i], chosen[j]) for i, j in pairs(found)}
    assert {tuple(sorted(pair)) for pair in known} <= named
