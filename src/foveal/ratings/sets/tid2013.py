"""TID2013: 25 references with 24 distortions at five levels."""

from __future__ import annotations

import re
from pathlib import Path

from foveal.errors import RatingsError
from foveal.ratings.sets.known import KnownSet, Labels, make_rows, require, same_length
from foveal.ratings.sets.lines import read_words, to_numbers
from foveal.ratings.table import DatasetCard

CARD = DatasetCard(
    name="TID2013",
    low=0.0,
    high=9.0,
    licence="the owners' own: education and research only, free of charge",
    citation=(
        "N. Ponomarenko et al., Image database TID2013: peculiarities, results and perspectives, Signal "
        "Processing: Image Communication 30, 2015; https://www.ponomarenko.info/tid2013.htm"
    ),
    note="Names on disk and in the table differ in case, as in I01_11_1.BMP beside i01_11_2.bmp.",
)
"""MOS from 0 to 9, higher is better."""

_KINDS = (
    "additive Gaussian noise",
    "additive noise, more in colour",
    "spatially correlated noise",
    "masked noise",
    "high-frequency noise",
    "impulse noise",
    "quantization noise",
    "Gaussian blur",
    "denoising",
    "JPEG",
    "JPEG 2000",
    "JPEG transmission errors",
    "JPEG 2000 transmission errors",
    "non-eccentricity pattern noise",
    "block-wise distortions",
    "mean shift",
    "contrast change",
    "colour saturation",
    "multiplicative Gaussian noise",
    "comfort noise",
    "lossy compression of noisy images",
    "colour quantization with dither",
    "chromatic aberrations",
    "sparse sampling",
)
_NAME = re.compile(r"(i\d\d)_(\d\d)_\d\.bmp", re.IGNORECASE)
_MOS, _STD = "mos_with_names.txt", "mos_std.txt"


def _read(folder: Path) -> Labels:
    path, std_path = require(folder, _MOS), require(folder, _STD)
    mos, names = read_words(path, 2)
    (std,) = read_words(std_path, 1)
    same_length({_MOS: names, _STD: std}, folder)
    references, kinds = zip(*(_parts(name, path) for name in names), strict=True)
    rows = make_rows(
        names,
        {"quality": to_numbers(mos, path)},
        std={"quality": to_numbers(std, std_path)},
        groups=references,
        subsets=kinds,
    )
    return Labels(rows, CARD)


def _parts(name: str, path: Path) -> tuple[str, str]:
    match = _NAME.fullmatch(name)
    kind = int(match[2]) if match else 0
    if match is None or not 1 <= kind <= len(_KINDS):
        raise RatingsError(f"{path}: {name!r} is not a name of this set, such as 'i01_01_1.bmp'")
    return match[1].upper(), _KINDS[kind - 1]


TID2013 = KnownSet(
    card=CARD,
    size=3000,
    targets=("quality",),
    layout=f"{_MOS} [MOS, name], {_STD}, and the images in distorted_images/",
    tables=((_MOS,), (_STD,)),
    folders=("distorted_images",),
    read=_read,
)
