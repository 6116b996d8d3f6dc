"""Which images of two folders belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.errors import ImageNotFoundError
from foveal.report.pairing import pair_folders, pair_with_itself


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    return str(tmp_path / "old"), str(tmp_path / "new")


def fill(folder: str, *names: str) -> None:
    for name in names:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_images_meet_by_name_and_by_name_without_suffix(folders: tuple[str, str]) -> None:
    old, new = folders
    fill(old, "a.png", "deep/b.JPG", "same.jpg", "v1.2.png", "gone.png")
    fill(new, "a.jpg", "deep/b.webp", "same.jpg", "v1.2.jpg", "deep/gone.png")
    found = pair_folders(old, new)
    assert [pair.name for pair in found.pairs] == ["a", "deep/b", "same.jpg", "v1.2"]
    by_name = {pair.name: (Path(pair.old).name, Path(pair.new).name) for pair in found.pairs}
    assert by_name["deep/b"] == ("b.JPG", "b.webp")
    assert by_name["v1.2"] == ("v1.2.png", "v1.2.jpg")
    assert [Path(path).name for path in found.only_old] == ["gone.png"]
    assert [Path(path).parent.name for path in found.only_new] == ["deep"]


def test_equal_names_go_first_and_what_would_be_a_guess_stays_alone(folders: tuple[str, str]) -> None:
    old, new = folders
    fill(old, "x.png", "x.jpg", "y.png", "y.jpg", "z.png")
    fill(new, "x.png", "x.webp", "y.webp", "z.jpg", "z.webp")
    found = pair_folders(old, new)
    # x.png meets x.png, which leaves x.jpg and x.webp for each other; y and z have two choices.
    assert [(pair.name, Path(pair.old).name, Path(pair.new).name) for pair in found.pairs] == [
        ("x", "x.jpg", "x.webp"),
        ("x.png", "x.png", "x.png"),
    ]
    assert [Path(path).name for path in found.only_old] == ["y.jpg", "y.png", "z.png"]
    assert [Path(path).name for path in found.only_new] == ["y.webp", "z.jpg", "z.webp"]


def test_an_empty_folder_is_an_error(folders: tuple[str, str]) -> None:
    fill(folders[0], "a.png")
    Path(folders[1]).mkdir()
    with pytest.raises(ImageNotFoundError, match="no images in this folder"):
        pair_folders(*folders)


def test_models_judge_the_same_files() -> None:
    (pair,) = pair_with_itself(["a.jpg"]).pairs
    assert (pair.name, pair.old, pair.new) == ("a.jpg", "a.jpg", "a.jpg")
