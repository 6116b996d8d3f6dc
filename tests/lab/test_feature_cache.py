"""The cache of features: what is found again, what is computed anew, and files that go wrong."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from foveal.errors import CorruptImageError, EmptyImageError, ImageError, ImageNotFoundError
from foveal.imaging.decode import decode
from foveal.imaging.views import crop_view, fragment_view, whole_view
from foveal.lab.training import features as module
from foveal.lab.training.features import (
    FeatureCache,
    FeatureCacheError,
    Key,
    ViewKey,
    backbone_fingerprint,
    cache_folder,
    content_hash,
)

Pixels = NDArray[np.uint8]
MakePhoto = Callable[..., Pixels]
BOTH = [ViewKey("whole"), ViewKey("fragments")]


class Extractor:
    """Means and deviations of a view's colours, and a count of what it was shown."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self.calls: list[list[Pixels]] = []

    def __call__(self, views: list[Pixels]) -> NDArray[np.float32]:
        self.calls.append(views)
        return self.scale * np.stack([self.one(view) for view in views])

    @staticmethod
    def one(view: Pixels) -> NDArray[np.float32]:
        return np.concatenate([view.mean(axis=(0, 1)), view.std(axis=(0, 1))]).astype(np.float32)

    @property
    def seen(self) -> int:
        return sum(map(len, self.calls))


@pytest.fixture
def images(tmp_path: Path, make_photo: MakePhoto) -> list[Path]:
    """Three pictures of different shapes."""
    paths = [tmp_path / name for name in ("a.png", "b.jpg", "c.png")]
    for seed, path in enumerate(paths):
        Image.fromarray(make_photo(230 + 20 * seed, 260, seed)).save(path)
    return paths


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "caches" / "features.sqlite"


def key_of(number: int, view: ViewKey = BOTH[0]) -> Key:
    return number.to_bytes(20, "big"), view


def row_of(number: int, width: int = 64) -> NDArray[np.float32]:
    return np.random.default_rng(number).normal(size=width).astype(np.float32)


def test_computes_once_and_never_again(path: Path, images: list[Path]) -> None:
    first, second = Extractor(), Extractor()
    with FeatureCache(path, "x") as cache:
        computed = cache.features_of(images, BOTH, first)
    with FeatureCache(path, "x") as cache:
        read = cache.features_of(images, BOTH, second)
        assert len(cache) == 6
    assert (first.seen, second.seen) == (6, 0)
    assert computed.shape == (3, 2, 6)
    assert computed.dtype == np.float32
    np.testing.assert_array_equal(read, computed)


def test_features_are_those_of_the_views_that_the_assessor_sees(path: Path, images: list[Path]) -> None:
    with FeatureCache(path, "x") as cache:
        features = cache.features_of(images, BOTH, Extractor())
    for row, image in zip(features, images, strict=True):
        pixels = decode(image).pixels
        np.testing.assert_array_equal(row[0], Extractor.one(whole_view(pixels)))
        np.testing.assert_array_equal(row[1], Extractor.one(fragment_view(pixels)))


def test_images_are_known_by_their_bytes(path: Path, images: list[Path], make_photo: MakePhoto) -> None:
    with FeatureCache(path, "x") as cache:
        before = cache.features_of(images, BOTH, Extractor())
        renamed = images[0].rename(images[0].with_name("renamed.png"))
        Image.fromarray(make_photo(250, 260, 77)).save(images[1])
        extractor = Extractor()
        after = cache.features_of([renamed, *images[1:]], BOTH, extractor)
    assert extractor.seen == 2  # both views of the changed file, under its old name
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert not np.array_equal(after[1], before[1])
    np.testing.assert_array_equal(after[1, 0], Extractor.one(whole_view(decode(images[1]).pixels)))


