"""Whole benchmarks: what is computed when, what is stored, and what nobody gets to see."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from foveal.errors import OutputError
from foveal.evaluation.benchmark.config import BenchmarkError, benchmark_from
from foveal.evaluation.benchmark.entrants import Entrant, Judge, Progress, Ready, Trainable
from foveal.evaluation.benchmark.outcome import Outcome
from foveal.evaluation.benchmark.plan import Cell, LineKey
from foveal.evaluation.benchmark.prepared import prepare
from foveal.evaluation.benchmark.rated_sets import RatedSet
from foveal.evaluation.benchmark.run import run
from foveal.evaluation.benchmark.telling import Telling
from foveal.evaluation.benchmark.work import compute
from foveal.pipeline.files import WriterLock
from foveal.ratings.table import Ratings

Floats = NDArray[np.float64]


def brightness(images: Ratings) -> Floats:
    """A score of an image alone: the sum of its file's bytes."""
    return np.array([sum(path.read_bytes()) for path in images.images], np.float64)


@dataclass
class Scorer(Ready):
    """Scores by the files' bytes, and remembers what it was asked."""

    version: int = 1
    asked: list[str] = field(default_factory=list)
    training_data: str = ""
    fails_after: int = 10**9
    score: Callable[[Ratings], Floats] = brightness

    def identity(self, rated: RatedSet) -> Mapping[str, object]:
        return {"version": self.version}

    def judge(self, rated: RatedSet) -> Judge:
        def judge(images: Ratings, progress: Progress) -> Floats:
            if len(self.asked) >= self.fails_after:
                raise KeyboardInterrupt
            self.asked += images.names
            progress("scoring", len(images), len(images))
            return self.score(images)

        return judge


@dataclass
class Trainer(Trainable):
    """'Learns' the mean rating and the number of images; remembers what it was given."""

    version: int = 1
    learnt: list[Ratings] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    training_data: str = ""
    error: Exception | None = None

    def identity(self) -> Mapping[str, object]:
        return {"version": self.version}

    def train(self, learnt: Ratings, folder: Path, progress: Progress) -> Judge:
        if self.error is not None:
            raise self.error
        self.learnt.append(learnt)
        self.folders.append(folder)

        def judge(images: Ratings, progress: Progress) -> Floats:
            self.asked += images.names
            return brightness(images) % (1000 + len(self.learnt))

        return judge


