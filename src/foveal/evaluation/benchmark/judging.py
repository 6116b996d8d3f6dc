"""From assessments to a column of scores."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from foveal.assessment import Assessment, Failure
from foveal.evaluation.benchmark.config import BenchmarkError
from foveal.evaluation.benchmark.entrants import Progress
from foveal.evaluation.pairs import Floats
from foveal.ratings.table import Ratings, listing


def gathered(
    results: Iterable[Assessment | Failure], images: Ratings, target: str, progress: Progress
) -> Floats:
    """Take the scores of one target out of assessments.

    Args:
        results: one for each image, in their order; taken lazily.
        images: n images, for messages.
        target: ``quality``, or the name of an aspect.
        progress: told of each image.

    Returns:
        float64 [n].

    Raises:
        BenchmarkError: images cannot be judged; all are tried first, and the message has the first reason.
    """
    scores = np.empty(len(images))
    failures: dict[str, object] = {}
    for row, (name, result) in enumerate(zip(images.names, results, strict=True)):
        if isinstance(result, Failure):
            failures[name] = result.error
        elif target == "quality":
            scores[row] = result.quality
        elif target in result.aspects:
            scores[row] = result.aspects[target]
        else:
            failures[name] = f"{target} is not judged without a prompt; name their column (columns.prompt)"
        progress("scoring", row + 1, len(images))
    if failures:
        first = next(iter(failures.values()))
        raise BenchmarkError(f"cannot judge {listing(list(failures), 'image')}, the first because: {first}")
    return scores
