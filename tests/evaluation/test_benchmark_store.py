"""Results on disk: found by all that they depend on, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.errors import OutputError
from foveal.evaluation.benchmark.config import BenchmarkError
from foveal.evaluation.benchmark.content import hash_file, hash_files, key_of, versions
from foveal.evaluation.benchmark.resampling import Draws
from foveal.evaluation.benchmark.store import Store

JUDGE, ITEMS, SCORES = "a" * 64, ["x", "y"], np.array([0.1, -1e300])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "out")
    store.claim()
    return store


def files(store: Store, suffix: str) -> list[Path]:
    return sorted(store.folder.rglob(f"*{suffix}"))


def test_scores_come_back_as_they_were(store: Store) -> None:
    assert store.cell(JUDGE, ITEMS) is None
    store.keep(JUDGE, ITEMS, SCORES, {"assessor": "mine", "names": ["a\udcff.png"]})
    found = store.cell(JUDGE, ITEMS)
    assert found is not None
    assert found.tolist() == SCORES.tolist()
    assert store.scores(JUDGE) == {"x": 0.1, "y": -1e300}


def test_scores_are_found_by_judge_and_images_alone(store: Store) -> None:
    store.keep(JUDGE, ITEMS, SCORES, {})
    assert store.cell("b" * 64, ITEMS) is None
    assert store.cell(JUDGE, ["y", "x"]) is None
    assert store.cell(JUDGE[:32] + "b" * 32, ITEMS) is None  # the folder's name is only half of the key
    assert store.scores(JUDGE[:32] + "b" * 32) == {}
    store.keep(JUDGE, ["z"], np.array([5.0]), {})
    assert store.scores(JUDGE) == {"x": 0.1, "y": -1e300, "z": 5.0}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: text.replace("0.1", "NaN"),
        lambda text: text.replace("0.1", '"0.1"'),
        lambda text: text.replace("[0.1, ", "["),
        lambda text: f"[{text}]",
        lambda text: "\x00",
    ],
)
def test_damaged_scores_count_as_not_there(store: Store, change: object) -> None:
    assert callable(change)
    store.keep(JUDGE, ITEMS, SCORES, {})
    (path,) = files(store, ".json")
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert store.cell(JUDGE, ITEMS) is None
    assert store.scores(JUDGE) == {}
    store.keep(JUDGE, ITEMS, SCORES, {})
    assert store.cell(JUDGE, ITEMS) is not None


def test_resamples_come_back_or_count_as_not_there(store: Store) -> None:
    draws = Draws(np.eye(2), np.full((3, 2), np.nan), np.zeros((4, 2)))
    assert store.draws("k" * 64) is None
    store.keep_draws("k" * 64, draws)
    found = store.draws("k" * 64)
    assert found is not None
    for name in ("values", "draws", "left_out"):
        np.testing.assert_array_equal(getattr(found, name), getattr(draws, name))
    (path,) = files(store, ".npz")
    whole = path.read_bytes()
    for damaged in (whole[:-30], whole[:10], b""):
        path.write_bytes(damaged)
        assert store.draws("k" * 64) is None


def test_nothing_half_written_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("report.md", "before")

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:3])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match=r"report.md: cannot be written \(No space left"):
            store.write("report.md", "after all")
    assert [path.name for path in store.folder.iterdir() if path.is_file()] == ["report.md"]
    assert (store.folder / "report.md").read_text(encoding="utf-8") == "before"


def test_a_folder_of_other_things_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"holds other files than those of a benchmark"):
        Store(tmp_path).claim()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(OutputError, match=r"cannot be made"):
        Store(tmp_path / "notes.txt" / "out").claim()


def test_a_folder_may_be_claimed_again_and_may_be_empty(tmp_path: Path) -> None:
    for _ in range(2):
        Store(tmp_path).claim()
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]


def test_keys_depend_on_values_not_on_their_order() -> None:
    assert key_of({"a": 1, "b": [1, 2]}) == key_of({"b": [1, 2], "a": 1})
    keys = {
        key_of(v) for v in ({"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": [1]}, {"a": None}, {"a": True}, {"b": 1})
    }
    assert len(keys) == 7
    # SHA-256 of {"a":1}, from sha256sum.
    assert key_of({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    with pytest.raises(TypeError):
        key_of({"a": object()})


def test_files_are_hashed_by_content(tmp_path: Path) -> None:
    for name, content in {"a.json": b"abc", "b.json": b"abc", "c.bin": b"x"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "d.json").mkdir()
    # FIPS 180-2, appendix B.1.
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_file(tmp_path / "a.json") == abc
    assert hash_files(tmp_path, ("*.json", "a.*")) == {"a.json": abc, "b.json": abc}
    with pytest.raises(BenchmarkError, match="gone: cannot be read"):
        hash_file(tmp_path / "gone")


def test_versions_are_of_what_is_installed() -> None:
    assert versions("numpy", "no-such-package") == {"numpy": np.__version__}