@dataclass
class Bench:
    """A benchmark's tables in a folder, run with made-up assessors."""

    folder: Path
    sets: dict[str, Any]
    run: dict[str, Any] = field(default_factory=lambda: {"resamples": 100, "out": "out"})
    assessors: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def __call__(self, only: tuple[str, ...] = (), **entrants: Entrant) -> tuple[Outcome, dict[Cell, str]]:
        prepared = prepare(self.benchmark(*entrants), only=only, entrants=entrants)
        return run(prepared, Telling(said=self.said.append))

    def compute(self, only: tuple[str, ...] = (), **entrants: Entrant) -> Mapping[str, RatedSet]:
        """Compute scores without a report."""
        prepared = prepare(self.benchmark(*entrants), only=only, entrants=entrants)
        prepared.store.claim()
        assert compute(prepared) == {}
        return prepared.sets

    def benchmark(self, *names: str) -> Any:
        assessors = {name: self.assessors.get(name, {"model": "foveal-compact"}) for name in names}
        values = {"sets": self.sets, "assessors": assessors, "run": self.run, "gmad": {"share": 0.5}}
        return benchmark_from(values, self.folder)

    def rows(self, **wanted: str) -> list[dict[str, str]]:
        with (self.folder / "out" / "results.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [row for row in rows if all(row[key] == value for key, value in wanted.items())]

    def cells(self) -> list[Path]:
        return sorted((self.folder / "out" / "cells").rglob("*.json"))


@pytest.fixture
def bench(make_set: Callable[..., Any], tmp_path: Path) -> Bench:
    one, two = make_set("one", 30), make_set("two", 36, seed=1)
    return Bench(tmp_path, {"one": one.table(splits=3), "two": two.table(split="official")})


def test_figures_are_those_of_each_test_part(bench: Bench) -> None:
    scorer = Scorer()
    outcome, failed = bench(a=scorer)
    assert failed == {}
    rated = outcome.sets["one"]
    expected = []
    for split in range(3):
        test = rated.ratings.take(rated.rows(split, "test"))
        expected.append(stats.spearmanr(brightness(test), test.quality()).statistic)
    splits = bench.rows(row="split", set="one", figure="srcc")
    assert [float(row["value"]) for row in splits] == pytest.approx(expected)
    assert [(row["split"], row["n"], row["trained_split"]) for row in splits] == [
        (str(number), "6", "") for number in (1, 2, 3)
    ]
    (mean,) = bench.rows(row="mean", set="one", figure="srcc")
    assert float(mean["value"]) == pytest.approx(np.mean(expected))
    assert float(mean["std"]) == pytest.approx(np.std(expected, ddof=1))
    assert float(mean["low"]) <= float(mean["value"]) <= float(mean["high"])
    (single,) = bench.rows(row="mean", set="two", figure="srcc")
    assert single["std"] == ""
    # Each image is scored once, however many test parts it is in, and none beside the test parts.
    assert (
        len(scorer.asked)
        == len({*rated.rows(0, "test"), *rated.rows(1, "test"), *rated.rows(2, "test")}) + 12
    )


def test_a_second_call_computes_nothing(bench: Bench) -> None:
    bench(a=Scorer())
    report = (bench.folder / "out" / "report.html").read_text(encoding="utf-8")
    files = {path: path.stat().st_mtime_ns for path in bench.cells()}
    again = Scorer()
    bench(a=again)
    assert again.asked == []
    assert {path: path.stat().st_mtime_ns for path in bench.cells()} == files
    assert (bench.folder / "out" / "report.html").read_text(encoding="utf-8") == report


def test_an_interrupted_run_goes_on_where_it_was(bench: Bench) -> None:
    whole = Scorer()
    bench(a=whole)
    expected = bench.rows()
    asked = list(whole.asked)
    (bench.folder / "out").rename(bench.folder / "whole")
    done: list[str] = []
    for after in (1, 7, 13):  # within the second, the third and the last cell
        interrupted = Scorer(fails_after=after - len(done))
        with pytest.raises(KeyboardInterrupt):
            bench(a=interrupted)
        assert len(interrupted.asked) > 0
        done += interrupted.asked
        # Nothing is scored twice, and nothing left out.
        assert done == asked[: len(done)]
        assert len(bench.cells()) == (1, 2, 3)[(1, 7, 13).index(after)]
    last = Scorer()
    bench(a=last)
    assert done + last.asked == asked
    assert bench.rows() == expected


def test_what_changes_is_computed_again_and_nothing_else(bench: Bench) -> None:
    def asked(**changes: Any) -> dict[str, int]:
        scorers = {"a": Scorer(version=changes.get("a", 1)), "b": Scorer(version=9)}
        bench.compute(a=scorers["a"], b=scorers["b"])
        return {name: len(scorer.asked) for name, scorer in scorers.items()}

    everything = asked()
    assert everything["a"] == everything["b"] > 20
    assert asked(a=2) == {"a": everything["a"], "b": 0}
    assert asked(a=1) == {"a": 0, "b": 0}  # as before: its cells are still there
    bench.run = {**bench.run, "resamples": 200, "coverage": 0.5, "seed": 3}
    assert asked() == {"a": 0, "b": 0}
    # Another split: only images that were in no test part before are scored.
    bench.sets["one"]["seed"] = 100
    again = asked()
    assert 0 < again["a"] == again["b"] < 15
    # Scores do not depend on ratings; a changed picture changes its own score.
    path = bench.folder / "two" / "ratings.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[1] = "00.png,1.5,scene 0,test"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert asked() == {"a": 0, "b": 0}
    (bench.folder / "two" / "00.png").write_bytes((bench.folder / "one" / "03.png").read_bytes()[:-12])
    assert asked() == {"a": 1, "b": 1}


def test_a_damaged_cell_is_computed_again(bench: Bench) -> None:
    bench.compute(a=Scorer())
    bench.cells()[0].write_text("{", encoding="utf-8")
    again = Scorer()
    bench.compute(a=again)
    assert 0 < len(again.asked) <= 12
    assert all(json.loads(path.read_text(encoding="utf-8")) for path in bench.cells())


def test_cells_say_what_they_are(bench: Bench) -> None:
    bench.compute(t=Trainer())
    about = [json.loads(path.read_text(encoding="utf-8"))["about"] for path in bench.cells()]
    assert {(a["assessor"], a["trained_on"], a["set"], a["trained_split"], a["split"]) for a in about} >= {
        ("t", "one", "one", 0, 0),
        ("t", "one", "two", 2, 0),
        ("t", "two", "one", 0, 2),
    }
    assert all(a["depends_on"]["version"] == 1 and a["names"] for a in about)


def test_who_scores_does_not_see_the_ratings(bench: Bench) -> None:
    def cheat(images: Ratings) -> Floats:
        assert set(images.targets) == {"quality"}
        return images.quality()

    outcome, failed = bench(a=Scorer(score=cheat))
    assert failed == {}
    for line in outcome.lines:
        assert np.isnan(line.draws.values).all()  # they are all the same: a constant has no correlation


def test_who_is_trained_does_not_see_test_images(bench: Bench) -> None:
    trainer = Trainer()
    sets = bench.compute(t=trainer)
    learnt = [(name, split) for name, rated in sets.items() for split in range(len(rated.splits))]
    assert len(trainer.learnt) == len(set(trainer.folders)) == len(learnt) == 4
    for ratings, (name, split) in zip(trainer.learnt, learnt, strict=True):
        rated = sets[name]
        contents = dict(zip(rated.ratings.names, rated.contents, strict=True))
        test = rated.splits[split].parts["test"]
        assert set(ratings.split) == {"train", "validation"}
        assert not {contents[n] for n in ratings.names} & {contents[n] for n in test}
        assert not set(ratings.groups) & {rated.ratings.groups[row] for row in rated.rows(split, "test")}


def test_what_was_trained_on_one_set_is_tested_on_the_others(bench: Bench) -> None:
    trainer = Trainer()
    outcome, _ = bench(t=trainer, a=Scorer())
    lines = {line.key: line for line in outcome.lines}
    # Three models of one, each on its own test part; on two's only part; two's model on the three of one.
    for key, splits in (
        (LineKey("t", "one", "one"), [(0, 0), (1, 1), (2, 2)]),
        (LineKey("t", "one", "two"), [(0, 0), (0, 1), (0, 2)]),
        (LineKey("t", "two", "one"), [(0, 0), (1, 0), (2, 0)]),
        (LineKey("t", "two", "two"), [(0, 0)]),
    ):
        assert [(cell.split, cell.source_split) for cell in lines[key].cells] == splits
    assert len(bench.rows(row="mean", figure="srcc", assessor="t")) == 4
    # Only what was trained on the set itself is compared with the others there.
    assert {(row["set"], row["assessor"], row["against"]) for row in bench.rows(row="difference")} == {
        ("one", "t", "a"),
        ("two", "t", "a"),
    }
    bench.run = {**bench.run, "cross": False}
    outcome, _ = bench(t=trainer)
    assert {line.key.source for line in outcome.lines if line.key.tested == "one"} == {"one"}
    assert len(trainer.learnt) == 4  # nothing was trained again


def test_training_goes_on_without_what_is_stored(bench: Bench) -> None:
    trainer = Trainer()
    bench.compute(("t/one",), t=trainer)
    assert len(trainer.learnt) == 4  # three on one, and two's for its cross-set cells
    bench.compute(t=trainer)
    # The models are needed again for the cells that were left, and find their folders.
    assert trainer.folders[4:] == trainer.folders[:4]
    assert len(bench.cells()) == 10


def test_training_depends_on_ratings_and_splits(bench: Bench) -> None:
    trainer = Trainer()
    bench.compute(t=trainer)
    assert len(trainer.learnt) == 4
    path = bench.folder / "two" / "ratings.csv"
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    lines[3] = "02.png,50,scene 1,train"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    bench.compute(t=trainer)
    assert len(trainer.learnt) == 5  # that of two
    # Of a test image only the figures depend.
    lines = text.splitlines()
    lines[1] = "00.png,50,scene 0,test"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    bench.compute(t=trainer)
    assert len(trainer.learnt) == 5
    bench.sets["one"]["splits"] = 4
    bench.compute(t=trainer)
    assert len(trainer.learnt) == 7  # the fourth of one, and that of two for the fourth test part


def test_sets_that_share_images_are_not_tested_on_each_other(bench: Bench) -> None:
    (bench.folder / "two" / "05.png").write_bytes((bench.folder / "one" / "07.png").read_bytes())
    outcome, _ = bench(t=Trainer(), a=Scorer())
    assert outcome.plan.refused == {
        LineKey("t", "one", "two"): "1 image is both in one and in two",
        LineKey("t", "two", "one"): "1 image is both in two and in one",
    }
    assert {(line.key.source, line.key.tested) for line in outcome.lines if line.key.assessor == "t"} == {
        ("one", "one"),
        ("two", "two"),
    }
    assert [row["note"] for row in bench.rows(row="absent", set="two")] == [
        "1 image is both in one and in two"
    ]
    report = (bench.folder / "out" / "report.md").read_text(encoding="utf-8")
    matrix = report.split("SRCC on all test images")[1].split("PLCC on all")[0]
    assert matrix.count("shared images") == 2


def test_only_what_is_asked_for_is_computed_and_all_that_is_there_reported(bench: Bench) -> None:
    a, b = Scorer(), Scorer(version=2)
    bench(("a/one",), a=a, b=b)
    assert (len(b.asked), {row["set"] for row in bench.rows(row="mean")}) == (0, {"one"})
    notes = {(row["assessor"], row["set"]): row["note"] for row in bench.rows(row="absent")}
    assert notes == {
        ("a", "two"): "not computed yet: 0 of 1 cells are there",
        ("b", "one"): "not computed yet: 0 of 3 cells are there",
        ("b", "two"): "not computed yet: 0 of 1 cells are there",
    }
    bench(("*/two", "b"), a=a, b=b)
    assert bench.rows(row="absent") == []
    with pytest.raises(BenchmarkError, match=r"c/one: fits nothing to compute; there is a/one, a/two, b/one"):
        bench(("c/one",), a=a, b=b)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda images: np.full(len(images), np.nan), "a gives scores of shape .* not finite"),
        (lambda images: np.zeros(1), r"a gives scores of shape \(1,\) for 6 images"),
    ],
)
def test_a_failure_stops_nothing_else(bench: Bench, score: Any, message: str) -> None:
    outcome, failed = bench(a=Scorer(score=score), b=Scorer(version=2))
    assert len(failed) == 4
    assert {cell.line.assessor for cell in failed} == {"a"}
    assert {line.key.assessor for line in outcome.lines} == {"b"}
    assert re.search(message, bench.rows(row="absent", assessor="a", set="one")[0]["note"])


