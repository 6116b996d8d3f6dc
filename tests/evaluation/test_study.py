"""All that is said of some assessors: text, Markdown and files."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foveal.evaluation.scores import Scores
from foveal.evaluation.study import evaluate
from foveal.ratings.table import DatasetCard, Ratings

N = 80
RNG = np.random.default_rng(0)
RATED = RNG.uniform(1, 5, N)
NOISE = RNG.normal(size=N)
RATINGS = Ratings(
    DatasetCard("mini", 1.0, 5.0, licence="CC0", citation="A. Author, 2020", note="Note_1"),
    tuple(Path(f"{index:02d}.jpg") for index in range(N)),
    {"quality": RATED},
    subsets=("a/b", "A b") * (N // 2),
)
QUALITY = RATED + 0.4 * NOISE
OURS = Scores("ours", QUALITY, QUALITY - 0.5, QUALITY + 0.5)
THEIRS = Scores("theirs", 100 - 20 * RATED + 10 * NOISE)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_one_assessor() -> None:
    study = evaluate(RATINGS, [OURS], title="mini: all 80 images", leave_out=["00.jpg"])
    files = study.files()
    assert set(files) == {
        "report.md", "report.csv", "scores.csv", "scatter.svg", "scatter-A-b.svg", "scatter-a-b-2.svg"
    }  # fmt: skip
    figures = rows(files["report.csv"])
    assert [row["part"] for row in figures] == ["all", "clean", "A b", "a/b"]
    report = study.assessed[0].report
    for row in figures:
        assert row["assessor"] == "ours"
        assert float(row["srcc"]) == report[row["part"]].srcc.value
        assert float(row["mean_width"]) == pytest.approx(1.0)
    inside = np.abs(QUALITY - RATED) <= 0.5
    assert float(figures[0]["coverage"]) == pytest.approx(inside.mean())
    assert [float(row["quality"]) for row in rows(files["scores.csv"])] == QUALITY.tolist()
    assert "80 images" in files["scatter.svg"]
    assert "40 images" in files["scatter-A-b.svg"]


def test_text_and_markdown_hold_all_tables() -> None:
    study = evaluate(RATINGS, [OURS, THEIRS], title="mini: all", splits=3, seed=5)
    text, files = study.to_text(), study.files()
    markdown = files["report.md"]
    for said in (text, markdown):
        for one in study.assessed:
            assert f"{one.report['all'].srcc.value:.3f}" in said
            assert one.splits is not None
            assert f"{one.splits.spread('krcc').median:.3f}" in said
        assert "Against ours" in said
        assert "wrong direction" in said
    assert study.assessed[1].report["all"].srcc.value < -0.8
    assert f"{study.assessed[1].report['all'].srcc.value:.3f}" in text
    assert max(map(len, text.splitlines())) <= 110
    assert "## theirs: each split" in markdown
    assert "CC0" in markdown
    assert "A. Author, 2020" in markdown
    assert "Note\\_1" in markdown
    assert "seed 5" in markdown
    for name in files:
        assert name.endswith(".svg") == (f"]({name})" in markdown)


def test_several_assessors_are_numbered_and_compared() -> None:
    study = evaluate(RATINGS, [OURS, THEIRS], title="mini: all", splits=2)
    files = study.files()
    assert {"1-scores.csv", "2-scores.csv", "1-scatter.svg", "2-scatter.svg"} <= set(files)
    assert "scores.csv" not in files
    assert study.versus is not None
    compared = rows(files["comparison.csv"])
    assert len(compared) == 2 * 3
    assert {(row["assessor"], row["against"]) for row in compared} == {("theirs", "ours")}
    assert float(compared[0]["difference"]) == study.versus.differences[0].comparison.difference < -1.5
    assert [(row["assessor"], row["coverage"] == "") for row in rows(files["report.csv"])][::3] == [
        ("ours", False),
        ("theirs", True),
    ]
    splits = rows(files["splits.csv"])
    assert [(row["assessor"], row["split"]) for row in splits] == [
        ("ours", "1"), ("ours", "2"), ("theirs", "1"), ("theirs", "2")
    ]  # fmt: skip
    assert all(row["n"] == "16" for row in splits)


def test_one_subset_is_drawn_once() -> None:
    files = evaluate(replace(RATINGS, subsets=("a",) * N), [OURS], title="x").files()
    assert [name for name in files if name.endswith(".svg")] == ["scatter.svg"]


def test_the_same_seed_gives_the_same_files() -> None:
    def files(seed: int) -> dict[str, str]:
        return evaluate(RATINGS, [OURS], title="x", splits=2, seed=seed).files()

    first = files(1)
    assert files(1) == first
    other = files(2)
    assert {name for name in first if other[name] != first[name]} == {"report.md", "report.csv", "splits.csv"}


def test_unfit_scores_name_their_assessor() -> None:
    flat = Scores("flat", np.full(N, 2.0))
    with pytest.raises(ValueError, match="flat: part 'all' of mini: predicted scores are all 2"):
        evaluate(RATINGS, [OURS, flat], title="x")
    nan = Scores("broken", np.where(np.arange(N) == 3, np.nan, RATED))
    with pytest.raises(ValueError, match="broken: predicted holds 1 NaN or infinite values, first at 3"):
        evaluate(RATINGS, [nan], title="x")
    with pytest.raises(ValueError, match="same label: ours, ours"):
        evaluate(RATINGS, [OURS, OURS], title="x")
    with pytest.raises(ValueError, match="no scores"):
        evaluate(RATINGS, [], title="x")