def test_another_extractor_finds_nothing_and_disturbs_nothing(path: Path, images: list[Path]) -> None:
    with FeatureCache(path, "x") as cache, FeatureCache(path, "y") as other:
        first = cache.features_of(images, BOTH, Extractor())
        extractor = Extractor(scale=2)
        second = other.features_of(images, BOTH, extractor)
        assert extractor.seen == 6
        assert (len(cache), len(other)) == (6, 6)
        np.testing.assert_array_equal(second, 2 * first)
        np.testing.assert_array_equal(cache.features_of(images, BOTH, Extractor()), first)


def test_another_way_of_cutting_finds_nothing(
    path: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = Extractor()
    with FeatureCache(path, "x") as cache:
        cache.features_of(images, BOTH, extractor)
        monkeypatch.setattr(module, "_CUTTING", 2)
        cache.features_of(images, BOTH, extractor)
    assert extractor.seen == 12


def test_only_what_is_missing_is_decoded(
    path: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def watched(source: object) -> object:
        decoded.append(Path(source.name).name)  # type: ignore[attr-defined]
        return decode(source)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "decode", watched)
    draws = [ViewKey("fragments", draw=draw) for draw in range(3)]
    with FeatureCache(path, "x") as cache:
        cache.features_of(images[:1], BOTH, Extractor())
        extractor = Extractor()
        cache.features_of(images, BOTH, extractor)
        assert sorted(decoded) == ["a.png", "b.jpg", "c.png"]
        assert extractor.seen == 4
        cache.features_of(images, BOTH, extractor)
        assert len(decoded) == 3
        cache.features_of(images[:1], [BOTH[0], *draws], extractor)
        assert decoded[3:] == ["a.png"]  # once for two new draws
        assert extractor.seen == 6


def test_equal_files_and_views_are_computed_once(path: Path, images: list[Path]) -> None:
    copy = images[0].with_name("copy.png")
    copy.write_bytes(images[0].read_bytes())
    extractor = Extractor()
    with FeatureCache(path, "x") as cache:
        features = cache.features_of([images[0], copy, images[0]], [BOTH[0], BOTH[0]], extractor)
    assert extractor.seen == 1
    assert features.shape == (3, 2, 6)
    assert (features == features[0, 0]).all()


def test_batches_are_full_of_one_size_and_stored_one_by_one(path: Path, images: list[Path]) -> None:
    views = [*BOTH, ViewKey("whole", side=96), ViewKey("crop", side=96, draw=1)]
    told: list[tuple[int, int]] = []
    stored: list[int] = []
    extractor = Extractor()
    with FeatureCache(path, "x") as cache, FeatureCache(path, "x") as reader:

        def tell(done: int, total: int) -> None:
            told.append((done, total))
            stored.append(len(reader))

        features = cache.features_of(images, views, extractor, batch=4, progress=tell)
    assert sorted(map(len, extractor.calls)) == [2, 2, 4, 4]
    assert all(len({view.shape for view in views}) == 1 for views in extractor.calls)
    assert told[-1] == (12, 12)
    assert stored == [done for done, _ in told]
    for row, image in zip(features, images, strict=True):
        pixels = decode(image).pixels
        for column, view in enumerate(views):
            expected = Extractor.one(view.cut(pixels, whole_view(pixels)))
            np.testing.assert_array_equal(row[column], expected)


def test_goes_on_after_an_interruption(path: Path, images: list[Path]) -> None:
    extractor = Extractor()

    def interrupted(views: list[Pixels]) -> NDArray[np.float32]:
        if extractor.calls:
            raise KeyboardInterrupt
        return extractor(views)

    with FeatureCache(path, "x") as cache, pytest.raises(KeyboardInterrupt):
        cache.features_of(images, BOTH, interrupted, batch=2)
    with FeatureCache(path, "x") as cache:
        cache.features_of(images, BOTH, extractor, batch=2)
    assert extractor.seen == 6


def test_what_cannot_be_decoded_is_named(path: Path, images: list[Path], tmp_path: Path) -> None:
    empty, broken, absent = tmp_path / "empty.png", tmp_path / "broken.png", tmp_path / "absent.png"
    empty.touch()
    data = images[0].read_bytes()
    broken.write_bytes(data[:200] + bytes(100) + data[300:])
    with FeatureCache(path, "x") as cache:
        for wrong, kind in (
            (empty, EmptyImageError),
            (broken, CorruptImageError),
            (absent, ImageNotFoundError),
        ):
            with pytest.raises(ImageError, match=wrong.name) as caught:
                cache.features_of([*images, wrong], BOTH, Extractor())
            assert isinstance(caught.value, kind)
        assert cache.features_of(images, BOTH, Extractor()).shape == (3, 2, 6)


def test_a_file_that_changes_on_the_way_is_not_stored_under_its_old_bytes(
    path: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = content_hash(images[0])
    monkeypatch.setattr(module, "content_hash", lambda _: hashed)
    with FeatureCache(path, "x") as cache:
        with pytest.raises(FeatureCacheError, match=r"b\.jpg: changed while"):
            cache.features_of(images[1:2], BOTH, Extractor())
        assert len(cache) == 0


def test_asking_for_nothing_is_refused(path: Path, images: list[Path]) -> None:
    with FeatureCache(path, "x") as cache:
        for wrong in (([], BOTH, 32), (images, [], 32), (images, BOTH, 0)):
            with pytest.raises(ValueError, match="expected at least 1 each"):
                cache.features_of(wrong[0], wrong[1], Extractor(), batch=wrong[2])


arrays = st.builds(
    lambda shape, dtype, seed: np.random.default_rng(seed).normal(size=(3, *shape)).astype(dtype),
    st.lists(st.integers(1, 5), max_size=3),
    st.sampled_from(["float16", "float32"]),
    st.integers(0, 99),
)


@given(values=arrays)
@settings(max_examples=12, deadline=None)
def test_arrays_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, values: NDArray[np.generic]
) -> None:
    path = tmp_path_factory.mktemp("cache") / "c.sqlite"
    rows = {key_of(number): np.asfortranarray(value) for number, value in enumerate(values)}
    with FeatureCache(path, "x") as cache:
        cache.put(rows)
        cache.put({})
    with FeatureCache(path, "x") as cache:
        found = cache.get([*rows, key_of(9), key_of(0, BOTH[1])])
    assert found.keys() == rows.keys()
    for key, value in rows.items():
        assert found[key].dtype == value.dtype
        np.testing.assert_array_equal(found[key], value, strict=True)


def test_what_is_stored_first_stays(path: Path) -> None:
    with FeatureCache(path, "x") as cache:
        cache.put({key_of(1): row_of(1)})
        cache.put({key_of(1): row_of(2), key_of(2): row_of(2)})
        found = cache.get([key_of(1), key_of(2)])
    np.testing.assert_array_equal(found[key_of(1)], row_of(1))
    np.testing.assert_array_equal(found[key_of(2)], row_of(2))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones(63, np.float32), r"float32 \(63,\), but this extractor's in .*sqlite are float32 \(64,\)"),
        (np.ones((1, 64), np.float32), r"float32 \(1, 64\), but"),
        (np.ones(64, np.float16), r"float16 \(64,\), but"),
        (np.ones(64, ">f4"), "another fingerprint"),
        (np.full(64, np.nan, np.float32), "NaN or infinities"),
        (np.full(64, np.inf, np.float32), "NaN or infinities"),
    ],
)
def test_values_that_do_not_fit_are_refused_with_their_batch(
    path: Path, value: NDArray[np.generic], message: str
) -> None:
    with FeatureCache(path, "x") as cache:
        cache.put({key_of(1): row_of(1)})
        with pytest.raises(ValueError, match=message):
            cache.put({key_of(2): row_of(2), key_of(3): value})
        assert len(cache) == 1