def test_a_failed_training_fails_its_cells_and_is_tried_again(bench: Bench) -> None:
    trainer = Trainer(error=ValueError("24 images do not fill a batch"))
    _, failed = bench(t=trainer, a=Scorer())
    assert len(failed) == 10
    assert set(failed.values()) == {"24 images do not fill a batch"}
    assert any(line.endswith("t on one: failed: 24 images do not fill a batch") for line in bench.said)
    trainer.error = None
    _, failed = bench(t=trainer, a=Scorer())
    assert failed == {}


def test_faults_of_the_program_are_not_hidden(bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError):
        bench(t=Trainer(error=ZeroDivisionError()))


def test_what_has_been_seen_is_marked(bench: Bench) -> None:
    bench.assessors["b"] = {"model": "foveal-compact", "trained_on": ["two"]}
    outcome, _ = bench(a=Scorer(training_data="One, and other sets"), b=Scorer(version=2))
    assert outcome.leaks("a", "one")
    assert not outcome.leaks("b", "two")  # the official test part may be fair
    assert not outcome.leaks("a", "two")
    assert outcome.warnings() == [
        "a, marked †: has seen images of one (by its card): those of seeded test parts may be among them"
    ]
    assert {row["note"] for row in bench.rows(row="mean", assessor="a", set="one")} == {
        "has seen images of one (by its card): those of seeded test parts may be among them"
    }
    assert {row["note"] for row in bench.rows(row="mean", assessor="b")} == {""}
    assert outcome.claims["b", "two"].text.startswith("has seen images of two (as stated): fair only if")
    assert outcome.unstated == ()
    assert bench(c=Scorer())[0].unstated == ("c",)


