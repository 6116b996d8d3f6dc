"""BIQ2021 (Ahmed and Asif 2022): 12,000 photographs of 512 x 512 with authentic distortions."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from foveal.errors import RatingsError
from foveal.ratings.files import OnMissing, column, numbers, present, read_columns
from foveal.ratings.table import DatasetCard, Ratings

CARD = DatasetCard(
    name="BIQ2021",
    low=0.0,
    high=1.0,
    higher_is_better=True,
    licence="none stated by the owners; subset ss03 comes from Unsplash",
    citation=(
        "N. Ahmed and S. Asif, BIQ2021: a large-scale blind image quality assessment database, Journal of "
        "Electronic Imaging 31(5), 2022; https://github.com/nisarahmedrana/BIQ2021"
    ),
    note=(
        "30 observers, no standard deviations. ss01 and ss02 are photographs by the authors, ss03 is from "
        "Unsplash. The official split has near copies of training images in the test part: report a clean "
        "part and each subset too."
    ),
)
"""MOS from 0 to 1, higher is better."""

_TABLES = {"train": "Train (Images and MOS).csv", "test": "Test (Images and MOS).csv"}
_NAME = re.compile(r"(ss0[123]) \(\d+\)\.\w+")


def read_biq2021(
    folder: str | Path, *, images: str | Path | None = None, missing: OnMissing = "error"
) -> Ratings:
    """Read BIQ2021 in the layout of its repository: two CSV files and a folder ``Images``.

    Args:
        folder: where the two tables lie.
        images: where the images lie, if not in ``Images`` beside the tables.
        missing: ``error``, or ``drop`` to leave out rows whose image is absent (a partial copy). The official
            figures need all 2,000 test images: look at the length of that part.

    Returns:
        Ratings with the target ``quality``, the official split and the subsets ss01, ss02 and ss03. Every
        image is its own group; near copies are found by :func:`foveal.ratings.splits.near_copy_groups`.

    Raises:
        RatingsError: a table, the image folder, or images are missing, or a table is malformed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RatingsError(f"{folder}: there is no such folder; give the one that holds {_TABLES['train']!r}")
    absent = [name for name in _TABLES.values() if not (folder / name).is_file()]
    if absent:
        raise RatingsError(f"{folder}: not a complete copy of BIQ2021: {' and '.join(absent)} missing")
    images = Path(images) if images is not None else folder / "Images"
    if not images.is_dir():
        raise RatingsError(f"{images}: there is no such folder; it should hold the images of BIQ2021")

    names: list[str] = []
    scores: list[float] = []
    split: list[str] = []
    for part, table in _TABLES.items():
        path = folder / table
        cells = read_columns(path)
        names += column(cells, "Image Name", path)
        scores += numbers(column(cells, "MOS", path), "MOS", path).tolist()
        split += [part] * (len(names) - len(split))
    rows, paths = present(images, names, missing, CARD.name)
    return Ratings(
        card=CARD,
        images=paths,
        names=tuple(names[row] for row in rows),
        scores={"quality": np.array(scores)[rows]},
        subsets=tuple(_subset(names[row]) for row in rows),
        split=tuple(split[row] for row in rows),
    )


def read_near_copies(path: str | Path, above: float = 0.9) -> tuple[str, ...]:
    """Test images whose nearest training image is too near, to be left out of the clean part.

    Args:
        path: a CSV with the columns ``test_image``, ``nearest_training_image`` and ``similarity`` (cosine).
        above: images of greater similarity are returned.

    Returns:
        Names of test images, in the table's order.

    Raises:
        RatingsError: the table is missing or malformed.
    """
    path = Path(path)
    cells = read_columns(path)
    names = column(cells, "test_image", path)
    similarity = numbers(column(cells, "similarity", path), "similarity", path)
    if np.isnan(similarity).any():
        raise RatingsError(f"{path}: row {int(np.argmax(np.isnan(similarity))) + 2} has no similarity")
    return tuple(name for name, value in zip(names, similarity, strict=True) if value > above)


def _subset(name: str) -> str:
    match = _NAME.fullmatch(name)
    if match is None:
        raise RatingsError(f"{CARD.name}: {name!r} is not a name of this set, such as 'ss01 (12).jpg'")
    return match[1]
