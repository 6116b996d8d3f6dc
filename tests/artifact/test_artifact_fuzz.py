"""Hostile bytes with a fitting checksum: decoders give an answer or an error of ours, in bounded memory."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from foveal.artifact import Artifact, coding, container, file, layout, read_artifact, write_artifact
from foveal.artifact.onnx_wire import SUPPORTED_DTYPES
from foveal.errors import CorruptArtifactError, ForeignArtifactError

MOST_BYTES = 3_000_000
"""What the files here may hold; far less than would be noticed without a limit."""


def mutate(rng: np.random.Generator, content: bytes) -> bytes:
    """Cut, lengthen, overwrite, repeat or flip some bytes, or give others altogether."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(0, len(changed) + 1))
        count = int(rng.integers(1, 9))
        some = rng.bytes(count)
        match rng.integers(0, 7):
            case 0:
                del changed[place:]
            case 1:
                del changed[place : place + count]
            case 2:
                changed[place:place] = some
            case 3:
                changed[place : place + count] = some
            case 4:
                changed += some
            case 5 if changed:
                changed[place % len(changed)] ^= 1 << int(rng.integers(0, 8))
            case _:
                changed[:] = rng.bytes(int(rng.integers(0, 60)))
    return bytes(changed)


def sources(rng: np.random.Generator) -> list[NDArray[np.generic]]:
    """Arrays that are coded in all the ways there are."""
    scales = np.exp(rng.uniform(-1, 2, (24, 1)))
    return [
        np.rint(rng.normal(0, 1, (24, 40)) * scales).astype(np.int8),
        np.rint(rng.normal(0, 1, (30, 24)) * scales.T).astype(np.uint8),
        rng.normal(0, 0.1, (20, 30)).astype(np.float16),
        rng.normal(0, 3, 300).astype(np.int64),
        np.full((9, 50), 3, np.int8),
        rng.random(500) < 0.1,
    ]


def fuzz_decoder(seed: int, count: int) -> tuple[int, int]:
    """Decode mutated and random bytes as arrays; return how many were decoded and how many refused."""
    rng = np.random.default_rng(seed)
    arrays = sources(rng)
    contents = [coding.encode(array) for array in arrays]
    decoded = refused = 0
    for _ in range(count):
        which = int(rng.integers(len(arrays)))
        dtype, shape = arrays[which].dtype.name, arrays[which].shape
        if rng.random() < 0.2:
            dtype = str(rng.choice(SUPPORTED_DTYPES))
            shape = tuple(int(size) for size in rng.integers(0, 40, rng.integers(0, 4)))
        try:
            back = coding.decode(mutate(rng, contents[which]), dtype, shape)
        except ValueError:
            refused += 1
        else:
            assert (back.dtype, back.shape) == (np.dtype(dtype), shape)
            decoded += 1
    return decoded, refused


def test_the_decoder_survives_some_bytes() -> None:
    decoded, refused = fuzz_decoder(0, 2500)
    assert min(decoded, refused) > 30


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(1, 9))
def test_the_decoder_survives_many_bytes(seed: int) -> None:
    decoded, refused = fuzz_decoder(seed, 40_000)
    assert min(decoded, refused) > 500


Parts = dict[str, bytes]


def mutate_stored(rng: np.random.Generator, parts: Parts, sizes: dict[str, Any]) -> None:
    """One part as it lies in the file: what is compressed becomes nonsense to LZMA."""
    name = str(rng.choice(sorted(parts)))
    parts[name] = mutate(rng, parts[name])


def mutate_text(rng: np.random.Generator, parts: Parts, sizes: dict[str, Any]) -> None:
    """The bytes of table, graph or tokenizer, well compressed."""
    name = str(rng.choice(sorted(sizes)))
    text = mutate(rng, layout._decompress(parts[name], sizes[name]))
    parts[name], sizes[name] = layout._compress(text), len(text)


def mutate_sizes(rng: np.random.Generator, parts: Parts, sizes: dict[str, Any]) -> None:
    """What the header says of sizes."""
    name = str(rng.choice([*sizes, "weights", "more"]))
    sizes[name] = [0, 1, -1, 10**6, 10**9, 2**40, True, None, "x"][int(rng.integers(9))]