@pytest.mark.parametrize("value", [np.ones(4), np.ones(4, np.int64), np.array(["a"])])
def test_other_types_are_refused_and_leave_the_extractor_free(path: Path, value: NDArray[np.generic]) -> None:
    with FeatureCache(path, "x") as cache:
        with pytest.raises(ValueError, match="expected float16 or float32"):
            cache.put({key_of(1): value})
        cache.put({key_of(1): row_of(1)})
        assert len(cache) == 1


def test_a_refused_batch_leaves_the_extractor_free(path: Path) -> None:
    with FeatureCache(path, "x") as cache:
        with pytest.raises(ValueError, match="another fingerprint"):
            cache.put({key_of(1): row_of(1), key_of(2): row_of(2, 65)})
        cache.put({key_of(2): row_of(2, 65)})  # of a shape that the first row would have ruled out
        assert len(cache) == 1


def test_an_extractor_must_answer_for_every_view(path: Path, images: list[Path]) -> None:
    with FeatureCache(path, "x") as cache:
        with pytest.raises(ValueError, match=r"features of shape \(1, 6\) for 6 views"):
            cache.features_of(images, BOTH, lambda views: Extractor()(views[:1]))
        assert len(cache) == 0


def test_draws_lie_where_content_and_number_put_them(make_photo: MakePhoto) -> None:
    pixels = make_photo(700, 900, 3)
    whole = whole_view(pixels)

    def cut(*arguments: object) -> Pixels:
        return ViewKey(*arguments).cut(pixels, whole)  # type: ignore[arg-type]

    np.testing.assert_array_equal(cut("fragments", 224), fragment_view(pixels))
    np.testing.assert_array_equal(cut("fragments", 96), fragment_view(pixels, grid=3))
    np.testing.assert_array_equal(cut("crop", 160), crop_view(pixels, side=160))
    np.testing.assert_array_equal(cut("whole", 96), whole_view(pixels, 96))
    for kind in ("fragments", "crop"):
        views = [cut(kind, 128, draw) for draw in range(4)]
        assert all(view.shape == (128, 128, 3) for view in views)
        assert len({view.tobytes() for view in views}) == 4
        np.testing.assert_array_equal(views[2], cut(kind, 128, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fovea",), "view kind is 'fovea', expected 'whole', 'fragments' or 'crop'"),
        (("crop", 0), "a side of 0 pixels"),
        (("fragments", 100), "multiple of 32"),
        (("whole", 224, 1), "whole view has no draw 1"),
        (("crop", 224, -1), "crop view has no draw -1"),
    ],
)
def test_views_that_cannot_be_cut_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViewKey(*arguments)  # type: ignore[arg-type]


