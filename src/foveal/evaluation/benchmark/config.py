"""The TOML file that describes a benchmark: sets, assessors, and how they are compared."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from foveal.errors import FovealError
from foveal.ratings.own_table import Columns
from foveal.strict import RecipeError, build

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KINDS = ("model", "scores", "recipe", "trained")
_LEAST_RESAMPLES = 100


class BenchmarkError(FovealError):
    """A benchmark cannot be run as it is described; the message names file and field."""


@dataclass(frozen=True)
class SetConfig:
    """One set of rated images.

    Attributes:
        path: a table, a folder in the Hub's imagefolder layout, or, if ``dataset`` is given, the folder of
            that set. Like all paths of the file, relative to the file's folder.
        split: ``official``, the owners' own, or ``seeded``, drawn at random without separating groups.
        dataset: name of a set whose layout is known, such as ``biq2021``.
        images: where the images lie, if not beside the table.
        low: lower end of the scores' scale; needed unless ``dataset`` is given.
        high: upper end of the scores' scale.
        higher_is_better: direction of the scores.
        columns: headings; see :class:`foveal.ratings.own_table.Columns`.
        missing: ``error``, or ``drop`` to leave out rows whose image is absent.
        splits: number of seeded splits.
        seed: of the first one; of an official split without a validation part, of the draw of that part.
        test: share of all images in a seeded test part.
        validation: share of the rest that is held out of training for choices.
        leave_out: names of images that are not clean, for figures without them; see
            :func:`foveal.evaluation.leave_out.read_leave_out`.
        near_above: of BIQ2021's list of neighbours, images of greater similarity are left out.
    """

    path: str
    split: Literal["official", "seeded"]
    dataset: str | None = None
    images: str | None = None
    low: float | None = None
    high: float | None = None
    higher_is_better: bool = True
    columns: Columns | None = None
    missing: Literal["error", "drop"] = "error"
    splits: int = 10
    seed: int = 0
    test: float = 0.2
    validation: float = 0.1
    leave_out: str | None = None
    near_above: float = 0.9

    def __post_init__(self) -> None:
        stated = self.low is not None and self.high is not None
        if self.dataset is None and not stated:
            raise ValueError("state low and high, the two ends of the scores' scale: they cannot be guessed")
        said = self.low, self.high, self.higher_is_better, self.columns
        if self.dataset is not None and said != (None, None, True, None):
            raise ValueError(
                f"scale and columns of {self.dataset} are known: leave out low, high, higher_is_better "
                "and columns"
            )
        for name in ("splits", "seed"):
            least = 1 if name == "splits" else 0
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {least} or more")
        for name in ("test", "validation"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected above 0 and below 1")


@dataclass(frozen=True)
class AssessorConfig:
    """One assessor: exactly one of ``model``, ``scores``, ``recipe`` and ``trained``.

    Attributes:
        model: name of a shipped assessor, or a model file.
        scores: tables of ready scores, by set. With one set in the file, its table alone.
        recipe: recipe of the lab, trained anew on the training part of each split of each set.
        trained: name of a shipped model of the lab, or the folder of a trained one.
        backbone: of a trained model: the folder or name of its image encoder.
        fine_backbone: likewise, of its second stream.
        text_backbone: likewise, of texts.
        image: of ready scores: heading of the images; ``image`` or ``source`` by default.
        column: of ready scores: heading of the scores; by default the name of the target.
        lower_is_better: of ready scores: their direction, which is turned round.
        trained_on: sets of the file of which this assessor has seen images, if its card does not say so.
    """

    model: str | None = None
    scores: Mapping[str, str] | None = None
    recipe: str | None = None
    trained: str | None = None
    backbone: str | None = None
    fine_backbone: str | None = None
    text_backbone: str | None = None
    image: str | None = None
    column: str | None = None
    lower_is_better: bool = False
    trained_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        there = [name for name in _KINDS if getattr(self, name) is not None]
        if len(there) != 1:
            found = " and ".join(there) or "none"
            raise ValueError(f"an assessor has one of {', '.join(_KINDS)}; there is {found}")
        for kind, names in (
            ("trained", ("backbone", "fine_backbone", "text_backbone")),
            ("scores", ("image", "column", "lower_is_better")),
        ):
            wrong = [name for name in names if getattr(self, name)]
            if wrong and there != [kind]:
                raise ValueError(f"{wrong[0]} is only for assessors with {kind}; leave it out")


@dataclass(frozen=True)
class RunConfig:
    """How the assessors are compared.

    Attributes:
        out: folder of results, unless the command names one.
        target: score column: ``quality``, ``authenticity``, ``correspondence`` or another.
        resamples: of the bootstrap.
        coverage: how often an interval is meant to hold the true figure.
        seed: of the bootstrap.
        cross: whether what was trained on one set is tested on the others too.
        cpu: train on the CPU even where there is a GPU.
    """

    out: str | None = None
    target: str = "quality"
    resamples: int = 2000
    coverage: float = 0.95
    seed: int = 0
    cross: bool = True
    cpu: bool = False

    def __post_init__(self) -> None:
        if self.resamples < _LEAST_RESAMPLES:
            raise ValueError(f"resamples is {self.resamples}, expected {_LEAST_RESAMPLES} or more")
        if not 0 < self.coverage < 1:
            raise ValueError(f"coverage is {self.coverage}, expected above 0 and below 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, expected 0 or more")


@dataclass(frozen=True)
class GmadConfig:
    """The competition of :mod:`foveal.evaluation.benchmark.gmad`.

    Attributes:
        levels: quality levels of the defender at which it is attacked; 0 for no competition.
        share: of the images, how many make a level.
        side: of the pictures in the sheet, in pixels.
    """

    levels: int = 3
    share: float = 0.05
    side: int = 224

    def __post_init__(self) -> None:
        if self.levels < 0:
            raise ValueError(f"levels is {self.levels}, expected 0 or more")
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}, expected above 0 and up to 1")
        if self.side < 1:
            raise ValueError(f"side is {self.side}, expected 1 or more")


@dataclass(frozen=True)
class Benchmark:
    """All that a benchmark's file says.

    Attributes:
        sets: by name, in the file's order.
        assessors: by name, in the file's order.
        run: how they are compared.
        gmad: how they compete.
        folder: where relative paths begin: the folder of the file.
        name: of the benchmark: the file's, without suffix.
    """

    sets: Mapping[str, SetConfig]
    assessors: Mapping[str, AssessorConfig]
    run: RunConfig = field(default_factory=RunConfig)
    gmad: GmadConfig = field(default_factory=GmadConfig)
    folder: Path = Path()
    name: str = "benchmark"


_TABLES = tuple(item.name for item in fields(Benchmark) if item.name not in ("folder", "name"))


def read_benchmark(path: str | Path) -> Benchmark:
    """Read the file of a benchmark.

    Args:
        path: a TOML file with the tables ``[sets.NAME]``, ``[assessors.NAME]``, ``[run]`` and ``[gmad]``,
            whose fields are those of the classes of this module.

    Raises:
        BenchmarkError: the file is missing, is not TOML, or a field is unknown, missing or wrong.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchmarkError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BenchmarkError(f"{path}: cannot be read as TOML: {error}") from error
    try:
        return benchmark_from(values, path.parent, path.stem)
    except (BenchmarkError, RecipeError) as error:
        raise BenchmarkError(f"{path}: {error}") from error