def test_what_has_been_seen_through_another_set_is_marked(bench: Bench) -> None:
    (bench.folder / "two" / "05.png").write_bytes((bench.folder / "one" / "07.png").read_bytes())
    bench.assessors["a"] = {"model": "foveal-compact", "trained_on": ["two"]}
    outcome, _ = bench(a=Scorer())
    assert outcome.claims["a", "one"].text == "has seen two (as stated), which shares 1 image with one"
    assert outcome.leaks("a", "one")


def test_a_card_that_names_a_set_is_not_held_against_its_official_split(bench: Bench) -> None:
    # The same images under another name and split.
    bench.sets["drawn"] = {**bench.sets["two"], "split": "seeded", "splits": 2}
    claims = bench(a=Scorer(training_data="two; drawn"))[0].claims
    assert (claims["a", "two"].leaks, claims["a", "drawn"].leaks) == (False, True)
    bench.assessors["a"] = {"model": "foveal-compact", "trained_on": ["drawn"]}
    claims = bench(a=Scorer(training_data="two"))[0].claims
    assert claims["a", "two"].leaks
    assert "has seen drawn (as stated), which shares 36 images with two" in claims["a", "two"].text


def test_a_set_without_a_training_part_is_only_tested_on(bench: Bench) -> None:
    path = bench.folder / "two" / "ratings.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",train", ","), encoding="utf-8")
    outcome, failed = bench(t=Trainer(), a=Scorer())
    assert failed == {}
    assert outcome.absent == {LineKey("t", "two", "two"): "two has no training part"}
    assert LineKey("t", "one", "two") in {line.key for line in outcome.lines}


