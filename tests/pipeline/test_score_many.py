"""Scoring many images into a table, with an assessor that only counts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from foveal.assessment import Assessment, Failure, Interval
from foveal.errors import NotAnImageError, OutputError
from foveal.pipeline.rows import error_text, to_row
from foveal.pipeline.run import score_many
from foveal.pipeline.sinks import open_sink


class Counting:
    """Gives each path a score by its length, fails for texts, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def stream(
        self,
        images: Iterable[Any],
        *,
        workers: int | None = None,
        on_error: Literal["raise", "yield"] = "raise",
    ) -> Iterator[Assessment | Failure]:
        assert on_error == "yield"
        for image in images:
            self.asked.append(image)
            if image.endswith(".txt"):
                yield Failure(image, NotAnImageError(image, "not an image"))
            else:
                quality = 1 + len(image) / 7
                yield Assessment(quality, Interval(1.0, 5.0, 0.9), "m@1", image)


def test_every_image_is_scored_once_in_order() -> None:
    assessor = Counting()
    results = list(score_many(assessor, ["b.jpg", "a.txt", "./b.jpg", "a.jpg", "b.jpg"]))
    assert [result.source for result in results] == ["b.jpg", "a.txt", "a.jpg"]
    assert assessor.asked == ["b.jpg", "a.txt", "a.jpg"]


def test_sources_are_taken_as_results_are_wanted() -> None:
    endless = (f"{number}.jpg" for number in itertools.count())
    results = score_many(Counting(), endless)
    assert [result.source for result in itertools.islice(results, 3)] == ["0.jpg", "1.jpg", "2.jpg"]


def test_a_row_is_in_the_table_before_the_result_is_given(tmp_path: Path) -> None:
    with open_sink(tmp_path / "x.csv", model="m@1") as sink:
        for count, result in enumerate(score_many(Counting(), ["a.jpg", "b.txt", "c.jpg"], sink), 1):
            rows = list(sink.rows())
            assert len(rows) == count
            assert rows[-1] == to_row(result, "m@1")


def test_images_with_a_row_are_passed_over_also_if_it_holds_an_error(tmp_path: Path) -> None:
    paths = ["a.jpg", "b.txt", "c.jpg", "d.jpg"]
    with open_sink(tmp_path / "x.csv", model="m@1") as sink:
        list(score_many(Counting(), paths[:2], sink))
    assessor = Counting()
    with open_sink(tmp_path / "x.csv", model="m@1", resume=True) as sink:
        list(score_many(assessor, paths, sink))
        assert [row.source for row in sink.rows()] == paths
    assert assessor.asked == ["c.jpg", "d.jpg"]


def test_the_first_row_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "x.csv", model="m@1")
    with sink:
        pass
    with pytest.raises((OutputError, ValueError)):
        list(score_many(Counting(), ["a.jpg"], sink))


def test_rows_of_failures_say_why_without_repeating_the_name() -> None:
    error = NotAnImageError("a.txt", "not an image", "choose another")
    row = to_row(Failure("a.txt", error), "m@1")
    assert (row.source, row.quality, row.low, row.high, row.model) == ("a.txt", None, None, None, "m@1")
    assert row.error == "not an image; choose another"
    assert error_text(RuntimeError("odd")) == "odd"
    assert error_text(RuntimeError()) == "RuntimeError"
    assert len(error_text(RuntimeError("x" * 10**6))) <= 1000
