"""Images as a graph takes them: decoded and cut once for each pass, a few ahead of their use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.artifact.card import ViewSpec
from foveal.assessor import cut_views
from foveal.imaging.decode import decode
from foveal.runtime.engine import available_cpus
from foveal.runtime.ordered import ordered_map

_AHEAD = 8


class RatedViews:
    """Views of images, one image at a time.

    Args:
        images: whatever can be decoded: paths, bytes, arrays.
        views: what to cut, by input name.
        rated: people's scores on 1-5, float64 (images, targets), quality first; NaN where one is missing;
            None if there are none at all.

    Raises:
        ValueError: there are not as many rows of scores as images.
    """

    def __init__(
        self,
        images: Sequence[Any],
        views: Mapping[str, ViewSpec],
        rated: NDArray[np.float64] | None = None,
    ) -> None:
        if rated is not None and len(rated) != len(images):
            raise ValueError(f"{len(rated)} scores for {len(images)} images")
        self.images = list(images)
        self.views = dict(views)
        self.rated = rated

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[dict[str, NDArray[np.uint8]]]:
        """Yield uint8 (1, side, side, 3) by input name for each image.

        Raises:
            ImageError: an image cannot be decoded.
        """
        return ordered_map(self._cut, self.images, workers=available_cpus(), ahead=_AHEAD)

    def some(self, count: int) -> RatedViews:
        """At most so many images, evenly spaced."""
        if count >= len(self):
            return self
        return self.take(np.linspace(0, len(self) - 1, count).astype(int))

    def take(self, rows: NDArray[np.integer]) -> RatedViews:
        """Some of the images, in any order."""
        rated = None if self.rated is None else self.rated[rows]
        return RatedViews([self.images[index] for index in rows], self.views, rated)

    def _cut(self, image: Any) -> dict[str, NDArray[np.uint8]]:
        return {name: view[None] for name, view in cut_views(decode(image).pixels, self.views).items()}
