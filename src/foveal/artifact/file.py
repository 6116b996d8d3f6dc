"""Reading and writing artifacts: one safetensors file that holds graph, weights, card and checksum.

Layout, version 1. Tensors: ``graph`` (uint8: a serialized ONNX ModelProto without its initializers),
``weight/<initializer>`` and, of models that read prompts, ``tokenizer`` (uint8: JSON of the ``tokenizers``
library). Metadata: ``format``, ``format_version``, ``card`` (JSON), ``coding`` (JSON: how the weights are
stored; ``{}`` is as they are) and ``sha256`` over all of it. Nothing is ever unpickled.

Version 2 is the compact one: the same metadata, but all tensors are uint8 and compressed or entropy-coded, as
:mod:`foveal.artifact.layout` says: ``graph``, ``table``, ``weights`` and ``tokenizer``. Its ``coding`` is
``{"bytes": {...}}``, how many bytes graph, table and tokenizer have when they are no longer compressed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from foveal.artifact.card import Card
from foveal.artifact.container import MAX_BYTES, checksum, pack, read_file, replace_file
from foveal.artifact.layout import GRAPH, LEAST_LARGE, TOKENIZER, Contents, pack_parts, unpack_parts
from foveal.artifact.onnx_wire import SUPPORTED_DTYPES, Array, attach_initializers
from foveal.artifact.tokenizer import MAX_TOKENIZER_BYTES, check_tokenizer
from foveal.errors import ArtifactError, CorruptArtifactError, ForeignArtifactError

SUFFIX = ".foveal.safetensors"
"""Ends the name of an artifact's file."""
FORMAT = "foveal-artifact"
FORMAT_VERSION = 2
"""The newest that this version reads."""

_WEIGHT = "weight/"
_PLAIN, _COMPACT = 1, 2
_BYTES = "bytes"
_LOAD_AS = "load_as"
_LARGEST_HALF = float(np.finfo(np.float16).max)


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


def write_artifact(
    path: str | os.PathLike[str],
    artifact: Artifact,
    *,
    store_float16: bool = False,
    compact: bool = False,
) -> None:
    """Write an artifact; the file appears whole or not at all, and equal artifacts give equal bytes.

    Args:
        path: where to; an existing file is replaced.
        artifact: what to write.
        store_float16: keep float32 weights as float16 in the file, except small ones and those that do not
            fit; they are widened again on reading.
        compact: entropy-code the weights and compress the rest: quantised weights take their entropy instead
            of 8 bits each. The file is of format version 2, which older versions of Foveal refuse. Its bytes
            may differ with the version of liblzma; what is read from them does not.

    Raises:
        ArtifactError: a weight is of an unsupported dtype, the tokenizer does not give texts of the card's
            length, or the file cannot be written.
    """
    path = Path(path)
    if artifact.tokenizer is not None and artifact.card.prompt is not None:
        try:
            check_tokenizer(artifact.tokenizer, artifact.card.prompt.length)
        except ValueError as error:
            raise ArtifactError(f"{path}: cannot be written: {error}") from error
    weights, load_as = _stored_weights(path, artifact, store_float16)
    coding: dict[str, Any] = {_LOAD_AS: load_as} if load_as else {}
    if compact:
        try:
            parts, sizes = pack_parts(
                Contents(artifact.graph, artifact.tokenizer, weights), load_as, MAX_BYTES
            )
        except ValueError as error:
            raise ArtifactError(f"{path}: cannot be written compactly: {error}") from error
        tensors, coding = {name: _as_tensor(part) for name, part in parts.items()}, {_BYTES: sizes}
    else:
        tensors = _plain_tensors(artifact, weights)
    metadata = {
        "format": FORMAT,
        "format_version": str(_COMPACT if compact else _PLAIN),
        "card": artifact.card.to_json(),
        "coding": json.dumps(coding, sort_keys=True),
    }
    metadata["sha256"] = checksum(metadata, tensors)
    try:
        replace_file(path, pack(metadata, tensors))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be written: {error.strerror or error}") from error


