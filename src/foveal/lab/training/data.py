"""Rated images as batches of views: decoded ahead of the network, the same whatever the number of threads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.artifact.card import ViewSpec
from foveal.assessor import cut_views
from foveal.imaging.decode import decode
from foveal.imaging.views import GRID, Pixels, crop_view, fragment_view, whole_view
from foveal.ratings.table import Ratings
from foveal.runtime.ordered import ordered_map

_AHEAD = 2


@dataclass(frozen=True)
class Augmentation:
    """What training does to an image so that it is never seen twice alike.

    Only what leaves quality as it is: no blur, no colour, no scaling beyond a slight crop.

    Attributes:
        flip: mirror left and right, every other time.
        offsets: draw the fragments at random instead of from the content.
        least_kept: the whole view keeps at least this share of each side; 1 crops nothing.
    """

    flip: bool = True
    offsets: bool = True
    least_kept: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.least_kept <= 1:
            raise ValueError(f"least_kept is {self.least_kept}, expected above 0 to 1")


@dataclass(frozen=True)
class Batch:
    """Views and ratings of some images.

    Attributes:
        views: uint8 (batch, side, side, 3) by name; and prompts, where the network reads them.
        rated: float32 (batch, targets) on the 1-5 scale; NaN where a score is missing.
    """

    views: dict[str, Tensor]
    rated: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch({name: view.to(device) for name, view in self.views.items()}, self.rated.to(device))


@dataclass(frozen=True)
class PromptRows:
    """What a batch holds of the images' prompts, each distinct one kept once.

    Attributes:
        tensors: (distinct prompts, ...) by their name in a batch.
        index: int64 (images,): which of them each image has.
    """

    tensors: Mapping[str, Tensor]
    index: Tensor

    def rows(self, images: Tensor) -> dict[str, Tensor]:
        """Rows of some images, (images, ...) by name."""
        return {name: tensor[self.index[images]] for name, tensor in self.tensors.items()}


class BatchSource(ABC):
    """Rated images, whatever a network sees of them.

    Args:
        rated: float32 (n, targets) on the 1-5 scale; NaN where a score is missing.
        seed: of order and augmentation.
        prompts: of the images, for networks that read them.
    """

    def __init__(self, rated: Tensor, seed: int, prompts: PromptRows | None = None) -> None:
        self.rated = rated
        self.seed = seed
        self.prompts = prompts

    def batch(self, views: Mapping[str, Tensor], rows: Tensor) -> Batch:
        """Views of some images together with their prompts and ratings."""
        prompts = {} if self.prompts is None else self.prompts.rows(rows)
        return Batch({**views, **prompts}, self.rated[rows])

    def __len__(self) -> int:
        return len(self.rated)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Positions in the order of this epoch."""
        return np.random.default_rng([self.seed, epoch]).permutation(len(self))

    @abstractmethod
    def batches(
        self,
        positions: Sequence[NDArray[np.int64]],
        *,
        augmentation: Augmentation | None = None,
        epoch: int = 0,
        draw: int = 0,
        workers: int = 1,
    ) -> Iterator[Batch]:
        """Give batches in order.

        Args:
            positions: of the images of each batch.
            augmentation: what training does; None for what an assessor sees.
            epoch: decides on the augmentation.
            draw: number of the draw of fragments without augmentation.
            workers: threads that decode, where there is something to decode.

        Raises:
            ImageError: an image cannot be decoded.
        """


class RatedImages(BatchSource):
    """Images with ratings, cut into views when they are wanted.

    Args:
        ratings: the table.
        views: what to cut, by input name.
        targets: score columns.
        seed: of order and augmentation: what epoch ``e`` shows of an image depends on (seed, e, its name).
        prompts: as tokens, for networks that read them.
    """

    def __init__(
        self,
        ratings: Ratings,
        views: Mapping[str, ViewSpec],
        targets: Sequence[str] = ("quality",),
        seed: int = 0,
        prompts: PromptRows | None = None,
    ) -> None:
        columns = [ratings.quality(target) for target in targets]
        super().__init__(torch.from_numpy(np.stack(columns, axis=1).astype(np.float32)), seed, prompts)
        self.ratings = ratings
        self.views = dict(views)

    def batches(
        self,
        positions: Sequence[NDArray[np.int64]],
        *,
        augmentation: Augmentation | None = None,
        epoch: int = 0,
        draw: int = 0,
        workers: int = 1,
    ) -> Iterator[Batch]:
        """Cut batches, ``workers`` at once, a few ahead of their use."""

        def cut(chosen: NDArray[np.int64]) -> Batch:
            cuts = [self._cut(int(index), augmentation, epoch, draw) for index in chosen]
            views = {name: torch.from_numpy(np.stack([cut[name] for cut in cuts])) for name in self.views}
            return self.batch(views, torch.from_numpy(chosen))

        return ordered_map(cut, positions, workers=workers, ahead=workers + _AHEAD)

    def _cut(self, index: int, augmentation: Augmentation | None, epoch: int, draw: int) -> dict[str, Pixels]:
        pixels = decode(self.ratings.images[index]).pixels
        if augmentation is None:
            return cut_views(pixels, self.views, draw=draw)
        name = np.frombuffer(self.ratings.names[index].encode(), np.uint8)
        generator = np.random.default_rng([self.seed, epoch, *name])
        return augmented_views(pixels, self.views, augmentation, generator)


def augmented_views(
    pixels: Pixels,
    specs: Mapping[str, ViewSpec],
    augmentation: Augmentation,
    generator: np.random.Generator,
) -> dict[str, Pixels]:
    """Cut views of a training image.

    Args:
        pixels: uint8 (height, width, 3).
        specs: kind and side of each view by input name.
        augmentation: what may be done.
        generator: source of chance; the same state gives the same views.

    Returns:
        uint8 (side, side, 3) by input name.
    """
    # All is drawn in a fixed order, so that switching one kind off leaves the others as they were.
    mirrored = generator.random() < 0.5 and augmentation.flip
    kept = generator.uniform(augmentation.least_kept, 1.0, 2)
    corner = generator.random(2)
    offsets = generator.random((GRID, GRID, 2))
    if mirrored:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
    cropped = _crop(pixels, kept, corner)

    def cut(spec: ViewSpec) -> Pixels:
        if spec.kind == "fragments":
            return fragment_view(pixels, offsets if augmentation.offsets else None, cell=spec.side // GRID)
        if spec.kind == "crop":
            return crop_view(pixels, side=spec.side)
        return whole_view(cropped, spec.side)

    return {name: cut(spec) for name, spec in specs.items()}


def _crop(pixels: Pixels, kept: NDArray[np.float64], corner: NDArray[np.float64]) -> Pixels:
    size = np.array(pixels.shape[:2])
    extent = np.maximum(1, np.round(kept * size)).astype(int)
    top, left = np.floor(corner * (size - extent + 1)).astype(int)
    return pixels[top : top + extent[0], left : left + extent[1]]
