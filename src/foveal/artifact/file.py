"""Reading and writing artifacts: one safetensors file that holds graph, weights, card and checksum.

Layout, version 1. Tensors: ``graph`` (uint8: a serialized ONNX ModelProto without its initializers),
``weight/<initializer>`` and, of models that read prompts, ``tokenizer`` (uint8: JSON of the ``tokenizers``
library). Metadata: ``format``, ``format_version``, ``card`` (JSON), ``coding`` (JSON: how the weights are
stored; ``{}`` is as they are) and ``sha256`` over all of it. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from foveal.artifact.card import Card
from foveal.artifact.onnx_wire import SUPPORTED_DTYPES, Array, attach_initializers
from foveal.artifact.tokenizer import MAX_TOKENIZER_BYTES, check_tokenizer
from foveal.errors import ArtifactError, CorruptArtifactError, ForeignArtifactError, UnknownModelError

SUFFIX = ".foveal.safetensors"
"""Ends the name of an artifact's file."""
FORMAT = "foveal-artifact"
FORMAT_VERSION = 1
MAX_BYTES = 2**30
"""A larger file is refused unread."""

_GRAPH = "graph"
_WEIGHT = "weight/"
_TOKENIZER = "tokenizer"
_LOAD_AS = "load_as"
_SAFETENSORS_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_LARGEST_HALF = float(np.finfo(np.float16).max)
# Small weights (scales, biases, epsilons) hold little and may be tiny numbers: they keep all their bits.
_LEAST_HALVED = 256


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """An assessor as data.

    Attributes:
        card: what it is.
        graph: serialized ONNX ModelProto without initializers.
        weights: the initializers by name, in the dtypes that the graph expects.
        tokenizer: JSON of the ``tokenizers`` library that cuts and pads every text to the length of the
            card's prompt, at most :data:`~foveal.artifact.tokenizer.MAX_TOKENIZER_BYTES`; None exactly if
            the card has no prompt, else ValueError.
    """

    card: Card
    graph: bytes
    weights: Mapping[str, Array]
    tokenizer: bytes | None = None

    def __post_init__(self) -> None:
        if self.card.prompt is not None and not self.tokenizer:
            raise ValueError(f"{self.card.model} reads prompts, but there is no tokenizer")
        if self.card.prompt is None and self.tokenizer is not None:
            raise ValueError(f"{self.card.model} has a tokenizer, but its card has no prompt")
        if self.tokenizer is not None and len(self.tokenizer) > MAX_TOKENIZER_BYTES:
            raise ValueError(
                f"the tokenizer of {self.card.model} has {len(self.tokenizer)} bytes, more than one may have "
                f"({MAX_TOKENIZER_BYTES})"
            )

    def model_bytes(self) -> bytes:
        """The complete serialized ONNX model."""
        return attach_initializers(self.graph, self.weights)