def test_different_views_have_different_keys() -> None:
    views = [ViewKey(kind, side) for kind in ("whole", "fragments", "crop") for side in (32, 224)]
    views += [ViewKey(kind, 32, draw) for kind in ("fragments", "crop") for draw in (1, 11)]
    assert len(set(map(str, views))) == len(views)


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "overwritten":
        path.write_bytes(data[:4096] + bytes([170]) * (len(data) - 4096))
    elif how == "text":
        path.write_text("not a cache\n" * 100)
    else:
        path.write_bytes(data[:40])


@pytest.mark.parametrize("how", ["cut", "overwritten", "text", "stump"])
def test_a_damaged_file_says_what_to_do(path: Path, how: str) -> None:
    rows = {key_of(number): row_of(number, 900) for number in range(40)}
    with FeatureCache(path, "x") as cache:
        cache.put(rows)
    damage(path, how)

    def read() -> None:
        with FeatureCache(path, "x") as cache:
            cache.get(rows)

    with pytest.raises(FeatureCacheError, match=r"features\.sqlite: .*; delete it, and the -wal") as caught:
        read()
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
    path.unlink()
    with FeatureCache(path, "x") as cache:
        cache.put(rows)
        assert len(cache) == 40


def test_an_altered_value_is_not_handed_out(path: Path) -> None:
    with FeatureCache(path, "x") as cache:
        cache.put({key_of(1): row_of(1)})
    data = path.read_bytes()
    place = data.index(row_of(1).tobytes()[8:40])
    path.write_bytes(data[:place] + b"\0" + data[place + 1 :])
    with (
        FeatureCache(path, "x") as cache,
        pytest.raises(FeatureCacheError, match="has been altered; delete it"),
    ):
        cache.get([key_of(1)])


