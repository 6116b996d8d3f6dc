"""Assessors of the ground floor: shipped ones and model files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import foveal
from foveal.evaluation.benchmark.config import BenchmarkError
from foveal.evaluation.benchmark.content import hash_file, versions
from foveal.evaluation.benchmark.entrants import Judge, Progress, Ready
from foveal.evaluation.benchmark.judging import gathered
from foveal.evaluation.benchmark.rated_sets import RatedSet
from foveal.evaluation.pairs import Floats
from foveal.ratings.table import Ratings
from foveal.weights import available


class ModelFile(Ready):
    """A model that scores without torch.

    Args:
        name: of a shipped assessor, or of a file.
        folder: where relative paths begin.
        target: what is to be judged.

    Raises:
        ArtifactError: there is no such model, or the file is not usable.
        BenchmarkError: it does not judge the target.
    """

    def __init__(self, name: str, folder: Path, target: str) -> None:
        self._file = available().get(name) or folder / name
        self._assessor = foveal.load(self._file)
        self._target = target
        card = self._assessor.card
        self.training_data = card.training_data
        if target != "quality" and target not in card.aspects:
            judged = ", ".join(("quality", *card.aspects))
            raise BenchmarkError(f"{card.model} does not judge {target!r}, only {judged}; leave it out")

    def identity(self, rated: RatedSet) -> Mapping[str, object]:
        """The file, and the software that runs it."""
        engine = self._assessor.engine
        return {
            "kind": "model",
            "file": hash_file(self._file),
            "engine": [engine.name, engine.device],
            "software": versions("foveal", "numpy", "pillow", engine.name),
        }

    def judge(self, rated: RatedSet) -> Judge:
        """What scores images, many at once."""

        def score(images: Ratings, progress: Progress) -> Floats:
            assessor = self._assessor
            prompts = None if assessor.card.prompt is None else images.prompts or ""
            results = assessor.stream(images.images, prompts=prompts, on_error="yield")
            return gathered(results, images, self._target, progress)

        return score
