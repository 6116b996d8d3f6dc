from __future__ import annotations

from pathlib import Path

import pytest

from foveal.errors import RatingsError
from foveal.evaluation.leave_out import read_leave_out

NEIGHBOURS = (
    "test_image,nearest_training_image,similarity\na.jpg,x.jpg,0.95\nb.jpg,y.jpg,0.9\nc.jpg,z.jpg,0.91\n"
)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "\ufeffa.jpg\n\n  c.jpg \r\n"),
        ("list", "a.jpg\nc.jpg"),
        ("list.csv", "image,why\na.jpg,copy\nc.jpg,copy\n"),
        ("list.csv", "source\na.jpg\nc.jpg\n"),
        ("test-neighbours.csv", NEIGHBOURS),
    ],
)
def test_all_kinds_of_lists_are_read(name: str, text: str, tmp_path: Path) -> None:
    assert read_leave_out(written(tmp_path, name, text)) == ("a.jpg", "c.jpg")


def test_the_similarity_is_a_choice(tmp_path: Path) -> None:
    path = written(tmp_path, "n.csv", NEIGHBOURS)
    assert read_leave_out(path, near_above=0.5) == ("a.jpg", "b.jpg", "c.jpg")
    assert read_leave_out(path, near_above=0.92) == ("a.jpg",)
    with pytest.raises(RatingsError, match="names no image"):
        read_leave_out(path, near_above=0.99)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.txt", "a.jpg\na.jpg\n", r"1 name \(a.jpg\) more than once"),
        ("l.txt", "\n\n", "names no image; do without it"),
        (
            "l.csv",
            "a.jpg\nb.jpg\n",
            "no column 'image' or 'source'; there are a.jpg. A list without headings",
        ),
    ],
)
def test_unfit_lists_are_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RatingsError, match=message):
        read_leave_out(written(tmp_path, name, text))


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RatingsError, match=r"gone.txt: there is no such file"):
        read_leave_out(tmp_path / "gone.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(RatingsError, match=r"bytes.txt: cannot be read"):
        read_leave_out(tmp_path / "bytes.txt")
    with pytest.raises(RatingsError, match="cannot be read"):
        read_leave_out(tmp_path)