@pytest.mark.parametrize("own", [False, True], ids=["of another program", "of another version"])
def test_another_database_is_left_alone(path: Path, own: bool) -> None:
    if own:
        FeatureCache(path, "x").close()
    path.parent.mkdir(exist_ok=True)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99" if own else "CREATE TABLE letters (text)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(FeatureCacheError, match="not a cache of features of this version") as caught:
        FeatureCache(path, "x")
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_a_path_that_cannot_be_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FeatureCacheError, match="choose another path"):
        FeatureCache(tmp_path, "x")
    (tmp_path / "file").touch()
    with pytest.raises(FeatureCacheError, match="choose another path"):
        FeatureCache(tmp_path / "file" / "cache.sqlite", "x")


def test_a_full_disk_keeps_what_was_stored(path: Path) -> None:
    with FeatureCache(path, "x") as cache:
        cache.put({key_of(number): row_of(number, 900) for number in range(10)})
        pages = cache._connection.execute("PRAGMA page_count").fetchone()[0]
        cache._connection.execute(f"PRAGMA max_page_count = {pages + 10}")  # SQLite's own way to a full disk
        with pytest.raises(FeatureCacheError, match="full; free some space, or choose another path"):
            cache.put({key_of(number): row_of(number, 900) for number in range(10, 60)})
        assert len(cache) == 10
        cache._connection.execute("PRAGMA max_page_count = 100000")
        cache.put({key_of(11): row_of(11, 900)})
        np.testing.assert_array_equal(cache.get([key_of(11)])[key_of(11)], row_of(11, 900))


def test_a_writer_that_never_ends_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUSY_SECONDS", 0.05)
    with FeatureCache(path, "x") as cache, FeatureCache(path, "x") as other:
        cache._connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(FeatureCacheError, match="another process is writing for too long"):
            other.put({key_of(1): row_of(1)})
        assert other.get([key_of(1)]) == {}  # reading never waits


def test_a_mistaken_use_is_not_blamed_on_the_file(path: Path) -> None:
    cache = FeatureCache(path, "x")
    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            cache.get([key_of(1)])
        except sqlite3.ProgrammingError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    cache.close()
    assert "thread" in str(caught[0])
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        cache.get([key_of(1)])


WRITER = """
import sys
import numpy as np
from foveal.lab.training.features import FeatureCache, ViewKey

first, last = int(sys.argv[2]), int(sys.argv[3])
with FeatureCache(sys.argv[1], "x") as cache:
    for start in range(first, last, 8):
        cache.put({
            (number.to_bytes(20, "big"), ViewKey("whole")):
                np.random.default_rng(number).normal(size=64).astype(np.float32)
            for number in range(start, start + 8)
        })
        print(start, flush=True)
"""