def test_the_clean_part_is_reported_beside_all(bench: Bench) -> None:
    path = bench.folder / "two" / "near.txt"
    path.write_text("00.png\n06.png\n", encoding="utf-8")
    bench.sets["two"]["leave_out"] = "two/near.txt"
    outcome, _ = bench(a=Scorer(), b=Scorer(version=2))
    assert {row["part"] for row in bench.rows(row="mean", set="one")} == {"all"}
    (clean,) = bench.rows(row="split", set="two", part="clean", figure="plcc", assessor="a")
    rated = outcome.sets["two"]
    rows = [int(row) for row in rated.rows(0, "test") if rated.ratings.names[row] not in ("00.png", "06.png")]
    test = rated.ratings.take(rows)
    assert int(clean["n"]) == len(rows) == 10
    assert float(clean["value"]) == pytest.approx(stats.pearsonr(brightness(test), test.quality()).statistic)
    assert {row["part"] for row in bench.rows(row="difference", set="two")} == {"all", "clean"}


def test_two_runs_at_once_are_refused(bench: Bench) -> None:
    bench(a=Scorer())
    lock = WriterLock(bench.folder / "out" / "benchmark")
    try:
        with pytest.raises(OutputError, match="another process is writing it"):
            bench(a=Scorer())
    finally:
        lock.release()
    bench(a=Scorer())


def test_a_folder_must_be_named(bench: Bench, tmp_path: Path) -> None:
    bench.run = {"resamples": 100}
    with pytest.raises(BenchmarkError, match=r"run.out: name a folder for the results, here or with --out"):
        bench(a=Scorer())
    prepared = prepare(bench.benchmark("a"), out=tmp_path / "mine", entrants={"a": Scorer()})
    assert not (tmp_path / "mine").exists()
    assert len(prepared.missing()) == 4
    run(prepared)
    assert prepared.missing() == ()
    assert (tmp_path / "mine" / "report.html").is_file()