def mutate_table(rng: np.random.Generator, parts: Parts, sizes: dict[str, Any]) -> None:
    """One entry of the table: well-formed, and wrong."""
    table = json.loads(layout._decompress(parts["table"], sizes["table"]))
    group = table[int(rng.integers(len(table)))]
    entry = group["weights"][int(rng.integers(len(group["weights"])))]
    size = int(rng.choice([0, 1, 7, 255, 256, 300, 10**4, 10**6, 10**8, 2**40]))
    match rng.integers(0, 6):
        case 0:
            entry[1] = [size, *entry[1]]
        case 1:
            entry[1] = [size]
        case 2:
            entry[0] = table[0]["weights"][0][0]
        case 3:
            group["stored"] = group["loaded"] = str(rng.choice(SUPPORTED_DTYPES))
        case 4:
            table.remove(group)
        case _:
            group["weights"].remove(entry)
    text = json.dumps(table).encode()
    parts["table"], sizes["table"] = layout._compress(text), len(text)


def mutate_weights(rng: np.random.Generator, parts: Parts, sizes: dict[str, Any]) -> None:
    """The coded values."""
    parts["weights"] = mutate(rng, parts["weights"])


Mutation = Callable[[np.random.Generator, Parts, dict[str, Any]], None]
MUTATIONS: list[Mutation] = [mutate_stored, mutate_text, mutate_sizes, mutate_table, mutate_weights]


@pytest.fixture
def compact_path(tmp_path: Path, tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An artifact with weights of all kinds, read under a small limit."""
    rng = np.random.default_rng(7)
    weights = {f"w{index}": array for index, array in enumerate(sources(rng))}
    weights |= {"large": rng.normal(size=(20, 30)).astype(np.float32), "one": np.array(1e-12, np.float32)}
    path = tmp_path / "m"
    write_artifact(
        path, dataclasses.replace(tiny_artifact, weights=weights), store_float16=True, compact=True
    )
    for place in (file, container):
        monkeypatch.setattr(place, "MAX_BYTES", MOST_BYTES)
    yield path
    tracemalloc.stop()


def fuzz_file(path: Path, seed: int, count: int) -> tuple[int, int]:
    """Read files with mutated parts and a fitting checksum; return how many were read, how many refused."""
    rng = np.random.default_rng(seed)
    tensors = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata()
    read_artifact(path)
    read, reasons = 0, list[str]()
    tracemalloc.start()
    for _ in range(count):
        parts = {name: part.tobytes() for name, part in tensors.items()}
        sizes = json.loads(metadata["coding"])["bytes"]
        MUTATIONS[int(rng.integers(len(MUTATIONS)))](rng, parts, sizes)
        changed = {name: np.frombuffer(part, np.uint8) for name, part in parts.items()}
        sealed = metadata | {"coding": json.dumps({"bytes": sizes})}
        sealed["sha256"] = container.checksum(sealed, changed)
        safetensors.numpy.save_file(changed, path, metadata=sealed)
        tracemalloc.reset_peak()
        try:
            artifact = read_artifact(path)
        except (CorruptArtifactError, ForeignArtifactError) as error:
            reasons.append(str(error))
        else:
            assert sum(value.nbytes for value in artifact.weights.values()) <= MOST_BYTES
            read += 1
        # Twice the contents, the dictionary of LZMA, and a few megabytes to decode in.
        assert tracemalloc.get_traced_memory()[1] <= 2 * MOST_BYTES + (12 << 20)
    assert not [reason for reason in reasons if "checksum" in reason]
    return read, len(reasons)


def test_files_survive_some_bytes(compact_path: Path) -> None:
    read, refused = fuzz_file(compact_path, 0, 250)
    assert min(read, refused) > 10


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(1, 5))
def test_files_survive_many_bytes(compact_path: Path, seed: int) -> None:
    read, refused = fuzz_file(compact_path, seed, 3000)
    assert min(read, refused) > 100
