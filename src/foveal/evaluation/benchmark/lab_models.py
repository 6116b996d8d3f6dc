"""Assessors of the lab: models that are trained already, and recipes that are followed on each split.

Nothing of the lab is imported before one of them is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.assessment import Assessment
from foveal.evaluation.benchmark.config import AssessorConfig, BenchmarkError
from foveal.evaluation.benchmark.content import hash_files, versions
from foveal.evaluation.benchmark.entrants import Judge, Progress, Ready, Trainable
from foveal.evaluation.benchmark.judging import gathered
from foveal.evaluation.benchmark.rated_sets import RatedSet
from foveal.evaluation.pairs import Floats
from foveal.ratings.table import Ratings

if TYPE_CHECKING:
    from foveal.lab.trained import TrainedModel

_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
"""What a pretrained encoder or a trained model is made of: configurations, weights, vocabularies."""
_BATCH = 16
_NOT_LEARNT = ("ratings", "split", "card", "folder")
"""Parts of a recipe that change no weight here: the benchmark gives ratings and split."""
_NO_MATTER = ("workers", "checkpoint_steps", "validation_batch")
"""Settings of the training that change no result; see :mod:`foveal.lab.training.fit`."""


class TrainedFolder(Ready):
    """A trained model of the lab.

    Args:
        config: of the assessor.
        folder: where relative paths begin.
        target: what is to be judged.
        cpu: stay on the CPU where there is a GPU.

    Raises:
        MissingExtraError: the lab is not installed.
        TrainedModelError: there is no such model, or it is damaged.
        BenchmarkError: it does not judge the target.
    """

    def __init__(self, config: AssessorConfig, folder: Path, target: str, *, cpu: bool) -> None:
        from foveal.lab.trained import CONFIG, SHIPPED, read_record

        name = config.trained or ""
        shipped = SHIPPED / name
        self._folder = shipped if (shipped / CONFIG).is_file() else folder / name
        record = read_record(self._folder / CONFIG)
        if target not in record.targets:
            judged = ", ".join(record.targets)
            raise BenchmarkError(f"{record.card.name} does not judge {target!r}, only {judged}; leave it out")
        given = {
            "backbone": config.backbone,
            "fine_backbone": config.fine_backbone,
            "text_backbone": config.text_backbone,
        }
        self._encoders = {key: _place(value, folder) for key, value in given.items() if value is not None}
        self._target = target
        self._cpu = cpu
        self.training_data = record.card.training_data

    def identity(self, rated: RatedSet) -> Mapping[str, object]:
        """Its files, which name the weights of its encoders, and the software."""
        return {
            "kind": "trained",
            "files": hash_files(self._folder, _FILES),
            "device": _device(cpu=self._cpu),
            "software": _software(),
        }

    def judge(self, rated: RatedSet) -> Judge:
        """What scores images; the model is loaded here."""
        from foveal.lab.trained import load_trained

        model = load_trained(self._folder, **self._encoders).to(_device(cpu=self._cpu))
        return _judge(model, self._target)


class Recipe(Trainable):
    """A recipe of the lab. Its own ratings and split do not count; the limits of its split do.

    Args:
        path: of the recipe.
        target: what is to be judged.
        cpu: stay on the CPU where there is a GPU.

    Raises:
        MissingExtraError: the lab is not installed.
        RecipeError: the recipe cannot be followed.
        BenchmarkError: it does not judge the target.
    """

    def __init__(self, path: Path, target: str, *, cpu: bool) -> None:
        from foveal.lab.trained import CONFIG, SHIPPED, read_record
        from foveal.lab.training.recipe import read_recipe

        self._recipe = read_recipe(path)
        if target not in self._recipe.targets:
            trained = ", ".join(self._recipe.targets)
            raise BenchmarkError(
                f"{path}: is not trained to judge {target!r}, only {trained}; add it to targets"
            )
        self._target = target
        self._cpu = cpu
        self._start: Path | None = None
        if self._recipe.start is not None:
            shipped = SHIPPED / self._recipe.start
            there = (shipped / CONFIG).is_file()
            self._start = shipped if there else Path(_place(self._recipe.start, path.parent))
            self.training_data = read_record(self._start / CONFIG).card.training_data

    def identity(self) -> Mapping[str, object]:
        """The recipe's fields, the files of encoders and first weights, and the software."""
        values = asdict(self._recipe)
        split = values["split"]
        for name in _NO_MATTER:
            del values["training"][name]
        return {
            "kind": "recipe",
            "fields": {name: value for name, value in values.items() if name not in _NOT_LEARNT},
            "limits": [split["limit"], split["validation_limit"], split["seed"]],
            "encoders": dict(self._encoder_files(values)),
            "start": None if self._start is None else hash_files(self._start, _FILES),
            "device": _device(cpu=self._cpu),
            "software": _software(),
        }

    def train(self, learnt: Ratings, folder: Path, progress: Progress) -> Judge:
        """Follow the recipe; the best epoch is chosen on the validation part."""
        from foveal.lab.training.recipe import SplitConfig
        from foveal.lab.training_run import Telling, train

        own = self._recipe.split
        split = SplitConfig(
            kind="given", seed=own.seed, limit=own.limit, validation_limit=own.validation_limit
        )
        telling = Telling(
            step=lambda step, steps, what: progress("training", step, steps),
            features=lambda step, steps: progress("features", step, steps),
        )
        recipe = replace(self._recipe, split=split)
        run = train(recipe, learnt, folder=folder, cpu=self._cpu, telling=telling)
        return _judge(run.model, self._target)

    def _encoder_files(self, values: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
        """Files of each encoder that lies in a folder; others are named by their revision."""
        for name, value in values.items():
            if name.endswith("backbone") and value is not None:
                place = Path(_place(value["name"], self._recipe.folder))
                yield name, hash_files(place, _FILES) if place.is_dir() else value["name"]


def _judge(model: TrainedModel, target: str) -> Judge:
    def score(images: Ratings, progress: Progress) -> Floats:
        return gathered(_assessed(model, images), images, target, progress)

    return score


def _assessed(model: TrainedModel, images: Ratings) -> Iterator[Assessment]:
    from foveal.lab.assess import assess

    reads = model.network.text is not None
    prompts = images.prompts or ("",) * len(images)
    for start in range(0, len(images), _BATCH):
        chosen = slice(start, start + _BATCH)
        yield from assess(model, images.images[chosen], prompts=prompts[chosen] if reads else None)


def _place(name: str, folder: Path) -> str:
    """A folder beside the file that names it, or the name itself."""
    beside = folder / name
    return str(beside) if beside.is_dir() else name


def _device(*, cpu: bool) -> str:
    import torch

    return "cuda" if torch.cuda.is_available() and not cpu else "cpu"


def _software() -> dict[str, str]:
    return versions("foveal", "numpy", "pillow", "torch", "transformers")
