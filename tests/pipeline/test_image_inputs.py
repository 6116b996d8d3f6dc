"""What the cluster is given: folders, patterns, lists and tables, here and behind URLs, in a fixed order."""

from __future__ import annotations

import json
import os
import pickle
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import ImageNotFoundError, SourceError, StorageError
from foveal.pipeline.addresses import is_url, parent, resolve, suffix
from foveal.pipeline.discover import discover
from foveal.pipeline.inputs import find_shards
from foveal.pipeline.partitions import Item, partitions

TREE = ["b.png", "a.jpg", "a/x.jpg", "a.d/y.webp", "notes.txt", ".hidden.jpg", ".git/z.jpg", "c/c/c.bmp"]


def items(*inputs: str, size: int = 3) -> list[Item]:
    """All images that inputs stand for; shards are sent to workers as pickles."""
    shards = pickle.loads(pickle.dumps(find_shards(inputs, size)))  # noqa: S301 - our own
    return [item for shard in shards for item in shard.items({})]


def names(*inputs: str) -> list[str]:
    return [name for name, _ in items(*inputs)]


def plant(folder: Path, tree: Iterable[str] = TREE) -> Path:
    for name in tree:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def plant_in_memory(tree: Iterable[str] = TREE) -> str:
    url = f"memory://{uuid.uuid4()}"
    for name in tree:
        with fsspec.open(f"{url}/{name}", "wb") as file:
            file.write(b"x")
    return url


