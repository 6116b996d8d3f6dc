"""The assessor: an artifact, an engine, and the way from an image to its assessment."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foveal.artifact.card import Card, SideRange, ViewSpec
from foveal.artifact.file import Artifact
from foveal.assessment import HIGHEST, LOWEST, Assessment, Failure, Interval
from foveal.errors import CorruptImageError, FovealError, ImageError, PromptError
from foveal.imaging.decode import Limits, decode, name_of
from foveal.imaging.views import GRID, Pixels, content_offsets, crop_view, fragment_view, whole_view
from foveal.prompts import PromptReader, ReadPrompt
from foveal.runtime.engine import OUTPUTS, Batch, Engine
from foveal.runtime.ordered import ordered_map

# Sources taken in advance for each worker: enough to keep it busy, few enough to bound memory.
_AHEAD_PER_WORKER = 3
# Longest sides beyond the training images' by more than this factor earn a warning.
_FAR = 2.0
# So does a picture that is this much longer than wide.
_STRIP = 8.0

_Rows = Generator[Assessment | Failure, None, None]
_Item = tuple[int, Any, str | None]
"""Place of an image in its stream, the image, and its prompt."""
_END = object()


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image that is ready to be judged; :meth:`Assessor.prepare` makes one.

    Attributes:
        source: name of the image, where it has one.
        views: uint8 (side, side, 3) by input name.
        warnings: what was found on the way.
        prompt: as the graph takes it, where the assessor reads prompts.
    """

    source: str | None
    views: dict[str, Pixels]
    warnings: tuple[str, ...]
    prompt: ReadPrompt | None = None


