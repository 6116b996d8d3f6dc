"""Scores of other tools: headings, direction, names at the end of longer paths, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from foveal.errors import FovealError
from foveal.evaluation.benchmark.config import AssessorConfig, SetConfig
from foveal.evaluation.benchmark.rated_sets import RatedSet, load_set
from foveal.evaluation.benchmark.score_tables import ScoreTables
from foveal.ratings.table import Ratings
from foveal.strict import build


@pytest.fixture
def made(make_set: Callable[..., Any]) -> Any:
    return make_set("one", 30)


def load(made: Any, **changes: object) -> RatedSet:
    config = build(SetConfig, made.table(**changes), "sets.one")
    return load_set("one", config, folder=made.folder.parent, target="quality", trains=False)


def look_up(made: Any, rated: RatedSet, images: Ratings | None = None, **config: Any) -> list[float]:
    entrant = ScoreTables(
        AssessorConfig(scores={"one": "s.csv"}, **config), made.folder.parent, target="quality"
    )
    told: list[tuple[str, int, int]] = []
    scores = entrant.judge(rated)(images or rated.ratings, lambda *step: told.append(step))
    return [float(score) for score in scores]


def test_scores_are_matched_by_name_in_any_order(made: Any, write_table: Callable[..., None]) -> None:
    rated = load(made)
    names = [f"some/where/{name}" for name in reversed(made.names)]
    write_table(made.folder.parent / "s.csv", {"source": names, "quality": range(30)})
    assert look_up(made, rated) == list(range(29, -1, -1))
    assert look_up(made, rated, rated.ratings.take([4, 2])) == [25, 27]


def test_headings_and_direction(made: Any, write_table: Callable[..., None]) -> None:
    rated = load(made)
    write_table(made.folder.parent / "s.csv", {"file": made.names, "p": range(30), "quality": [0] * 30})
    options: dict[str, Any] = {"image": "file", "column": "p"}
    assert look_up(made, rated, **options) == list(range(30))
    assert look_up(made, rated, lower_is_better=True, **options) == [-score for score in range(30)]


def test_what_the_scores_depend_on(made: Any, write_table: Callable[..., None]) -> None:
    rated, path = load(made), made.folder.parent / "s.csv"
    write_table(path, {"image": made.names, "quality": range(30)})

    def identity(**config: Any) -> Any:
        scores = {"one": "s.csv"}
        return ScoreTables(AssessorConfig(scores=scores, **config), path.parent, "quality").identity(rated)

    first = identity()
    assert first == identity()
    assert identity(lower_is_better=True) != first
    assert identity(column="other") != first
    path.write_text(path.read_text(encoding="utf-8").replace("29", "30"), encoding="utf-8")
    assert identity() != first
    other = ScoreTables(AssessorConfig(scores={"two": "s.csv"}), path.parent, "quality")
    assert other.identity(rated) is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"image": ["x.png"], "quality": [1]},
            r"1 image \(x.png\) not among those of one; take these rows out",
        ),
        (
            {"image": ["00.png", "a/00.png"], "quality": [1, 2]},
            r"1 image \(00.png\) with more than one score",
        ),
        ({"image": ["00.png"], "quality": [1]}, r"29 test images \(01.png, .* without a score"),
        ({"image": ["00.png"], "mos": [1]}, "there is no column 'quality'"),
        ({"name": ["00.png"], "quality": [1]}, "there is no column 'image'"),
        ({"image": ["00.png"], "quality": ["good"]}, "row 2, quality: 'good' is not a number"),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    made: Any, write_table: Callable[..., None], columns: dict[str, list[object]], message: str
) -> None:
    write_table(made.folder.parent / "s.csv", columns)
    with pytest.raises(FovealError, match=rf"s.csv: .*{message}|s.csv: {message}"):
        look_up(made, load(made))


@pytest.mark.parametrize("score", ["", "nan", "inf"])
def test_scores_that_are_none_are_refused(made: Any, write_table: Callable[..., None], score: str) -> None:
    write_table(made.folder.parent / "s.csv", {"image": made.names, "quality": [score, *range(29)]})
    rated = load(made)
    with pytest.raises(FovealError, match=r"1 test image \(00.png\) whose score is empty or infinite"):
        look_up(made, rated)
    assert look_up(made, rated, rated.ratings.take([3])) == [2]  # nobody asks for the other


def test_rows_of_dropped_images_are_passed_over(made: Any, write_table: Callable[..., None]) -> None:
    (made.folder / "05.png").unlink()
    rated = load(made, missing="drop", test=0.3)
    write_table(made.folder.parent / "s.csv", {"image": made.names, "quality": range(30)})
    assert look_up(made, rated) == [score for score in range(30) if score != 5]
