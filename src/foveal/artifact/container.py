"""What model files of every kind have in common: safetensors, laid out always alike, with a checksum."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foveal.artifact.onnx_wire import Array
from foveal.errors import ArtifactError, UnknownModelError

MAX_BYTES = 2**30
"""A larger file is refused unread, and one whose contents would be larger before they are made."""
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


def checksum(metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> str:
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


def pack(metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> bytes:
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


def read_file(path: Path) -> bytes:
    """All bytes of a model file.

    Raises:
        UnknownModelError: there is no such file.
        ArtifactError: it is no file, larger than ``MAX_BYTES``, or cannot be read.
    """
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


def replace_file(path: Path, content: bytes) -> None:
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
