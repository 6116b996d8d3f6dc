"""Which images a list of paths stands for."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from foveal.errors import ImageNotFoundError
from foveal.pipeline.discover import discover, identity, image_suffixes, unique


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with images, other files and hidden ones."""
    names = ["z.jpg", "a.PNG", "notes.txt", ".hidden.jpg", ".cache/x.jpg", "sub/b.webp", "sub/deep/c.heic"]
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*paths: str, stdin: bytes = b"") -> list[str]:
    return [path.replace(os.sep, "/") for path in discover(paths, stdin=io.BytesIO(stdin))]


@pytest.mark.parametrize("folder", ["photos", "photos/", "./photos"])
def test_a_folder_gives_its_images_sorted_to_any_depth_without_hidden_ones(tree: Path, folder: str) -> None:
    wanted = ["a.PNG", "sub/b.webp", "sub/deep/c.heic", "z.jpg"]
    assert [os.path.relpath(path, "photos") for path in found(folder)] == wanted


def test_the_current_folder_can_be_searched(tree: Path) -> None:
    assert len(found(".")) == 4


def test_named_files_are_taken_whatever_they_are_and_even_if_missing(tree: Path) -> None:
    paths = ["photos/notes.txt", "photos/.hidden.jpg", "gone.jpg"]
    assert found(*paths) == paths


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("photos/*", ["a.PNG", "sub/b.webp", "sub/deep/c.heic", "z.jpg"]),
        ("photos/*.jpg", ["z.jpg"]),
        ("photos/?.[jP]*", ["a.PNG", "z.jpg"]),
        ("photos/**/*.heic", ["sub/deep/c.heic"]),
        ("*/sub/**", ["sub/b.webp", "sub/deep/c.heic"]),
        ("photos/.*.jpg", [".hidden.jpg"]),
        ("**/deep/*", ["sub/deep/c.heic"]),
    ],
)
def test_patterns(tree: Path, pattern: str, wanted: list[str]) -> None:
    assert found(pattern) == [f"photos/{name}" for name in wanted]
    absolute = found(str(tree / pattern))
    assert absolute == [(tree / "photos" / name).as_posix() for name in wanted]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tree: Path) -> None:
    (tree / "shot[1].jpg").touch()
    (tree / "shot1.jpg").touch()
    assert found("shot[1].jpg") == ["shot[1].jpg"]


def test_standard_input_gives_one_file_a_line(tree: Path) -> None:
    listed = b"photos/z.jpg\r\n\nwith space.png\nlast without line end.jpg"
    wanted = ["first.jpg", "photos/z.jpg", "with space.png", "last without line end.jpg"]
    assert found("first.jpg", "-", stdin=listed) == wanted


def test_standard_input_is_read_as_it_comes() -> None:
    end_read, end_write = os.pipe()
    with os.fdopen(end_read, "rb", 0) as stream, os.fdopen(end_write, "wb", 0) as writer:
        images = discover(["-"], stdin=stream)
        for name in ("a.jpg", "b.jpg"):  # the pipe stays open: reading on would wait for ever
            writer.write(f"{name}\n".encode())
            assert next(images) == name


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"a.jpg\0b.jpg\0", "not a list"),
        (b"\x89PNG" * 20_000, "not a list"),
    ],
)
def test_a_stream_that_is_no_list_is_refused(stream: bytes, reason: str) -> None:
    with pytest.raises(ImageNotFoundError, match=f"standard input: .*{reason}"):
        found("-", stdin=stream)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_names_that_are_not_utf8_survive(tree: Path) -> None:
    name = os.fsdecode(b"photos/caf\xe9.jpg")
    Path(name).touch()
    assert name in found("photos")
    assert found("-", stdin=b"photos/caf\xe9.jpg\n") == [name]


@pytest.mark.parametrize("empty", ["bare", "bare/*.jpg", "nothing/**/*.png"])
def test_a_folder_or_pattern_without_images_is_refused_before_anything_else(tree: Path, empty: str) -> None:
    (tree / "bare").mkdir()
    (tree / "bare" / "notes.txt").touch()
    with pytest.raises(ImageNotFoundError) as caught:
        discover(["photos", empty])
    assert empty in str(caught.value)
    assert "no images" in str(caught.value)


def test_links_that_form_a_loop_end(tree: Path) -> None:
    (tree / "photos" / "sub" / "up").symlink_to(tree / "photos", target_is_directory=True)
    (tree / "photos" / "self").symlink_to("self")
    assert len(found("photos")) == 4
    # Here the pattern itself reaches the files by two ways, but not by endless ones.
    assert len(set(found("photos/**/*.jpg"))) == 1


def test_links_to_other_folders_are_followed(tree: Path, tmp_path: Path) -> None:
    (tree / "album").mkdir()
    (tree / "album" / "photos").symlink_to(tree / "photos", target_is_directory=True)
    assert "album/photos/sub/b.webp" in found("album")


def test_a_folder_that_cannot_be_read_is_given_itself(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(folder: str) -> Iterator[os.DirEntry[str]]:
        if Path(folder).name == "deep":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert found("photos") == ["photos/a.PNG", "photos/sub/b.webp", "photos/sub/deep", "photos/z.jpg"]


def test_unique_knows_a_file_under_every_spelling(tree: Path) -> None:
    paths = ["photos/z.jpg", "./photos/z.jpg", "photos/sub/../z.jpg", str(tree / "photos/z.jpg"), "other.jpg"]
    assert list(unique(paths)) == ["photos/z.jpg", "other.jpg"]
    assert len({identity(path) for path in paths}) == 2


def test_suffixes_are_those_that_pillow_can_open_and_heic() -> None:
    suffixes = image_suffixes()
    assert {".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".bmp", ".gif"} <= suffixes
    # Vector files, video, and what Pillow only writes.
    assert not suffixes & {".pdf", ".eps", ".ps", ".mpg", ".h5", ".wmf", ".txt"}
    assert all(suffix in Image.registered_extensions() for suffix in suffixes - {".heic", ".heif"})