def _stored_weights(
    path: Path, artifact: Artifact, store_float16: bool
) -> tuple[dict[str, Array], dict[str, str]]:
    """Weights in the dtypes of the file, and the dtypes to read them as where those are others."""
    weights: dict[str, Array] = {}
    load_as: dict[str, str] = {}
    for name, value in artifact.weights.items():
        if value.dtype.name not in SUPPORTED_DTYPES:
            raise ArtifactError(
                f"{path}: weight {name!r} is of {value.dtype}, known are {', '.join(SUPPORTED_DTYPES)}"
            )
        weights[name] = np.asarray(value, value.dtype.newbyteorder("<"))
        if store_float16 and _fits_half(value):
            weights[name] = weights[name].astype(np.float16)
            load_as[name] = value.dtype.name
    return weights, load_as


def _plain_tensors(artifact: Artifact, weights: Mapping[str, Array]) -> dict[str, Array]:
    tensors = {GRAPH: _as_tensor(artifact.graph)}
    if artifact.tokenizer is not None:
        tensors[TOKENIZER] = _as_tensor(artifact.tokenizer)
    return tensors | {_WEIGHT + name: value for name, value in weights.items()}


def _as_tensor(content: bytes) -> Array:
    return np.frombuffer(content, np.uint8)


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
    content = read_file(path)
    metadata = _read_metadata(path, content)
    read = {_PLAIN: _read_plain, _COMPACT: _read_compact}[_read_version(path, metadata)]
    try:
        tensors: dict[str, Array] = safetensors.numpy.load(content)
        if checksum(metadata, tensors) != metadata["sha256"]:
            raise ValueError("its checksum does not match")
        return read(path, metadata, tensors)
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise CorruptArtifactError(f"{path}: the model file is damaged ({error}); fetch it again") from error


def _read_plain(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> Artifact:
    """Make the artifact of a file of version 1."""
    card = Card.from_json(metadata["card"])
    load_as: dict[str, str] = _read_coding(path, metadata["coding"], _LOAD_AS)
    if not set(load_as.values()) <= {"float32"}:
        raise ValueError("weights are to be loaded as an unknown type")
    weights: dict[str, Array] = {}
    for part, value in tensors.items():
        if part.startswith(_WEIGHT):
            name = part.removeprefix(_WEIGHT)
            weights[name] = value.astype(load_as.get(name, value.dtype), copy=False)
        elif part not in (GRAPH, TOKENIZER):
            raise ValueError(f"unknown part {part!r}")
    tokenizer = tensors[TOKENIZER].tobytes() if TOKENIZER in tensors else None
    return Artifact(card=card, graph=tensors[GRAPH].tobytes(), weights=weights, tokenizer=tokenizer)


def _read_compact(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> Artifact:
    """Make the artifact of a file of version 2."""
    card = Card.from_json(metadata["card"])
    sizes = _read_coding(path, metadata["coding"], _BYTES)
    contents = unpack_parts({name: value.tobytes() for name, value in tensors.items()}, sizes, MAX_BYTES)
    return Artifact(card=card, graph=contents.graph, weights=contents.weights, tokenizer=contents.tokenizer)


def _fits_half(value: Array) -> bool:
    if value.dtype != np.float32 or value.size < LEAST_LARGE:
        return False
    return bool(np.abs(value).max() <= _LARGEST_HALF)


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


def _read_version(path: Path, metadata: Mapping[str, str]) -> int:
    version = metadata.get("format_version", "")
    if not version.isascii() or not version.isdigit() or len(version) > 6 or int(version) < 1:
        raise CorruptArtifactError(
            f"{path}: the model file is damaged (format version {version[:20]!r}); fetch it again"
        )
    if int(version) > FORMAT_VERSION:
        raise _newer(path, f"format version {int(version)}, this one reads {FORMAT_VERSION}")
    return int(version)


def _read_coding(path: Path, text: str, known: str) -> dict[str, Any]:
    """What the coding says under its one known heading; anything else is of a newer Foveal."""
    coding = json.loads(text)
    if not isinstance(coding, dict) or not isinstance(coding.get(known, {}), dict):
        raise ValueError("its coding is not a JSON object")
    unknown = set(coding) - {known}
    if unknown:
        raise _newer(path, f"weights coded with {', '.join(sorted(unknown))}")
    found: dict[str, Any] = coding.get(known, {})
    return found


def _newer(path: Path, why: str) -> ForeignArtifactError:
    return ForeignArtifactError(f"{path}: written by a newer Foveal ({why}); pip install --upgrade foveal")
