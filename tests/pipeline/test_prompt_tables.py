"""Tables of prompts: which row belongs to which image, and what happens to images without one."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.assessment import Assessment, Failure, Interval
from foveal.errors import FovealError, MissingPromptError, PromptError, RatingsError
from foveal.pipeline.prompts import PromptTable
from foveal.pipeline.run import score_many
from foveal.pipeline.sinks import open_sink

Rows = list[tuple[str, str]]


def write_csv(path: Path, rows: Rows, separator: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows([("image", "prompt"), *rows])


def write_jsonl(path: Path, rows: Rows) -> None:
    lines = [json.dumps({"image": image, "prompt": prompt}) for image, prompt in rows]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_parquet(path: Path, rows: Rows) -> None:
    images, prompts = zip(*rows, strict=True)
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "prompt": prompts}), path)


def write_xlsx(path: Path, rows: Rows) -> None:
    book = openpyxl.Workbook()
    for row in [("image", "prompt"), *rows]:
        book.active.append(row)
    book.save(path)


WRITERS: dict[str, Callable[[Path, Rows], None]] = {
    ".csv": write_csv,
    ".tsv": lambda path, rows: write_csv(path, rows, "\t"),
    ".jsonl": write_jsonl,
    ".parquet": write_parquet,
    ".xlsx": write_xlsx,
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with ``photos/a.png``, ``photos/b.png`` and ``photos/inner/a.png``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    for name in ("a.png", "b.png", "inner/a.png"):
        (tmp_path / "photos" / name).touch()
    return tmp_path


def table(path: Path, rows: Rows) -> PromptTable:
    write_csv(path, rows)
    return PromptTable(path)


@pytest.mark.parametrize("suffix", WRITERS)
def test_all_formats_say_the_same(here: Path, suffix: str) -> None:
    path = here / f"p{suffix}"
    WRITERS[suffix](
        path, [("photos/a.png", 'a "red" fox,\nin snow'), ("photos/b.png", ""), ("c.png", "Füchse")]
    )
    found = PromptTable(path).find(["photos/a.png", "./photos/b.png"])
    assert found.get("photos/a.png") == 'a "red" fox,\nin snow'
    assert found.get(str(here / "photos" / "b.png")) == ""
    assert found.get("c.png") is None
    assert (found.images, found.unused) == (3, 1)


@pytest.mark.parametrize(
    ("place", "image"),
    [
        ("p.csv", "photos/b.png"),  # from the table's folder
        ("photos/p.csv", "b.png"),
        ("photos/inner/p.csv", "../b.png"),
        ("elsewhere/p.csv", "photos/b.png"),  # the end of the image's path
        ("elsewhere/p.csv", "b.png"),
        ("elsewhere/p.csv", "./b.png"),
    ],
)
def test_how_a_row_may_name_its_image(here: Path, place: str, image: str) -> None:
    (here / "elsewhere").mkdir()
    found = table(here / place, [(image, "yes")]).find(["photos/a.png", "photos/b.png"])
    assert found.get("photos/b.png") == "yes"
    assert found.get("photos/a.png") is None


def test_absolute_paths_are_meant_as_they_are(here: Path) -> None:
    prompts = table(here / "p.csv", [(str(here / "photos" / "b.png"), "yes"), ("/gone/a.png", "no")])
    found = prompts.find(["photos/a.png", "photos/b.png"])
    assert (found.get("photos/b.png"), found.get("photos/a.png"), found.unused) == ("yes", None, 1)


def test_only_whole_names_count(here: Path) -> None:
    prompts = table(here / "p.csv", [("xb.png", "1"), ("s/b.png", "2"), ("B.png", "3"), ("b", "4")])
    assert prompts.find(["photos/b.png"]).get("photos/b.png") is None


def test_the_longer_path_is_the_better_name(here: Path) -> None:
    (here / "elsewhere").mkdir()
    prompts = table(here / "elsewhere" / "p.csv", [("a.png", "outer"), ("inner/a.png", "inner")])
    found = prompts.find(["photos/a.png", "photos/inner/a.png"])
    assert found.get("photos/a.png") == "outer"
    assert found.get("photos/inner/a.png") == "inner"


def test_a_row_of_a_file_beside_the_table_is_of_no_other(here: Path) -> None:
    prompts = table(here / "photos" / "p.csv", [("a.png", "outer")])
    found = prompts.find(["photos/inner/a.png"])
    assert found.get("photos/inner/a.png") is None
    assert found.unused == 1
    assert prompts.find(["photos/inner/a.png", "photos/a.png"]).get("photos/a.png") == "outer"


def test_ambiguous_names_are_refused(here: Path) -> None:
    (here / "elsewhere").mkdir()
    path = here / "elsewhere" / "p.csv"
    with pytest.raises(
        PromptError, match=r"p\.csv: row 3, 'a\.png', could be any of 2 images \(photos/a\.png, "
    ):
        table(path, [("b.png", "1"), ("a.png", "2")]).find(["photos/a.png", "photos/inner/a.png"])
    # The same image twice, spelled differently, is one image.
    found = PromptTable(path).find(["photos/a.png", "./photos/a.png", "photos/b.png"])
    assert found.unused == 0


def test_different_prompts_for_one_image_are_refused(here: Path) -> None:
    with pytest.raises(PromptError, match=r"rows 2 and 4 have different prompts for '\./a\.png'; keep one"):
        table(here / "p.csv", [("a.png", "1"), ("b.png", "1"), ("./a.png", "2")])
    assert table(here / "p.csv", [("a.png", "1"), ("./a.png", "1")]).find([]).images == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("", "no rows"),
        ("image,prompt\n", "no rows"),
        ("image,text\na.png,x\n", "there is no column 'prompt'; there are image, text"),
        ("file,prompt\na.png,x\n", "there is no column 'image'"),
        ("image,prompt\na.png,x\n,y\n", "row 3 has no image"),
        ("image,prompt\na.png,x,y\n", "row 2 has more cells"),
    ],
)
def test_malformed_tables_are_named(here: Path, content: str | None, message: str) -> None:
    path = here / "p.csv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(FovealError, match=rf"p\.csv: .*{message}") as caught:
        PromptTable(path)
    assert isinstance(caught.value, RatingsError | PromptError)


class Recording:
    """Gives each path its prompt's length as a score, taking a few images ahead of its results."""

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.asked: list[tuple[str, str | None]] = []

    def stream(
        self,
        images: Iterable[str],
        *,
        prompts: Iterable[str | None] | str | None = None,
        workers: int | None = None,
        on_error: Literal["raise", "yield"] = "raise",
    ) -> Iterator[Assessment | Failure]:
        assert on_error == "yield"
        assert prompts is not None
        assert not isinstance(prompts, str)
        waiting: list[Assessment] = []
        for image, prompt in zip(images, prompts, strict=True):
            self.asked.append((image, prompt))
            waiting.append(Assessment(1 + len(prompt or "") / 9, Interval(1.0, 5.0, 0.9), "m@1", image))
            while len(waiting) > self.ahead:
                yield waiting.pop(0)
        yield from waiting


