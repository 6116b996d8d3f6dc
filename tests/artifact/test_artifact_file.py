"""The file: it gives back what was written, or a typed error that names it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foveal.artifact import Artifact, file, read_artifact, write_artifact
from foveal.errors import ArtifactError, CorruptArtifactError, ForeignArtifactError, UnknownModelError

Damage = (CorruptArtifactError, ForeignArtifactError)


def assert_same(first: Artifact, second: Artifact) -> None:
    assert first.card == second.card
    assert first.graph == second.graph
    assert first.weights.keys() == second.weights.keys()
    for name, value in first.weights.items():
        assert value.dtype == second.weights[name].dtype
        assert value.shape == second.weights[name].shape
        np.testing.assert_array_equal(value, second.weights[name])


def rewrite(path: Path, **changes: str) -> None:
    """Change metadata of an artifact, through the safetensors library."""
    tensors = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata()
    safetensors.numpy.save_file(tensors, path, metadata={**metadata, **changes})


@pytest.fixture
def path(tmp_path: Path, tiny_artifact: Artifact) -> Path:
    path = tmp_path / "m.foveal.safetensors"
    write_artifact(path, tiny_artifact)
    return path


def test_gives_back_what_was_written(path: Path, tiny_artifact: Artifact) -> None:
    assert_same(read_artifact(path), tiny_artifact)
    assert_same(read_artifact(str(path)), tiny_artifact)


def test_int8_weights_pass_through(tmp_path: Path, tiny_int8_artifact: Artifact) -> None:
    path = tmp_path / "m.foveal.safetensors"
    write_artifact(path, tiny_int8_artifact, store_float16=True)
    read = read_artifact(path)
    assert_same(read, tiny_int8_artifact)
    assert read.weights["whole.weight.int8"].dtype == np.int8


def test_the_safetensors_library_reads_it(path: Path, tiny_artifact: Artifact) -> None:
    tensors = safetensors.numpy.load_file(path)
    assert tensors["graph"].tobytes() == tiny_artifact.graph
    np.testing.assert_array_equal(tensors["weight/head.weight"], tiny_artifact.weights["head.weight"])
    with safetensors.safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata()
    assert metadata["format"] == "foveal-artifact"
    assert json.loads(metadata["card"])["name"] == "tiny"


def test_a_file_that_the_library_has_rewritten_is_still_sound(path: Path, tiny_artifact: Artifact) -> None:
    rewrite(path)
    assert_same(read_artifact(path), tiny_artifact)


def test_equal_artifacts_give_equal_bytes(path: Path, tmp_path: Path, tiny_artifact: Artifact) -> None:
    turned = dict(reversed(tiny_artifact.weights.items()))
    other = tmp_path / "other"
    write_artifact(other, dataclasses.replace(tiny_artifact, weights=turned))
    assert other.read_bytes() == path.read_bytes()


def test_float16_storage_halves_large_weights_only(tmp_path: Path, tiny_artifact: Artifact) -> None:
    rng = np.random.default_rng(0)
    weights: dict[str, NDArray[np.generic]] = {
        "large": rng.normal(size=(64, 32)).astype(np.float32),
        "beyond": np.full(2048, 1e6, np.float32),
        "infinite": np.full(2048, np.inf, np.float32),
        "epsilon": np.array(1e-12, np.float32),
        "long": np.arange(2048),
    }
    path = tmp_path / "m"
    write_artifact(path, dataclasses.replace(tiny_artifact, weights=weights), store_float16=True)
    stored = safetensors.numpy.load_file(path)
    assert stored["weight/large"].dtype == np.float16
    read = read_artifact(path).weights
    assert {name: value.dtype for name, value in read.items()} == {n: v.dtype for n, v in weights.items()}
    np.testing.assert_allclose(read["large"], weights["large"], rtol=2**-11, atol=2**-24)
    for name in ("beyond", "infinite", "epsilon", "long"):
        np.testing.assert_array_equal(read[name], weights[name])


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="nowhere"):
        read_artifact(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_only_files_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m"
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(ArtifactError, match="is not a file"):
        read_artifact(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", bytes(100), b"\xff" * 100, b"\x80\x04\x95 a pickle"])
def test_other_files_are_foreign(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.bin"
    path.write_bytes(content)
    with pytest.raises(ForeignArtifactError, match=r"other\.bin: not a Foveal model"):
        read_artifact(path)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}])
def test_other_safetensors_are_foreign(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"graph": np.zeros(3, np.uint8)}, path, metadata=metadata)
    with pytest.raises(ForeignArtifactError, match="not a Foveal model"):
        read_artifact(path)


def test_a_newer_format_asks_for_a_newer_foveal(path: Path) -> None:
    rewrite(path, format_version="2")
    with pytest.raises(ForeignArtifactError, match="newer Foveal"):
        read_artifact(path)


@pytest.mark.parametrize("version", ["", "0", "-1", "1.0", "one", "²", "9" * 5000])
def test_nonsense_versions_are_damage(path: Path, version: str) -> None:
    rewrite(path, format_version=version)
    with pytest.raises(CorruptArtifactError, match="format version"):
        read_artifact(path)


def test_the_checksum_is_the_documented_one(path: Path, tiny_artifact: Artifact) -> None:
    seal(path)
    assert_same(read_artifact(path), tiny_artifact)


def test_an_unknown_coding_asks_for_a_newer_foveal(path: Path, tiny_artifact: Artifact) -> None:
    seal(path, coding='{"huffman": {}}')
    with pytest.raises(ForeignArtifactError, match=r"newer Foveal \(weights coded with huffman\)"):
        read_artifact(path)


def seal(path: Path, **changes: str) -> None:
    """Change metadata and make the checksum fit: what a careless or hostile writer could do."""
    tensors = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as opened:
        metadata = {**opened.metadata(), **changes}
    digest = hashlib.sha256()
    for part in [metadata[key].encode() for key in ("format_version", "card", "coding")] + [
        part
        for name, value in sorted(tensors.items())
        for part in (name.encode(), f"{value.dtype} {list(value.shape)}".encode(), value.tobytes())
    ]:
        digest.update(len(part).to_bytes(8, "little") + part)
    metadata["sha256"] = digest.hexdigest()
    safetensors.numpy.save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize(
    "changes",
    [
        {"card": "{}"},
        {"card": "not json"},
        {"card": "[" * 100_000},
        {"coding": "not json"},
        {"coding": "[]"},
        {"coding": '{"load_as": {"head.weight": "object"}}'},
        {"coding": '{"load_as": {"head.weight": []}}'},
        {"coding": '{"load_as": 3}'},
    ],
)
def test_nonsense_with_a_fitting_checksum(path: Path, changes: dict[str, str]) -> None:
    seal(path, **changes)
    with pytest.raises(CorruptArtifactError, match="damaged"):
        read_artifact(path)


@pytest.mark.parametrize("key", ["card", "coding", "sha256"])
def test_altered_metadata(path: Path, key: str) -> None:
    rewrite(path, **{key: '{"load_as": {}}'})
    with pytest.raises(CorruptArtifactError, match="checksum"):
        read_artifact(path)


@pytest.mark.parametrize("change", ["renamed", "dropped", "added", "reshaped", "foreign part"])
def test_altered_weights(path: Path, change: str) -> None:
    tensors = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata()
    head = tensors.pop("weight/head.weight")
    added = {
        "renamed": {"weight/head": head},
        "dropped": {},
        "added": {"weight/head.weight": head, "weight/more": head},
        "reshaped": {"weight/head.weight": head.reshape(-1)},
        "foreign part": {"weight/head.weight": head, "code": head},
    }[change]
    safetensors.numpy.save_file({**tensors, **added}, path, metadata=metadata)
    with pytest.raises(CorruptArtifactError, match="damaged"):
        read_artifact(path)


def test_every_cut_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    lengths = {*range(0, 2048, 13), *range(2048, len(content), 131), len(content) - 1}
    for length in sorted(lengths):
        path.write_bytes(content[:length])
        with pytest.raises(Damage, match=r"m\.foveal\.safetensors"):
            read_artifact(path)


def test_longer_files_are_noticed(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CorruptArtifactError, match="damaged"):
        read_artifact(path)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_flipped_bits_never_alter_an_artifact_silently(
    tiny_model_path: Path,
    tiny_artifact: Artifact,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    content = bytearray(tiny_model_path.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    places = st.one_of(st.integers(0, header - 1), st.integers(0, len(content) - 1))
    for place in data.draw(st.lists(places, min_size=1, max_size=3, unique=True)):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "flipped"
    path.write_bytes(content)
    try:
        read = read_artifact(path)
    except Damage:
        return
    assert_same(read, tiny_artifact)  # what was hit has no meaning: padding, say


def test_large_files_are_refused_unread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MAX_BYTES", 1000)
    with pytest.raises(ArtifactError, match="more than a model file may have"):
        read_artifact(path)


def test_writing_replaces_and_leaves_nothing_behind(path: Path, tiny_int8_artifact: Artifact) -> None:
    write_artifact(path, tiny_int8_artifact)
    assert read_artifact(path).card.name == "tiny-int8"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_failed_write_leaves_the_old_file(
    path: Path, tiny_artifact: Artifact, tiny_int8_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ArtifactError, match=r"m\.foveal\.safetensors: cannot be written: No space left"):
        write_artifact(path, tiny_int8_artifact)
    assert_same(read_artifact(path), tiny_artifact)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_unsupported_weights_are_refused(tmp_path: Path, tiny_artifact: Artifact) -> None:
    odd = dataclasses.replace(tiny_artifact, weights={"w": np.zeros(3, np.complex64)})
    with pytest.raises(ArtifactError, match="complex64"):
        write_artifact(tmp_path / "m", odd)
    assert not (tmp_path / "m").exists()