def benchmark_from(values: Mapping[str, Any], folder: Path = Path(), name: str = "benchmark") -> Benchmark:
    """Make a benchmark from tables.

    Args:
        values: as read from TOML.
        folder: where relative paths begin.
        name: of the benchmark.

    Raises:
        BenchmarkError, RecipeError: a field is unknown, missing or wrong; the message begins with its place.
    """
    unknown = [key for key in values if key not in _TABLES]
    if unknown:
        raise BenchmarkError(f"{unknown[0]}: unknown table; known are {', '.join(_TABLES)}")
    sets = {key: build(SetConfig, value, f"sets.{key}") for key, value in _named(values, "sets").items()}
    assessors = {
        key: build(AssessorConfig, _with_tables(value, f"assessors.{key}", list(sets)), f"assessors.{key}")
        for key, value in _named(values, "assessors").items()
    }
    for key, assessor in assessors.items():
        for place, names in (("scores", assessor.scores or ()), ("trained_on", assessor.trained_on)):
            wrong = [one for one in names if one not in sets]
            if wrong:
                raise BenchmarkError(
                    f"assessors.{key}.{place}: there is no set {wrong[0]!r}; there are {', '.join(sets)}"
                )
    return Benchmark(
        sets=sets,
        assessors=assessors,
        run=build(RunConfig, values.get("run", {}), "run"),
        gmad=build(GmadConfig, values.get("gmad", {}), "gmad"),
        folder=folder,
        name=name,
    )


def _named(values: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The tables of one kind by name, at least one."""
    tables = values.get(kind, {})
    if not isinstance(tables, Mapping):
        raise BenchmarkError(f"{kind}: expected tables [{kind}.NAME], found {tables!r}")
    if not tables:
        raise BenchmarkError(f"{kind}: there are none; add a table [{kind}.NAME]")
    wrong = [name for name in tables if not _NAME.fullmatch(name)]
    if wrong:
        raise BenchmarkError(
            f"{kind}.{wrong[0]!r}: a name is of letters, digits, dots, dashes and underscores, 64 at most"
        )
    return tables


def _with_tables(value: Any, where: str, sets: list[str]) -> Any:
    """An assessor whose ready scores are of one file: that of the only set."""
    if not isinstance(value, Mapping) or not isinstance(value.get("scores"), str):
        return value
    if len(sets) > 1:
        raise BenchmarkError(
            f"{where}.scores: of which set? With several, name the table of each: "
            f'scores.{sets[0]} = "{value["scores"]}"'
        )
    return {**value, "scores": {sets[0]: value["scores"]}}
