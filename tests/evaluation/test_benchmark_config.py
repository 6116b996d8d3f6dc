"""The file of a benchmark: every field read, every wrong one refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foveal.evaluation.benchmark.config import (
    BenchmarkError,
    GmadConfig,
    RunConfig,
    benchmark_from,
    read_benchmark,
)
from foveal.strict import RecipeError

FILE = """
[run]
out = "results"
target = "authenticity"
resamples = 500
coverage = 0.9
seed = 7
cross = false

[gmad]
levels = 2

[sets.koniq]
path = "koniq/scores.csv"
low = 1
high = 5
split = "official"
columns = { image = "file", scores = { authenticity = "auth" }, split = "set" }
leave_out = "near.txt"

[sets.biq]
path = "BIQ2021"
dataset = "biq2021"
split = "seeded"
splits = 3
seed = 4
test = 0.3
validation = 0.2

[assessors.compact]
model = "foveal-compact"

[assessors.theirs]
scores.koniq = "theirs.csv"
image = "file"
column = "p"
lower_is_better = true
trained_on = ["biq"]

[assessors.mine]
recipe = "mine.toml"

[assessors.old]
trained = "runs/old/model"
backbone = "vit"
"""

SET: dict[str, Any] = {"path": "r.csv", "low": 0, "high": 1, "split": "seeded"}
MODEL = {"model": "foveal-compact"}


def test_every_field_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FILE, encoding="utf-8")
    benchmark = read_benchmark(path)
    assert (benchmark.folder, benchmark.name) == (tmp_path, "mine")
    assert benchmark.run == RunConfig("results", "authenticity", 500, 0.9, 7, False)
    assert benchmark.gmad == GmadConfig(levels=2)
    koniq, biq = benchmark.sets["koniq"], benchmark.sets["biq"]
    assert (koniq.low, koniq.high, koniq.split, koniq.leave_out) == (1.0, 5.0, "official", "near.txt")
    assert koniq.columns is not None
    assert (koniq.columns.image, dict(koniq.columns.scores)) == ("file", {"authenticity": "auth"})
    assert (biq.dataset, biq.splits, biq.seed, biq.test, biq.validation) == ("biq2021", 3, 4, 0.3, 0.2)
    assert list(benchmark.assessors) == ["compact", "theirs", "mine", "old"]
    theirs = benchmark.assessors["theirs"]
    assert (theirs.scores, theirs.image, theirs.column) == ({"koniq": "theirs.csv"}, "file", "p")
    assert theirs.lower_is_better
    assert theirs.trained_on == ("biq",)
    assert benchmark.assessors["old"].backbone == "vit"


def test_scores_of_the_only_set_need_not_name_it() -> None:
    values = {"sets": {"one": SET}, "assessors": {"x": {"scores": "x.csv"}}}
    assert benchmark_from(values).assessors["x"].scores == {"one": "x.csv"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"set": {}}, "set: unknown table; known are sets, assessors, run, gmad"),
        ({"sets": {}}, r"sets: there are none; add a table \[sets.NAME\]"),
        ({"assessors": {}}, r"assessors: there are none; add a table \[assessors.NAME\]"),
        ({"sets": 3}, r"sets: expected tables \[sets.NAME\], found 3"),
        ({"sets": {"a/b": SET}}, "sets.'a/b': a name is of letters, digits"),
        ({"sets": {"one": {**SET, "seeds": 1}}}, "sets.one.seeds: unknown field; did you mean 'seed'?"),
        ({"sets": {"one": {"path": "r.csv", "low": 0, "high": 1}}}, "sets.one.split: missing"),
        ({"sets": {"one": {**SET, "split": "random"}}}, "sets.one.split: 'random' is not one of 'official'"),
        ({"sets": {"one": {"path": "r.csv", "split": "seeded"}}}, "sets.one: state low and high"),
        (
            {"sets": {"one": {**SET, "dataset": "biq2021"}}},
            "sets.one: scale and columns of biq2021 are known",
        ),
        ({"sets": {"one": {**SET, "splits": 0}}}, "sets.one: splits is 0, expected 1 or more"),
        ({"sets": {"one": {**SET, "test": 1.0}}}, "sets.one: test is 1.0, expected above 0 and below 1"),
        ({"sets": {"one": {**SET, "columns": {"mos": "x"}}}}, "sets.one.columns.mos: unknown field"),
        ({"assessors": {"x": {}}}, "assessors.x: an assessor has one of model, .*; there is none"),
        (
            {"assessors": {"x": {"model": "a", "recipe": "b"}}},
            "assessors.x: .* there is model and recipe",
        ),
        ({"assessors": {"x": {**MODEL, "backbone": "vit"}}}, "assessors.x: backbone is only for .* trained"),
        ({"assessors": {"x": {**MODEL, "column": "p"}}}, "assessors.x: column is only for .* scores"),
        (
            {"assessors": {"x": {"scores": {"two": "x.csv"}}}},
            "assessors.x.scores: there is no set 'two'; there are one",
        ),
        (
            {"assessors": {"x": {**MODEL, "trained_on": ["two"]}}},
            "assessors.x.trained_on: there is no set 'two'",
        ),
        (
            {"sets": {"one": SET, "two": SET}, "assessors": {"x": {"scores": "x.csv"}}},
            'assessors.x.scores: of which set.* scores.one = "x.csv"',
        ),
        ({"run": {"resamples": 10}}, "run: resamples is 10, expected 100 or more"),
        ({"run": {"coverage": 95}}, "run: coverage is 95.0, expected above 0 and below 1"),
        ({"run": {"target": 3}}, "run.target: expected text, found 3"),
        ({"run": {"seed": -1}}, "run: seed is -1"),
        ({"gmad": {"levels": -1}}, "gmad: levels is -1"),
        ({"gmad": {"share": 0.0}}, "gmad: share is 0.0"),
        ({"gmad": {"side": 0}}, "gmad: side is 0"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(change: dict[str, Any], message: str) -> None:
    values = {"sets": {"one": SET}, "assessors": {"x": MODEL}, **change}
    with pytest.raises((BenchmarkError, RecipeError), match=f"^{message}"):
        benchmark_from(values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sets", "cannot be read as TOML"),
        (
            FILE.replace("resamples = 500", "resample = 500"),
            "run.resample: unknown field; did you mean 'resamples'",
        ),
        (
            FILE.replace('scores.koniq = "theirs.csv"', "scores.koniq = 3"),
            "assessors.theirs.scores.koniq: expected",
        ),
    ],
)
def test_errors_of_a_file_begin_with_its_path(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "b.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BenchmarkError, match=f"b.toml: {message}"):
        read_benchmark(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"gone.toml: there is no such file"):
        read_benchmark(tmp_path / "gone.toml")