class Assessor:
    """Judges images.

    A score depends on the image alone, and on its prompt where the assessor reads prompts: not on the batch,
    the order, the number of threads or a seed. Safe to use from several threads. :func:`foveal.load` makes
    one from a name or a file.

    Args:
        artifact: the model.
        engine: what executes it.
        limits: sizes of images that are accepted; by default those of :class:`foveal.imaging.decode.Limits`.
    """

    def __init__(self, artifact: Artifact, engine: Engine, *, limits: Limits | None = None) -> None:
        self._card = artifact.card
        self._aspects = tuple(sorted(artifact.card.aspects))
        self._reader = None if artifact.card.prompt is None else PromptReader(artifact)
        self._engine = engine
        self._limits = limits or Limits()

    @property
    def card(self) -> Card:
        """What this assessor is, and how well it does."""
        return self._card

    @property
    def engine(self) -> Engine:
        """What executes it."""
        return self._engine

    def __repr__(self) -> str:
        return f"Assessor({self._card.model}, {self._engine.name} on {self._engine.device})"

    def __call__(self, image: Any, *, name: str | None = None, prompt: str | None = None) -> Assessment:
        """Judge one image.

        Args:
            image: path, bytes, binary file object, PIL image, or array (uint8, uint16 or float in 0-1; HxW,
                HxWx3 or HxWx4).
            name: what to call it in the assessment and in errors; by default its file's name.
            prompt: text that the image was made from, for assessors that read it; ``""`` judges what can be
                judged without, and a warning names the aspects that are left out.

        Returns:
            Its quality on 1-5, higher is better, with an interval, and warnings where there are any. Aspects
            are on the same scale.

        Raises:
            MissingPromptError: an aspect needs a prompt, and there is none.
            ImageError: the image cannot be judged; each reason has a class of its own in
                :mod:`foveal.errors`.
            PromptError: there is a prompt, and the assessor reads none.
            MissingExtraError: ``tokenizers``, which reads prompts, is not installed.
            FovealError: the model gives no finite number.
        """
        return self.judge([self.prepare(image, name=name, prompt=prompt)])[0]

    def prepare(self, image: Any, *, name: str | None = None, prompt: str | None = None) -> Prepared:
        """Do all but judge: read the prompt, decode the image, cut its views.

        With :meth:`judge`, for callers that arrange the work themselves, such as a service that joins the
        images of several requests in one batch. Takes and raises what calling the assessor does.
        """
        read = self._read(prompt, name or name_of(image))
        return _with_prompt(self._prepare(image, name), read)

    def judge(self, images: Sequence[Prepared]) -> list[Assessment]:
        """Judge images that this assessor has prepared, in one call of its engine.

        Args:
            images: any number; ``engine.best_batch`` of them are quickest. Their number changes no score.

        Raises:
            FovealError: the model gives no finite number for one of them.
        """
        if not images:
            return []
        batch: dict[str, Batch] = {
            key: np.stack([image.views[key] for image in images]) for key in self._card.views
        }
        prompts = [image.prompt.inputs for image in images if image.prompt is not None]
        for key in prompts[0] if prompts else ():
            batch[key] = np.stack([inputs[key] for inputs in prompts])
        outputs = self._engine.run(batch)
        wanted = [name for name in (*OUTPUTS, "quality_map", *self._aspects) if name in outputs]
        return [
            self._assessment(image, {name: outputs[name][i] for name in wanted})
            for i, image in enumerate(images)
        ]

    def stream(
        self,
        images: Iterable[Any],
        *,
        prompts: Iterable[str | None] | str | None = None,
        workers: int | None = None,
        on_error: Literal["raise", "yield"] = "raise",
    ) -> Iterator[Assessment | Failure]:
        """Judge many images, as many at once as there are CPUs.

        Args:
            images: taken lazily, a few ahead of the results. Files keep their names; images without one are
                called ``image 0``, ``image 1`` ... by their place.
            prompts: for assessors that read them: one for all images, or one for each, taken as lazily as
                they. An empty one judges what can be judged without. An image whose prompt is None is one
                that cannot be judged, if an aspect needs it.
            workers: threads that decode and judge; by default the engine's number of threads.
            on_error: ``raise`` the error of an image that cannot be judged, or ``yield`` it as a
                :class:`foveal.assessment.Failure` in its place.

        Returns:
            An iterator over one assessment (or failure) an image, in the order of the images. Closing or
            dropping it ends its threads.

        Raises:
            ValueError: workers is below 1 or on_error is unknown.
            ImageError: while iterating, if on_error is ``raise``.
            PromptError: see :meth:`check_prompts`; also, while iterating at the latest, if there are more or
                fewer prompts than images.
        """
        if on_error not in ("raise", "yield"):
            raise ValueError(f"on_error is {on_error!r}, expected 'raise' or 'yield'")
        workers = self._engine.threads if workers is None else workers
        if workers < 1:
            raise ValueError(f"workers is {workers}, expected 1 or more")
        self.check_prompts(prompts)
        return self._stream(_items(images, prompts), workers, keep_going=on_error == "yield")

    def check_prompts(self, prompts: Iterable[str | None] | str | None) -> None:
        """Raise what :meth:`stream` would raise at once about its prompts; nothing is taken from an iterable.

        Raises:
            MissingPromptError: there are none at all, and an aspect needs them.
            InvalidPromptError: the one for all images cannot be read.
            PromptError: there are some, and the assessor reads none.
            MissingExtraError: ``tokenizers``, which reads prompts, is not installed.
            CorruptArtifactError: the model's tokenizer cannot be used.
        """
        if prompts is None or isinstance(prompts, str):
            self._read(prompts, self._card.model)
        elif self._reader is None:
            raise self._reads_none(self._card.model)
        else:
            self._reader.prepare()

    def _read(self, prompt: str | None, source: str) -> ReadPrompt | None:
        if self._reader is not None:
            return self._reader.read(prompt, source)
        if prompt is None or not prompt.strip():
            return None
        raise self._reads_none(source)

    def _reads_none(self, source: str) -> PromptError:
        return PromptError(
            f"{source}: {self._card.model} reads no prompts; leave them out, or choose a model that does"
        )

    def _stream(
        self, items: Iterator[_Item], workers: int, *, keep_going: bool
    ) -> Iterator[Assessment | Failure]:
        batch = self._engine.best_batch
        ahead = _AHEAD_PER_WORKER * workers
        rows: _Rows
        if batch == 1:
            rows = ordered_map(self._row, items, workers=workers, ahead=ahead)
        else:
            prepared = ordered_map(self._prepare_row, items, workers=workers, ahead=ahead + batch)
            rows = self._judge_in_batches(prepared, batch)
        with closing(rows):
            for row in rows:
                if isinstance(row, Failure) and not keep_going:
                    raise row.error
                yield row

    def _row(self, item: _Item) -> Assessment | Failure:
        """Decode and judge one image of a stream."""
        prepared = self._prepare_row(item)
        return prepared if isinstance(prepared, Failure) else self.judge([prepared])[0]

    def _judge_in_batches(self, rows: Generator[Prepared | Failure, None, None], size: int) -> _Rows:
        with closing(rows):
            while batch := list(islice(rows, size)):
                assessments = iter(self.judge([row for row in batch if isinstance(row, Prepared)]))
                for row in batch:
                    yield row if isinstance(row, Failure) else next(assessments)

    def _prepare_row(self, item: _Item) -> Prepared | Failure:
        index, image, prompt = item
        name = _own_name(image) or f"image {index}"
        try:
            read = self._read(prompt, name)
            return _with_prompt(self._prepare(image, name), read)
        except FovealError as error:
            return Failure(name, error)
        except Exception as error:  # one bad file, however it fails, must not stop a batch
            wrapped = CorruptImageError(name, f"cannot be decoded ({type(error).__name__}: {error})")
            wrapped.__cause__ = error
            return Failure(name, wrapped)

    def _prepare(self, image: Any, name: str | None) -> Prepared:
        try:
            decoded = decode(image, limits=self._limits)
        except ImageError as error:
            if not name or error.source == name:
                raise
            raise type(error)(name, error.reason, error.advice) from error
        views = cut_views(decoded.pixels, self._card.views)
        height, width = decoded.pixels.shape[:2]
        warnings = (*decoded.warnings, *_size_warnings(height, width, self._card.trained_on))
        return Prepared(name or _own_name(image), views, warnings)

    def _assessment(self, image: Prepared, outputs: Mapping[str, Any]) -> Assessment:
        """Make an assessment of one image's row of each output."""
        quality, spread, quality_map = outputs["quality"], outputs["spread"], outputs.get("quality_map")
        if not (np.isfinite(quality) and np.isfinite(spread) and spread > 0):
            raise FovealError(
                f"{image.source or 'image'}: {self._card.model} gives quality {quality} and spread {spread}; "
                "the model is broken, use another"
            )
        calibration = self._card.calibration
        centre = _clip(float(quality))
        reach = calibration.factor * float(spread)
        interval = Interval(_clip(centre - reach), _clip(centre + reach), calibration.coverage)
        if quality_map is not None:
            quality_map = self._checked_map(image, quality_map)
        return Assessment(
            centre,
            interval,
            self._card.model,
            source=image.source,
            aspects=self._judged_aspects(image, outputs),
            quality_map=quality_map,
            warnings=image.warnings,
        )

    def _judged_aspects(self, image: Prepared, outputs: Mapping[str, Any]) -> dict[str, float]:
        names = self._aspects if image.prompt is None else image.prompt.aspects
        for name in names:
            if np.ndim(outputs[name]) or not np.isfinite(outputs[name]):
                raise FovealError(
                    f"{image.source or 'image'}: {self._card.model} gives {name} {outputs[name]}; "
                    "the model is broken, use another"
                )
        return {name: _clip(float(outputs[name])) for name in names}

    def _checked_map(self, image: Prepared, quality_map: NDArray[np.float32]) -> NDArray[np.float32]:
        if quality_map.ndim != len(("rows", "columns")) or not np.isfinite(quality_map).all():
            raise FovealError(
                f"{image.source or 'image'}: {self._card.model} gives a map of local quality that is none; "
                "the model is broken, use another"
            )
        clipped: NDArray[np.float32] = np.clip(quality_map, LOWEST, HIGHEST)
        return clipped


