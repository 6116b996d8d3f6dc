"""Scores made elsewhere: how their rows find the rated images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import foveal
from foveal.artifact.file import write_artifact
from foveal.errors import RatingsError
from foveal.evaluation.scores import Scores, judge, read_scores, scores_table
from foveal.ratings.table import DatasetCard, Ratings
from prompt_models import make_artifact


def table(*names: str, images: tuple[str, ...] = ()) -> Ratings:
    paths = tuple(Path("data") / name for name in images or names)
    return Ratings(
        DatasetCard("mini", 1.0, 5.0), paths, {"quality": np.linspace(1, 5, len(names))}, names=names
    )


def written(folder: Path, text: str, name: str = "scores.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_come_in_the_order_of_the_ratings(tmp_path: Path) -> None:
    path = written(tmp_path, "image,quality\nc.jpg,3\na.jpg,1.5\nb.jpg,-2\n")
    scores = read_scores(path, table("a.jpg", "b.jpg", "c.jpg"))
    assert scores.quality.tolist() == [1.5, -2.0, 3.0]
    assert scores.interval is None
    assert scores.label == str(path)


def test_the_end_of_a_path_is_enough_and_the_longest_end_counts(tmp_path: Path) -> None:
    path = written(tmp_path, "source,quality\n/x/one/a.jpg,1\n./two/a.jpg,2\nshots/b.jpg,3\na.jpg,4\n")
    scores = read_scores(path, table("a.jpg", "one/a.jpg", "two/a.jpg", "b.jpg"))
    assert scores.quality.tolist() == [4.0, 1.0, 2.0, 3.0]


def test_a_file_may_differ_from_its_table_in_case(tmp_path: Path) -> None:
    path = written(tmp_path, "source,quality\nImages/ss02 (4).JPG,2\nImages/ss02 (5).jpg,3\n")
    ratings = table("ss02 (4).jpg", "ss02 (5).jpg", images=("ss02 (4).JPG", "ss02 (5).jpg"))
    assert read_scores(path, ratings).quality.tolist() == [2.0, 3.0]


def test_intervals_are_read_where_both_ends_are_there(tmp_path: Path) -> None:
    both = written(tmp_path, "image,quality,low,high\na.jpg,2,1,3\nb.jpg,3,2.5,5\n")
    low, high = read_scores(both, table("a.jpg", "b.jpg")).interval or pytest.fail("no intervals")
    assert (low.tolist(), high.tolist()) == ([1.0, 2.5], [3.0, 5.0])
    one = written(tmp_path, "image,quality,low\na.jpg,2,1\nb.jpg,3,2.5\n")
    assert read_scores(one, table("a.jpg", "b.jpg")).interval is None


def test_a_part_may_be_read_from_the_scores_of_the_whole(tmp_path: Path) -> None:
    whole = table("a.jpg", "b.jpg", "c.jpg")
    path = written(tmp_path, "image,quality\na.jpg,1\nb.jpg,nan\nc.jpg,3\n")
    assert read_scores(path, whole.take([2, 0]), known=whole).quality.tolist() == [3.0, 1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,quality\na.jpg,1\n", r"scores.csv: 1 rated image \(b.jpg\) without a score"),
        ("image,quality\na.jpg,1\nb.jpg,2\nx/a.jpg,3\n", r"1 image \(a.jpg\) with more than one score"),
        ("image,quality\na.jpg,1\nb.jpg,2\nc.jpg,3\n", r"1 image \(c.jpg\) not among those of mini"),
        ("image,quality\na.jpg,1\nb.jpg,NaN\n", r"1 image \(b.jpg\) whose quality is empty, NaN or infinite"),
        ("image,quality\na.jpg,\nb.jpg,inf\n", r"2 images \(a.jpg, b.jpg\) whose quality"),
        ("image,quality,low,high\na.jpg,1,1,1\nb.jpg,2,,2\n", r"1 image \(b.jpg\) whose low is empty"),
        ("image,quality\na.jpg,good\nb.jpg,2\n", "quality: 'good' is not a number"),
        ("name,quality\na.jpg,1\nb.jpg,2\n", "no column 'image'; there are name, quality"),
        ("image,score\na.jpg,1\nb.jpg,2\n", "no column 'quality'; there are image, score"),
    ],
)
def test_what_does_not_fit_is_said(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(RatingsError, match=message) as caught:
        read_scores(path, table("a.jpg", "b.jpg"))
    assert str(path) in str(caught.value)


def test_what_is_written_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    ratings = table("a, b.jpg", 'c".jpg', "é.jpg")
    rng = np.random.default_rng(0)
    quality, low, high = rng.uniform(1, 5, (3, 3))
    path = written(tmp_path, scores_table(Scores("x", quality, low, high), ratings).to_csv())
    again = read_scores(path, ratings)
    assert again.interval is not None
    for before, after in zip((quality, low, high), (again.quality, *again.interval), strict=True):
        np.testing.assert_array_equal(before, after)
    assert scores_table(Scores("x", quality), ratings).headings == ("image", "quality", "rated")


def test_an_assessor_that_reads_prompts_is_given_those_of_the_ratings(tmp_path: Path) -> None:
    images = tuple(tmp_path / f"{name}.png" for name in "ab")
    for image in images:
        Image.new("RGB", (40, 40), "grey").save(image)
    model = tmp_path / "prompted.foveal.safetensors"
    write_artifact(model, make_artifact())
    rated = Ratings(
        DatasetCard("mine", 1, 5), images, {"quality": np.array([2.0, 3.0])}, prompts=("red fox", "castle")
    )
    assert len(judge(foveal.load(model), rated).quality) == 2
    with pytest.raises(RatingsError, match="reads prompts, and the ratings have none; name their column"):
        judge(foveal.load(model), replace(rated, prompts=None))