def write_artifact(path: str | os.PathLike[str], artifact: Artifact, *, store_float16: bool = False) -> None:
    """Write an artifact; the file appears whole or not at all, and equal artifacts give equal bytes.

    Args:
        path: where to; an existing file is replaced.
        artifact: what to write.
        store_float16: keep float32 weights as float16 in the file, except small ones and those that do not
            fit; they are widened again on reading.

    Raises:
        ArtifactError: a weight is of an unsupported dtype, the tokenizer does not give texts of the card's
            length, or the file cannot be written.
    """
    path = Path(path)
    tensors: dict[str, Array] = {_GRAPH: np.frombuffer(artifact.graph, np.uint8)}
    if artifact.tokenizer is not None and artifact.card.prompt is not None:
        try:
            check_tokenizer(artifact.tokenizer, artifact.card.prompt.length)
        except ValueError as error:
            raise ArtifactError(f"{path}: cannot be written: {error}") from error
        tensors[_TOKENIZER] = np.frombuffer(artifact.tokenizer, np.uint8)
    load_as: dict[str, str] = {}
    for name, value in artifact.weights.items():
        if value.dtype.name not in SUPPORTED_DTYPES:
            raise ArtifactError(
                f"{path}: weight {name!r} is of {value.dtype}, known are {', '.join(SUPPORTED_DTYPES)}"
            )
        stored = np.asarray(value, value.dtype.newbyteorder("<"))
        if store_float16 and _fits_half(value):
            stored = stored.astype(np.float16)
            load_as[name] = value.dtype.name
        tensors[_WEIGHT + name] = stored
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "card": artifact.card.to_json(),
        "coding": json.dumps({_LOAD_AS: load_as} if load_as else {}, sort_keys=True),
    }
    metadata["sha256"] = _checksum(metadata, tensors)
    try:
        _replace_file(path, _pack(metadata, tensors))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Read an artifact and verify all of it.

    Args:
        path: file to read.

    Returns:
        The artifact, exactly as it was written.

    Raises:
        UnknownModelError: there is no such file.
        ForeignArtifactError: not an artifact, or written by a newer version of Foveal.
        CorruptArtifactError: an artifact, but cut, altered or inconsistent.
        ArtifactError: it cannot be read, or is larger than :data:`MAX_BYTES`.
    """
    path = Path(path)
    content = _read_file(path)
    metadata = _read_metadata(path, content)
    _check_format(path, metadata)
    try:
        tensors = _unpack(content)
        if _checksum(metadata, tensors) != metadata["sha256"]:
            raise ValueError("its checksum does not match")
        card = Card.from_json(metadata["card"])
        load_as = _read_coding(path, metadata["coding"])
        weights = {
            name.removeprefix(_WEIGHT): value.astype(
                load_as.get(name.removeprefix(_WEIGHT), value.dtype), copy=False
            )
            for name, value in tensors.items()
            if name.startswith(_WEIGHT)
        }
        tokenizer = tensors[_TOKENIZER].tobytes() if _TOKENIZER in tensors else None
        return Artifact(card=card, graph=tensors[_GRAPH].tobytes(), weights=weights, tokenizer=tokenizer)
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise CorruptArtifactError(f"{path}: the model file is damaged ({error}); fetch it again") from error


def _fits_half(value: Array) -> bool:
    if value.dtype != np.float32 or value.size < _LEAST_HALVED:
        return False
    return bool(np.abs(value).max() <= _LARGEST_HALF)


def _checksum(metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> str:
    """Hash all that has meaning; its length precedes each part, so that none can run into the next."""
    digest = hashlib.sha256()

    def add(part: bytes) -> None:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)

    for key in ("format_version", "card", "coding"):
        add(metadata[key].encode())
    for name in sorted(tensors):
        value = tensors[name]
        add(name.encode())
        add(f"{value.dtype.name} {list(value.shape)}".encode())
        add(value.tobytes())
    return digest.hexdigest()


def _pack(metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> bytes:
    """Lay out a safetensors file; done here because the library puts metadata in random order."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    blobs, position = [], 0
    # Widest first keeps every tensor aligned to its items, as the format asks for.
    for name, value in sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        blob = value.tobytes()
        header[name] = {
            "dtype": _SAFETENSORS_DTYPES[value.dtype.name],
            "shape": list(value.shape),
            "data_offsets": [position, position + len(blob)],
        }
        blobs.append(blob)
        position += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *blobs])


def _unpack(content: bytes) -> dict[str, Array]:
    tensors: dict[str, Array] = safetensors.numpy.load(content)
    for name in tensors:
        if name not in (_GRAPH, _TOKENIZER) and not name.startswith(_WEIGHT):
            raise ValueError(f"unknown part {name!r}")
    return tensors


def _read_file(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # opening a pipe could block for ever
            raise ArtifactError(f"{path}: is not a file; give the model file itself")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise ArtifactError(
                    f"{path}: has {size} bytes, more than a model file may have ({MAX_BYTES})"
                )
            return file.read()
    except FileNotFoundError as error:
        raise UnknownModelError(f"{path}: there is no such model file") from error
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read_metadata(path: Path, content: bytes) -> dict[str, str]:
    """Metadata of the safetensors header; our mark tells a file cut inside it from one of another kind."""
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length] if length < len(content) else content[8:]
    try:
        metadata = json.loads(header)["__metadata__"]
        if isinstance(metadata, dict) and metadata.get("format") == FORMAT:
            return {str(key): str(value) for key, value in metadata.items()}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if FORMAT.encode() in content[:1024]:
            raise CorruptArtifactError(f"{path}: the model file is cut or damaged; fetch it again") from error
    raise ForeignArtifactError(f"{path}: not a Foveal model file; `foveal models` lists what there is")


def _check_format(path: Path, metadata: Mapping[str, str]) -> None:
    version = metadata.get("format_version", "")
    if not version.isascii() or not version.isdigit() or len(version) > 6 or int(version) < 1:
        raise CorruptArtifactError(
            f"{path}: the model file is damaged (format version {version[:20]!r}); fetch it again"
        )
    if int(version) > FORMAT_VERSION:
        raise _newer(path, f"format version {int(version)}, this one reads {FORMAT_VERSION}")


def _read_coding(path: Path, text: str) -> dict[str, str]:
    """How weights were stored: which to widen, and to which dtype."""
    coding = json.loads(text)
    if not isinstance(coding, dict) or not isinstance(coding.get(_LOAD_AS, {}), dict):
        raise ValueError("its coding is not a JSON object")
    unknown = set(coding) - {_LOAD_AS}
    if unknown:
        raise _newer(path, f"weights coded with {', '.join(sorted(unknown))}")
    load_as: dict[str, str] = coding.get(_LOAD_AS, {})
    if not set(load_as.values()) <= {"float32"}:
        raise ValueError("weights are to be loaded as an unknown type")
    return load_as


def _newer(path: Path, why: str) -> ForeignArtifactError:
    return ForeignArtifactError(f"{path}: written by a newer Foveal ({why}); pip install --upgrade foveal")


def _replace_file(path: Path, content: bytes) -> None:
    """Write beside the target, force it to disk, rename: a crash leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
