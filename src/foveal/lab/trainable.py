"""An assessor that learns: parameters in the constructor, ``fit``, ``predict``, as scikit-learn has it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from foveal.assessment import HIGHEST, LOWEST, Assessment
from foveal.errors import FovealError
from foveal.lab.assess import assess
from foveal.lab.export_trained import Agreement, export_model
from foveal.lab.trained import TrainedModel
from foveal.lab.training.fit import FitResult
from foveal.lab.training.recipe import recipe_from
from foveal.lab.training_run import Telling, train
from foveal.ratings.table import Ratings


class NotFittedError(FovealError):
    """The assessor has not learnt anything yet."""


class TrainableAssessor:
    """Learns to judge images as the people did whose ratings it is given.

    Args:
        backbone: name, folder or Hub id of a pretrained vision transformer.
        fine_backbone: likewise, of a second stream's own, for models that have two.
        text_backbone: likewise, of a text encoder, for models that read texts.
        model: what stands on it: ``probe`` trains in seconds on cached features, ``glia`` is the most
            accurate; ``mst-clipiqa`` has two streams and may read prompts.
        targets: score columns of the ratings to learn, quality first.
        options: choices of the model, as in a recipe.
        training: settings of the training, as in a recipe: ``{"epochs": 40, "losses": {"plcc": 1.0}}``.
        split: which images validate, as in a recipe; by default the ratings' own split if they have one,
            else a tenth at random that separates no group.
        card: name, version, licence, summary and training data, for the exported file.
        folder: where checkpoint, log and model go, so that an interrupted ``fit`` goes on; by default
            nothing is kept.
        cache: file of cached features; by default below the user's cache folder.
        cpu: stay on the CPU where there is a GPU.

    Attributes:
        model_: the trained model, after ``fit``.
        result_: history of the training, after ``fit``.

    Raises:
        RecipeError: a setting is unknown or wrong.
    """

    def __init__(
        self,
        backbone: str | os.PathLike[str],
        model: str = "probe",
        *,
        fine_backbone: str | os.PathLike[str] | None = None,
        text_backbone: str | os.PathLike[str] | None = None,
        targets: Sequence[str] = ("quality",),
        options: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        split: Mapping[str, Any] | None = None,
        card: Mapping[str, Any] | None = None,
        folder: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        cpu: bool = False,
    ) -> None:
        self._tables: dict[str, Any] = {
            # Ratings are handed to fit(); a recipe wants to be told of some all the same.
            "ratings": {"path": "", "low": LOWEST, "high": HIGHEST},
            "backbone": {"name": os.fspath(backbone)},
            "model": {"kind": model, **(options or {})},
            "training": dict(training or {}),
            "card": dict(card or {}),
            "targets": list(targets),
        }
        for table, name in (("fine_backbone", fine_backbone), ("text_backbone", text_backbone)):
            if name is not None:
                self._tables[table] = {"name": os.fspath(name)}
        self._split = dict(split) if split is not None else None
        self._folder = folder
        self._cache = cache
        self._cpu = cpu
        recipe_from({**self._tables, "split": self._split or {}})
        self.model_: TrainedModel
        self.result_: FitResult

    def fit(self, ratings: Ratings, *, telling: Telling | None = None) -> Self:
        """Learn from ratings; their test part, if they have one, is not looked at.

        Args:
            ratings: images and scores, of any range and direction.
            telling: whom to tell of the progress.

        Raises:
            RatingsError: there are too few images, or no training part.
            ImageError: an image cannot be decoded.
            BackboneError: the backbone cannot be loaded.
        """
        split = self._split
        if split is None:
            split = {"kind": "given" if "train" in ratings.split else "seeded"}
        recipe = recipe_from({**self._tables, "split": split})
        with tempfile.TemporaryDirectory() as passing:
            run = train(
                recipe,
                ratings,
                folder=Path(passing if self._folder is None else self._folder),
                cache=None if self._cache is None else Path(self._cache),
                cpu=self._cpu,
                telling=telling,
            )
        self.model_, self.result_ = run.model, run.result
        return self

    def predict(
        self, images: Iterable[Any], *, draws: int = 1, prompts: Iterable[str | None] | None = None
    ) -> list[Assessment]:
        """Judge images, with intervals.

        Args:
            images: whatever :class:`foveal.assessor.Assessor` takes: paths, bytes, arrays, PIL images.
            draws: sets of fragments whose judgements are averaged.
            prompts: text that each image was made from, for models that read it.

        Raises:
            NotFittedError: before ``fit``.
            ImageError: an image cannot be decoded.
        """
        return assess(self._fitted(), images, draws=draws, prompts=prompts)

    def export(
        self, path: str | os.PathLike[str], *, draws: int = 1, store_float16: bool = False
    ) -> Agreement:
        """Write a file that :func:`foveal.load` takes and that needs no torch.

        Args:
            path: the file.
            draws: sets of fragments whose judgements are averaged.
            store_float16: store weights in half precision.

        Returns:
            The largest differences between its scores and those of the model.

        Raises:
            NotFittedError: before ``fit``.
            ExportError: scores differ.
        """
        return export_model(self._fitted().cpu(), path, draws=draws, store_float16=store_float16)

    def _fitted(self) -> TrainedModel:
        try:
            return self.model_
        except AttributeError:
            raise NotFittedError("this assessor has learnt nothing yet: call fit(ratings) first") from None