def _items(images: Iterable[Any], prompts: Iterable[str | None] | str | None) -> Iterator[_Item]:
    """Put each image beside its prompt; lazy, but counts what can be counted at once."""
    if prompts is None or isinstance(prompts, str):
        return ((index, image, prompts) for index, image in enumerate(images))
    if isinstance(images, Sized) and isinstance(prompts, Sized) and len(images) != len(prompts):
        raise PromptError(f"there are {len(prompts)} prompts for {len(images)} images; give one for each")
    return _pairs(images, prompts)


def _pairs(images: Iterable[Any], prompts: Iterable[str | None]) -> Iterator[_Item]:
    count, texts = 0, iter(prompts)
    for count, image in enumerate(images, 1):
        prompt: Any = next(texts, _END)
        if prompt is _END:
            raise PromptError(f"there are only {count - 1} prompts for more images; give one for each")
        yield count - 1, image, prompt
    if next(texts, _END) is not _END:
        raise PromptError(f"there are only {count} images for more prompts; give one for each")


def _with_prompt(image: Prepared, prompt: ReadPrompt | None) -> Prepared:
    if prompt is None:
        return image
    return replace(image, prompt=prompt, warnings=(*image.warnings, *prompt.warnings))


def _own_name(image: Any) -> str | None:
    """The name that an image brings with it; None for arrays, bytes and the like, which have only a kind."""
    name = name_of(image)
    has_only_kind = name.startswith("<") and not isinstance(image, str | os.PathLike)
    return None if has_only_kind else name


def cut_views(pixels: Pixels, specs: Mapping[str, ViewSpec], *, draw: int = 0) -> dict[str, Pixels]:
    """Cut the views that a card asks for.

    Args:
        pixels: uint8 (height, width, 3).
        specs: kind and side of each view by input name.
        draw: added to the draws of all fragments, for averages over several.

    Returns:
        uint8 (side, side, 3) by input name.
    """
    # The fragments' offsets come from the whole view: it is resized once for all.
    whole = whole_view(pixels)

    def cut(spec: ViewSpec) -> Pixels:
        if spec.kind == "fragments":
            offsets = content_offsets(whole, draw=draw + spec.draw)
            return fragment_view(pixels, offsets, cell=spec.side // GRID)
        if spec.kind == "crop":
            return crop_view(pixels, side=spec.side)
        return whole if spec.side == len(whole) else whole_view(pixels, spec.side)

    return {name: cut(spec) for name, spec in specs.items()}


def _size_warnings(height: int, width: int, trained_on: SideRange | None) -> list[str]:
    """What is unusual about an image's size."""
    warnings = []
    longest, shortest = max(height, width), min(height, width)
    if longest > _STRIP * shortest:
        warnings.append(f"a narrow strip of {width} x {height} pixels: unlike any image it was trained on")
    if trained_on is None:
        return warnings
    trained = (
        f"its training images have {trained_on.min_side} to {trained_on.max_side} pixels on the longer side"
    )
    if longest > _FAR * trained_on.max_side:
        warnings.append(f"much larger than the images it was trained on: {width} x {height}, {trained}")
    if longest * _FAR < trained_on.min_side:
        warnings.append(f"much smaller than the images it was trained on: {width} x {height}, {trained}")
    return warnings


def _clip(value: float) -> float:
    return min(max(value, LOWEST), HIGHEST)