def start_writer(path: Path, first: int, last: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_writer_leaves_whole_batches(path: Path) -> None:
    with start_writer(path, 0, 10**9) as writer:
        assert writer.stdout is not None
        for _ in range(5):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
    last = int(rest[-1]) if rest else last
    with FeatureCache(path, "x") as cache:
        count = len(cache)
        assert count in (last + 8, last + 16)  # killed before or after it could say so
        found = cache.get([key_of(number) for number in range(count + 8)])
        assert len(found) == count
        for number in range(count):
            np.testing.assert_array_equal(found[key_of(number)], row_of(number))
        cache.put({key_of(10**6): row_of(1)})
        assert cache._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_new_file_that_another_writes_to_is_waited_for(tmp_path: Path) -> None:
    """Two processes make a file at once: SQLite itself does not wait before it switches the log."""
    place = tmp_path / "new.sqlite"
    other = sqlite3.connect(place, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE passing (a)")
    leaves = Timer(0.2, other.close)
    leaves.start()
    with FeatureCache(place, "x") as cache:
        assert not leaves.is_alive() or leaves.finished.is_set()
        cache.put({key_of(1): row_of(1)})
    leaves.join()


def test_two_processes_write_at_once(path: Path) -> None:
    with start_writer(path, 0, 240) as one, start_writer(path, 120, 360) as other:
        for writer in (one, other):
            writer.communicate(timeout=60)
            assert writer.returncode == 0
    with FeatureCache(path, "x") as cache:
        assert len(cache) == 360
        for key, value in cache.get([key_of(number) for number in range(360)]).items():
            np.testing.assert_array_equal(value, row_of(int.from_bytes(key[0], "big")))


def test_the_cache_reads_without_torch() -> None:
    code = "import sys, foveal.lab.training.features; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "features"


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", ".cache/foveal/features"),
        ("darwin", "XDG_CACHE_HOME", "Library/Caches/foveal/features"),
        ("win32", "LOCALAPPDATA", "AppData/Local/foveal/features"),
    ],
)
def test_the_folder_is_the_platforms(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, variable: str, expected: str
) -> None:
    for name in ("FOVEAL_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / expected
    monkeypatch.setenv(variable, str(tmp_path / "other"))
    chosen = tmp_path / "other" / "foveal" / "features"
    assert cache_folder() == (tmp_path / expected if platform == "darwin" else chosen)


def make_backbone() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    network.register_buffer("mean", torch.ones(2, dtype=torch.bool), persistent=False)
    network.register_parameter("empty", nn.Parameter(torch.zeros(0)))
    return network


def test_equal_backbones_have_equal_fingerprints() -> None:
    wanted = backbone_fingerprint(make_backbone())
    assert len(wanted) == 40
    assert backbone_fingerprint(make_backbone().requires_grad_(False).eval()) == wanted
    turned = make_backbone()
    turned[0].weight.data = turned[0].weight.data.T.contiguous().T  # another layout of the same numbers
    assert backbone_fingerprint(turned) == wanted


def change_last_bit(network: nn.Module) -> None:
    network[0].weight.data[2, 3] = torch.nextafter(network[0].weight.data[2, 3], torch.tensor(9.0))


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "last bit of a weight": change_last_bit,
    "statistics": lambda network: network[1].running_mean.add_(1),
    "buffer that is not saved": lambda network: network.mean.logical_not_(),
    "type": lambda network: network.to(torch.bfloat16),
    "type of the same bytes": lambda network: setattr(network, "mean", network.mean.to(torch.uint8)),
    "shape": lambda network: setattr(
        network[0], "weight", nn.Parameter(network[0].weight.detach().view(4, 3))
    ),
    "name": lambda network: network.register_buffer("means", network._buffers.pop("mean")),
    "size of nothing": lambda network: setattr(network, "empty", nn.Parameter(torch.zeros(0, 2))),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_any_change_of_a_backbone_changes_its_fingerprint(change: Callable[[nn.Module], object]) -> None:
    network = make_backbone()
    change(network)
    assert backbone_fingerprint(network) != backbone_fingerprint(make_backbone())


def test_a_hash_is_of_the_bytes_alone(images: list[Path]) -> None:
    copy = images[0].with_name("other.name")
    copy.write_bytes(images[0].read_bytes())
    os.utime(copy, (0, 0))
    assert content_hash(copy) == content_hash(images[0]) == content_hash(str(images[0]))
    assert len({content_hash(image) for image in images}) == 3