@settings(deadline=None)
@given(known=st.lists(st.booleans(), max_size=12), ahead=st.integers(0, 5))
def test_images_without_a_row_are_failures_in_their_place(
    tmp_path_factory: pytest.TempPathFactory, known: list[bool], ahead: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "p.csv"
    names = [f"{number}.png" for number in range(len(known))]
    rows = [(name, f"prompt {name}") for name, is_known in zip(names, known, strict=True) if is_known]
    prompts = table(path, [*rows, ("other.png", "x")]).find(names)
    assessor = Recording(ahead)
    results = list(score_many(assessor, iter(names), prompts=prompts))
    assert [result.source for result in results] == names
    assert [isinstance(result, Assessment) for result in results] == known
    assert assessor.asked == rows
    for result in results:
        if isinstance(result, Failure):
            assert isinstance(result.error, MissingPromptError)
            assert str(result.error).startswith(f"{result.source}: no prompt: {path} has no row")


def test_rows_of_images_without_a_prompt_are_written_in_order(here: Path) -> None:
    prompts = table(here / "p.csv", [("photos/b.png", "x")]).find(["photos/a.png", "photos/b.png"])
    with open_sink(here / "x.csv", model="m@1") as sink:
        list(score_many(Recording(3), ["photos/a.png", "photos/b.png"], sink, prompts=prompts))
        assert [row.source for row in sink.rows()] == ["photos/a.png", "photos/b.png"]
        first, second = sink.rows()
    assert (
        first.error
        == f"no prompt: {here / 'p.csv'} has no row for this image; add one; its prompt may be empty"
    )
    assert second.error is None
