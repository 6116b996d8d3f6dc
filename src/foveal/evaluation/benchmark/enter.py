"""From a benchmark's file to sets and assessors, ready to be run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from foveal.errors import FovealError, MissingExtraError
from foveal.evaluation.benchmark.config import AssessorConfig, Benchmark, BenchmarkError
from foveal.evaluation.benchmark.entrants import Entrant, Trainable
from foveal.evaluation.benchmark.rated_sets import RatedSet, load_set
from foveal.evaluation.benchmark.score_tables import ScoreTables


def load_entrants(benchmark: Benchmark) -> dict[str, Entrant]:
    """Make ready what the file enters: models are loaded, recipes read, nothing is scored.

    Raises:
        BenchmarkError: an assessor cannot take part; the message begins with its name.
        MissingExtraError: it needs the lab, and that is not installed.
    """
    entrants = {}
    for name, config in benchmark.assessors.items():
        try:
            entrants[name] = _entrant(config, benchmark)
        except MissingExtraError:
            raise
        except FovealError as error:
            raise BenchmarkError(f"assessors.{name}: {error}") from error
    return entrants


def load_sets(
    benchmark: Benchmark, entrants: Mapping[str, Entrant], said: Callable[[str], None] = lambda text: None
) -> dict[str, RatedSet]:
    """Read and check all sets.

    Args:
        benchmark: which.
        entrants: from :func:`load_entrants`.
        said: told of each set that is read; hashing a large one takes a while.

    Raises:
        BenchmarkError: a set cannot be used; the message begins with its name.
        MissingExtraError: what reads its table is not installed.
    """
    trains = any(isinstance(entrant, Trainable) for entrant in entrants.values())
    sets = {}
    for name, config in benchmark.sets.items():
        said(f"reading {name}")
        sets[name] = load_set(
            name, config, folder=benchmark.folder, target=benchmark.run.target, trains=trains
        )
    return sets


def _entrant(config: AssessorConfig, benchmark: Benchmark) -> Entrant:
    folder, run = benchmark.folder, benchmark.run
    if config.scores is not None:
        return ScoreTables(config, folder, run.target)
    if config.model is not None:
        from foveal.evaluation.benchmark.model_files import ModelFile

        return ModelFile(config.model, folder, run.target)
    from foveal.evaluation.benchmark.lab_models import Recipe, TrainedFolder

    if config.recipe is not None:
        return Recipe(folder / config.recipe, run.target, cpu=run.cpu)
    return TrainedFolder(config, folder, run.target, cpu=run.cpu)