@pytest.mark.parametrize(
    "given_as",
    ["photos", "./photos", "../here/photos", "photos/*.png", "./p*/**/x.jpg", "photos/a.jpg", "gone.jpg"],
)
def test_names_are_those_of_the_local_engine_wherever_workers_run(
    given_as: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    plant(here / "photos")
    monkeypatch.chdir(here)
    local = list(discover([given_as]))
    shards = find_shards([given_as], 3)
    monkeypatch.chdir(tmp_path)
    found = [name for shard in shards for name, _ in shard.items({})]
    assert found == local
    assert [Path(resolve(shards[0].base, name)).resolve() for name in found] == [
        (here / name).resolve() for name in local
    ]


def test_a_working_folder_whose_name_looks_like_a_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "odd [1]*"
    plant(here / "photos")
    monkeypatch.chdir(here)
    assert names("photos/*.png") == ["photos/b.png"]
    assert names("photos") == list(discover(["photos"]))


def test_absolute_paths_stay_absolute(tmp_path: Path) -> None:
    plant(tmp_path)
    assert names(str(tmp_path)) == list(discover([str(tmp_path)]))
    (shard,) = find_shards([str(tmp_path)], 3)
    assert shard.base == ""


SAFE = st.text("ab.-_", min_size=1, max_size=4).filter(lambda name: name.strip("."))
FILES = st.builds(lambda name, ending: name + ending, SAFE, st.sampled_from([".jpg", ".PNG", ".txt", ""]))


@settings(max_examples=30, deadline=None)
@given(paths=st.lists(st.tuples(st.lists(SAFE, max_size=2), FILES), min_size=1, max_size=12))
def test_a_url_is_listed_in_the_order_of_a_folder(
    tmp_path_factory: pytest.TempPathFactory, paths: list[tuple[list[str], str]]
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    planted = ["one.jpg"]
    for folders, file in paths:
        path = folder.joinpath(*folders, file)
        # A name is a file or a folder here; object stores know no such thing.
        if not path.exists() and not any(p.is_file() for p in [path, *path.parents]):
            planted.append("/".join([*folders, file]))
            plant(folder, planted[-1:])
    plant(folder, planted[:1])
    url = plant_in_memory(planted)
    local = [name.removeprefix(f"{folder}/") for name in discover([str(folder)])]
    assert [name.removeprefix(url.replace("memory://", "memory:///") + "/") for name in names(url)] == local


def test_patterns_and_single_images_behind_urls() -> None:
    url = plant_in_memory()
    assert [name.rsplit("/", 1)[1] for name in names(f"{url}/*.jpg")] == ["a.jpg"]
    assert names(f"{url}/b.png") == [f"{url}/b.png"]
    assert names(f"{url}/gone.jpg") == [f"{url}/gone.jpg"]


ROWS: list[tuple[str, str]] = [
    ("b.jpg", "a fox"),
    ("sub/a, b.jpg", ""),
    ("http://h/x?y=1", " in snow "),
    ("", "-"),
]


def write_csv(path: Path, heading: str) -> None:
    import csv

    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerows([["id", heading, "prompt"], *([n, *row] for n, row in enumerate(ROWS))])


def write_jsonl(path: Path, heading: str) -> None:
    lines = [json.dumps({"id": n, heading: image, "prompt": text}) for n, (image, text) in enumerate(ROWS)]
    path.write_text("\n\n".join(lines))


def write_parquet(path: Path, heading: str) -> None:
    images, prompts = ([row[place] or None for row in ROWS] for place in (0, 1))
    table = pa.table({"id": [[1]] * len(ROWS), heading: images, "prompt": prompts})
    pyarrow.parquet.write_table(table, path, row_group_size=1)


TABLES: dict[str, Callable[[Path, str], None]] = {
    "t.csv": write_csv,
    "t.tsv": write_csv,
    "t.jsonl": write_jsonl,
    "t.parquet": write_parquet,
    "T.CSV": write_csv,
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("heading", ["image", "path", "url"])
def test_tables_of_every_kind_give_the_same_images(
    name: str, heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TABLES[name](tmp_path / name, heading)
    monkeypatch.chdir(tmp_path)
    expected = [(image, prompt.strip()) for image, prompt in ROWS]
    url = f"memory://{uuid.uuid4()}/{name}"
    with fsspec.open(url, "wb") as file:
        file.write((tmp_path / name).read_bytes())
    for address in (name, str(tmp_path / name), f"file://{tmp_path}/{name}", url):
        shards = find_shards([address], 2)
        assert [item for shard in shards for item in shard.items({})] == expected
        assert all(shard.has_prompts for shard in shards)
        folder = url.rsplit("/", 1)[0] if address == url else str(tmp_path)
        assert {shard.base for shard in shards} == {folder}


def test_row_groups_are_joined_until_they_fill_a_partition(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    images = [f"{number}.jpg" for number in range(25)]
    pyarrow.parquet.write_table(pa.table({"image": images}), path, row_group_size=2)
    for size, shards in ((1, 13), (2, 13), (3, 7), (5, 5), (100, 1)):
        found = find_shards([str(path)], size)
        assert len(found) == shards
        pieces = [one for shard in found for one in partitions(shard.items({}), shard.base, size)]
        assert [name for one in pieces for name, _ in one.items] == images
        assert all(len(one.items) <= size for one in pieces)


def test_patterns_of_tables(tmp_path: Path) -> None:
    for name in ("2.csv", "1.csv"):
        (tmp_path / name).write_text(f"image\n{name}.jpg\n")
    assert names(str(tmp_path / "*.csv")) == ["1.csv.jpg", "2.csv.jpg"]
    with pytest.raises(SourceError, match="nothing matches"):
        find_shards([str(tmp_path / "*.tsv")], 3)


def test_lists(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa.jpg\r\n\n  b.jpg\ncaf\xe9.jpg\nhttp://h/c.jpg")
    assert names(str(path)) == ["a.jpg", "  b.jpg", os.fsdecode(b"caf\xe9.jpg"), "http://h/c.jpg"]


def test_several_inputs_follow_one_another(tmp_path: Path) -> None:
    plant(tmp_path / "photos", ["z.jpg"])
    (tmp_path / "list.txt").write_text("a.jpg\n")
    found = items(str(tmp_path / "photos"), str(tmp_path / "list.txt"))
    assert found == [(f"{tmp_path}/photos/z.jpg", None), ("a.jpg", None)]


BAD_TABLES: dict[str, tuple[bytes, str]] = {
    "column.csv": (
        b"file,prompt\na.jpg,x\n",
        "there is no column image, path or url; there are file, prompt",
    ),
    "empty.csv": (b"", "there are none"),
    "short.csv": (b"id,image\n1,a.jpg\n2\n", "line 3 has 1 cells, expected 2"),
    "quote.csv": (b'image\n"a.jpg\n', "line 2 is malformed"),
    "text.jsonl": (b'{"image": "a"}\nnonsense\n', "line 2 is malformed"),
    "number.jsonl": (b'{"image": "a"}\n{"image": 7}\n', "line 2 has '7' where text is expected"),
    "list.jsonl": (b"[1]\n", "line 1 is malformed"),
    "bytes.jsonl": (b"\xff\xfe\n", "line 1 is malformed"),
    "cut.parquet": (b"PAR1....PAR1", "cannot be read as Parquet"),
    "empty.parquet": (b"", "cannot be read as Parquet"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_malformed_tables_are_named_with_the_place(name: str, tmp_path: Path) -> None:
    content, said = BAD_TABLES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=rf"{name}: .*{said}"):
        items(str(tmp_path / name))


@pytest.mark.parametrize(
    "images",
    [[b"\xff\xd8"], [{"bytes": b"\xff\xd8", "path": "a.jpg"}], [1]],
    ids=["bytes", "images", "numbers"],
)
def test_columns_that_hold_no_addresses(images: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pa.table({"image": images}), path)
    with pytest.raises(SourceError, match=r"column 'image' holds .*expected text"):
        find_shards([str(path)], 3)


def test_dictionaries_and_large_strings_are_text(tmp_path: Path) -> None:
    for kind in (pa.dictionary(pa.int8(), pa.string()), pa.large_string(), pa.string_view()):
        pyarrow.parquet.write_table(pa.table({"image": pa.array(["a", "b"], kind)}), tmp_path / "t.parquet")
        assert names(str(tmp_path / "t.parquet")) == ["a", "b"]


@pytest.mark.parametrize("name", ["gone.csv", "gone.parquet", "gone.txt", "gone.jsonl"])
def test_missing_tables_are_told_at_once(name: str, tmp_path: Path) -> None:
    for address in (str(tmp_path / name), f"memory://{uuid.uuid4()}/{name}"):
        with pytest.raises(SourceError, match=f"{name}: there is no such file"):
            find_shards([address], 3)


def test_what_workers_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="standard input"):
        find_shards(["-"], 3)
    with pytest.raises(ImageNotFoundError, match="no images in this folder"):
        find_shards([str(tmp_path)], 3)
    with pytest.raises(ImageNotFoundError, match="no images match this pattern"):
        find_shards([f"{tmp_path}/*.jpg"], 3)
    with pytest.raises(StorageError, match="nonsense://bucket"):
        find_shards(["nonsense://bucket/photos"], 3)


@pytest.mark.parametrize(
    ("base", "name", "address"),
    [
        ("/data", "a.jpg", "/data/a.jpg"),
        ("/data", "/other/a.jpg", "/other/a.jpg"),
        ("/data", "s3://b/a.jpg", "s3://b/a.jpg"),
        ("/data", "file:///other/a.jpg", "/other/a.jpg"),
        ("", "/other/a.jpg", "/other/a.jpg"),
        ("s3://b/tables", "sub/a.jpg", "s3://b/tables/sub/a.jpg"),
        ("http://h/list/", "a b.jpg", "http://h/list/a b.jpg"),
    ],
)
def test_names_are_taken_from_their_folder(base: str, name: str, address: str) -> None:
    assert resolve(base, name) == address


def test_what_is_a_url_and_what_its_suffix_is() -> None:
    assert is_url("s3://b/x")
    assert is_url("http://h")
    for path in ("a.jpg", "/a/b", "C://x", "a/s3://b", "://x"):
        assert not is_url(path)
    assert suffix("http://h/a.CSV?version=1.2#x.y") == ".csv"
    assert suffix("s3://b/folder.d/name") == ""
    assert suffix("a/b?c.Jpg") == ".jpg"
    assert parent("s3://b/t/x.csv") == "s3://b/t"
    assert parent("x.csv") == ""
