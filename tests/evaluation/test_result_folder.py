from __future__ import annotations

from pathlib import Path

import pytest

from foveal.errors import OutputError
from foveal.evaluation.folder import refuse_existing, write_folder

FILES = {"a.md": "é\n", "b.csv": "x\n"}


@pytest.mark.parametrize("there", [False, True])
def test_a_new_or_empty_folder_is_filled(there: bool, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er"
    if there:
        folder.mkdir(parents=True)
    refuse_existing(folder)
    write_folder(folder, FILES)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "a.md": "é\n".encode(),
        "b.csv": b"x\n",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["er"]


def test_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder("out", FILES)
    assert (tmp_path / "out" / "b.csv").is_file()


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for place, message in ((tmp_path, "not empty"), (tmp_path / "mine", "is a file")):
        with pytest.raises(OutputError, match=message):
            refuse_existing(place)
        with pytest.raises(OutputError, match=message):
            write_folder(place, FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="out: cannot be written"):
        write_folder(tmp_path / "out", {**FILES, "no such folder/c.csv": "x"})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/out: cannot be"):
        write_folder(tmp_path / "file" / "out", FILES)
