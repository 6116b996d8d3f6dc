"""The file: it gives back what was written, or a typed error that names it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import slow_decoder
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foveal.artifact import (
    Artifact,
    Calibration,
    Card,
    ViewSpec,
    container,
    file,
    read_artifact,
    write_artifact,
)
from foveal.errors import ArtifactError, CorruptArtifactError, ForeignArtifactError, UnknownModelError
from foveal.weights import available
from prompt_models import make_artifact

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
    rewrite(path, format_version="3")
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
    for place in (file, container):
        monkeypatch.setattr(place, "MAX_BYTES", 1000)
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


COMPACT_PARTS = ("graph", "table", "weights")


@pytest.fixture
def compact_path(tmp_path: Path, tiny_int8_artifact: Artifact) -> Path:
    path = tmp_path / "c.foveal.safetensors"
    write_artifact(path, tiny_int8_artifact, compact=True)
    return path


@pytest.mark.parametrize("store_float16", [False, True])
@pytest.mark.parametrize("kind", ["float", "int8", "without weights", "with a tokenizer"])
def test_compact_files_give_back_what_the_others_do(
    tmp_path: Path, tiny_artifact: Artifact, tiny_int8_artifact: Artifact, kind: str, store_float16: bool
) -> None:
    artifact = {
        "float": tiny_artifact,
        "int8": tiny_int8_artifact,
        "without weights": dataclasses.replace(tiny_artifact, weights={}),
        "with a tokenizer": make_artifact(),
    }[kind]
    large = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    artifact = dataclasses.replace(artifact, weights={**artifact.weights, "large": large})
    plain, compact = tmp_path / "plain", tmp_path / "compact"
    write_artifact(plain, artifact, store_float16=store_float16)
    write_artifact(compact, artifact, store_float16=store_float16, compact=True)
    read = read_artifact(compact)
    assert_same(read, read_artifact(plain))
    assert read.tokenizer == artifact.tokenizer
    assert compact.stat().st_size < plain.stat().st_size
    write_artifact(plain, read, store_float16=store_float16, compact=True)
    assert plain.read_bytes() == compact.read_bytes()


def test_the_order_of_weights_does_not_matter(tmp_path: Path, tiny_int8_artifact: Artifact) -> None:
    turned = dict(reversed(tiny_int8_artifact.weights.items()))
    write_artifact(tmp_path / "a", tiny_int8_artifact, compact=True)
    write_artifact(tmp_path / "b", dataclasses.replace(tiny_int8_artifact, weights=turned), compact=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_compact_weights_take_their_entropy(tmp_path: Path, tiny_artifact: Artifact) -> None:
    rng = np.random.default_rng(0)
    weights = {f"w{i}": np.rint(rng.normal(0, 1, (96, 96))).astype(np.int8) for i in range(5)}
    path = tmp_path / "m"
    write_artifact(path, dataclasses.replace(tiny_artifact, weights=weights), compact=True)
    # Gaussian levels of sigma 1 have 2.105 bits: log2(sqrt(2 pi e)) = 2.047, and a little for wide steps.
    assert safetensors.numpy.load_file(path)["weights"].size < 5 * (96 * 96 * 2.12 / 8 + 64)


def test_cards_of_compact_files_are_readable(compact_path: Path) -> None:
    with safetensors.safe_open(compact_path, framework="numpy") as opened:
        metadata = opened.metadata()
        assert set(opened.keys()) == set(COMPACT_PARTS)
    assert metadata["format_version"] == "2"
    assert json.loads(metadata["card"])["name"] == "tiny-int8"
    assert json.loads(metadata["coding"])["bytes"].keys() == {"graph", "table"}


def test_compact_files_can_be_checked_without_foveal(
    compact_path: Path, tiny_int8_artifact: Artifact
) -> None:
    seal(compact_path)
    parts = {name: part.tobytes() for name, part in safetensors.numpy.load_file(compact_path).items()}
    assert slow_decoder.text(parts["graph"]) == tiny_int8_artifact.graph
    weights = slow_decoder.weights(parts)
    assert_same(dataclasses.replace(tiny_int8_artifact, weights=weights), tiny_int8_artifact)
    assert_same(read_artifact(compact_path), tiny_int8_artifact)


@pytest.mark.parametrize(
    ("store_float16", "digest"),
    [
        (False, "bd99b169ce199f4dbf26c6096655d991ebbee1991b370a6477427deda83a4546"),
        (True, "a11ae63c59a1bc9633f6bb07e49b1e918ec06832f770d171918ee5e21ebf9cee"),
    ],
)
def test_other_files_are_what_they_were_before_there_were_compact_ones(
    tmp_path: Path, store_float16: bool, digest: str
) -> None:
    """SHA-256 of what Foveal wrote when version 1 was the only one."""
    card = Card(
        name="tiny",
        version="0.0.1",
        licence="Apache-2.0",
        summary="s",
        training_data="none",
        views={"whole": ViewSpec("whole")},
        calibration=Calibration(coverage=0.9, factor=1.5, count=100),
    )
    weights: dict[str, NDArray[np.generic]] = {
        "a.weight": (np.arange(600) ** 2 % 7 - 3).astype(np.int8).reshape(30, 20),
        "a.scale": np.array([0.5, 0.25, 3.0], np.float32),
        "half": (np.arange(512) / 8).astype(np.float32),
        "n": np.arange(3, dtype=np.int64),
        "b": np.array(True),
    }
    path = tmp_path / "m"
    write_artifact(path, Artifact(card, b"a graph", weights), store_float16=store_float16)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_shipped_files_written_again_are_the_same_but_for_new_fields_of_the_card(tmp_path: Path) -> None:
    shipped = available()
    assert shipped
    for source in shipped.values():
        before, values = split(source)
        compact = before["__metadata__"]["format_version"] == "2"
        write_artifact(tmp_path / "m", read_artifact(source), store_float16=True, compact=compact)
        after, values_after = split(tmp_path / "m")
        for header in (before, after):
            card = Card.from_json(header["__metadata__"]["card"])
            header["__metadata__"] |= {"card": card.to_json(), "sha256": ""}
        assert json.dumps(after) == json.dumps(before)
        assert values_after == values


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and values of a safetensors file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"format_version": "3"}, ForeignArtifactError, "newer Foveal"),
        ({"format_version": "1"}, CorruptArtifactError, "newer|damaged"),
        ({"card": "{}"}, CorruptArtifactError, "damaged"),
        ({"coding": "{}"}, CorruptArtifactError, "its parts are"),
        ({"coding": "[]"}, CorruptArtifactError, "its coding is not"),
        ({"coding": '{"bytes": 3}'}, CorruptArtifactError, "its coding is not"),
        ({"coding": '{"bytes": {"graph": 1}}'}, CorruptArtifactError, "its parts are"),
        (
            {"coding": '{"bytes": {"graph": 1, "table": 1}}'},
            CorruptArtifactError,
            "does not have the 1 bytes",
        ),
        ({"coding": '{"bytes": {"graph": 1, "table": "1"}}'}, CorruptArtifactError, "not a whole number"),
        ({"coding": '{"bytes": {"graph": 1e999, "table": 1}}'}, CorruptArtifactError, "not a whole number"),
        (
            {"coding": '{"bytes": {"graph": 1073741824, "table": 1}}'},
            CorruptArtifactError,
            "more bytes than a model may have",
        ),
        (
            {"coding": '{"bytes": {}, "brotli": 1}'},
            ForeignArtifactError,
            r"newer Foveal \(weights coded with b",
        ),
    ],
)
def test_nonsense_in_compact_files_with_a_fitting_checksum(
    compact_path: Path, changes: dict[str, str], error: type[ArtifactError], reason: str
) -> None:
    if changes.get("format_version") == "1":
        changes = changes | {"coding": "{}"}
    seal(compact_path, **changes)
    with pytest.raises(error, match=reason):
        read_artifact(compact_path)


def test_a_plain_file_that_says_it_is_compact(path: Path) -> None:
    seal(path, format_version="2", coding='{"bytes": {"graph": 5, "table": 5}}')
    with pytest.raises(CorruptArtifactError, match="its parts are"):
        read_artifact(path)


@pytest.mark.parametrize("part", COMPACT_PARTS)
@pytest.mark.parametrize("change", ["altered", "cut", "dropped", "swapped", "of another artifact"])
def test_nothing_is_decoded_before_the_checksum_is_right(
    compact_path: Path, tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, part: str, change: str
) -> None:
    tensors = safetensors.numpy.load_file(compact_path)
    with safetensors.safe_open(compact_path, framework="numpy") as opened:
        metadata = opened.metadata()
    other = compact_path.with_name("other")
    write_artifact(other, tiny_artifact, compact=True)
    if change == "altered":
        tensors[part] = tensors[part] ^ (np.arange(tensors[part].size) == tensors[part].size // 2)
    elif change == "cut":
        tensors[part] = tensors[part][:-1]
    elif change == "dropped":
        del tensors[part]
    elif change == "swapped":
        beside = COMPACT_PARTS[COMPACT_PARTS.index(part) - 1]
        tensors[part], tensors[beside] = tensors[beside], tensors[part]
    else:
        tensors[part] = safetensors.numpy.load_file(other)[part]
    safetensors.numpy.save_file(tensors, compact_path, metadata=metadata)
    reached: list[object] = []
    monkeypatch.setattr(file, "unpack_parts", lambda *given: reached.append(given))
    with pytest.raises(CorruptArtifactError, match="checksum does not match"):
        read_artifact(compact_path)
    assert not reached


def test_every_cut_of_a_compact_file_is_noticed(compact_path: Path) -> None:
    content = compact_path.read_bytes()
    for length in {*range(0, len(content), 41), len(content) - 1}:
        compact_path.write_bytes(content[:length])
        with pytest.raises(Damage):
            read_artifact(compact_path)
    compact_path.write_bytes(content + b"\0")
    with pytest.raises(CorruptArtifactError):
        read_artifact(compact_path)


def test_what_could_not_be_read_is_not_written(
    tmp_path: Path, tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (file, container):
        monkeypatch.setattr(place, "MAX_BYTES", 5000)
    with pytest.raises(ArtifactError, match=r"m: cannot be written compactly: its weights have \d+ bytes"):
        write_artifact(tmp_path / "m", tiny_artifact, compact=True)
    assert not (tmp_path / "m").exists()


def test_what_would_be_too_large_is_not_decoded(compact_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (file, container):
        monkeypatch.setattr(place, "MAX_BYTES", compact_path.stat().st_size + 10)
    with pytest.raises(CorruptArtifactError, match=r"more (bytes )?than a model may have"):
        read_artifact(compact_path)
