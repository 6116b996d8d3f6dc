"""Which images a figure is about: all of them, the clean ones, or those of one subset."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from foveal.errors import RatingsError
from foveal.evaluation.pairs import checked_pairs
from foveal.ratings.table import Ratings

LEAST_IMAGES = 6
"""The logistic mapping with five parameters needs one image more than it has parameters."""


def parts_of(
    ratings: Ratings, leave_out: Collection[str] = (), target: str = "quality"
) -> dict[str, NDArray[np.int64]]:
    """Rows of each part that is reported.

    Args:
        ratings: the images to report on. Those without a score of this target are in no part.
        leave_out: names of images that are not clean (near copies of training images, say); without any
            there is no clean part.
        target: a score column.

    Returns:
        Positions, int64 [m] in growing order, for ``all``, ``clean``, and each subset in alphabetical order.
        A subset that is itself called ``all`` or ``clean`` becomes ``subset all`` or ``subset clean``.

    Raises:
        RatingsError: the target or a name to leave out is not in the table.
    """
    has_score = ~np.isnan(ratings.quality(target))
    chosen = {"all": has_score}
    if leave_out:
        clean = has_score.copy()
        clean[ratings.indices(leave_out)] = False
        chosen["clean"] = clean
    subsets = np.array(ratings.subsets)
    for subset in sorted(set(ratings.subsets) - {""}):
        chosen[f"subset {subset}" if subset in chosen else subset] = has_score & (subsets == subset)
    return {part: np.flatnonzero(mask) for part, mask in chosen.items()}


def check_parts(ratings: Ratings, leave_out: Collection[str] = (), target: str = "quality") -> None:
    """Refuse a table that no scores could be evaluated on, before any time goes into scoring it.

    Args:
        ratings: the images to report on.
        leave_out: names of images that are not clean.
        target: a score column.

    Raises:
        RatingsError: a part has fewer than six rated images, or all its ratings are equal; or as
            :func:`parts_of`.
    """
    rated = ratings.quality(target)
    for part, rows in parts_of(ratings, leave_out, target).items():
        where = f"part {part!r} of {ratings.card.name}"
        if len(rows) < LEAST_IMAGES:
            raise RatingsError(
                f"{where}: {len(rows)} rated images are too few for correlations and fits; "
                f"at least {LEAST_IMAGES} are needed"
            )
        try:
            checked_pairs(rated[rows], rated[rows])
        except ValueError:
            value = ratings.scores[target][rows[0]]
            raise RatingsError(
                f"{where}: all {len(rows)} ratings are {value:g}: a correlation with a constant is undefined"
            ) from None
