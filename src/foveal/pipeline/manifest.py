"""What a finished folder of partitions says of itself, and what makes two runs the same run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from foveal.errors import OutputError
from foveal.pipeline.part_files import part_name, partition_of, run_of
from foveal.pipeline.storage import Store

MANIFEST = "_manifest.json"
"""Name of the manifest. Readers of Parquet folders pass over names that start with an underscore."""

_FORMAT = "foveal-manifest-1"


@dataclass(frozen=True, slots=True)
class Run:
    """All that decides what the rows of an image are, and how images are put into partitions.

    Attributes:
        foveal: version of this package.
        model: assessor, ``name@version``.
        fingerprint: SHA-256 of its file.
        partition_size: images in a partition.
        max_pixels: larger images are refused.
        prompt: text that all images were made from; None where each has its own or none.
    """

    foveal: str
    model: str
    fingerprint: str
    partition_size: int
    max_pixels: int
    prompt: str | None = None

    def to_json(self) -> str:
        """ASCII, in a fixed order."""
        return json.dumps(asdict(self), sort_keys=True)

    def check(self, found: Any, address: str) -> None:
        """Make sure that what is there was written by this run.

        Args:
            found: values by name, as :meth:`to_json` gives them.
            address: where it was found, for the message.

        Raises:
            OutputError: it was written by another.
        """
        found = found if isinstance(found, dict) else {}
        for field in fields(self):
            then, now = found.get(field.name), getattr(self, field.name)
            if then != now:
                raise OutputError(
                    f"{address}: was written with {field.name} {_short(then)}, not with {_short(now)}; "
                    "go on with what it was begun with, or choose another folder or --overwrite"
                )


@dataclass(frozen=True, slots=True)
class Entry:
    """One partition in the manifest.

    Attributes:
        file: its name.
        rows: images in it.
        failures: those of them without a score.
        bytes: size of the file.
        sha256: of the file, as ``sha256sum`` gives it.
    """

    file: str
    rows: int
    failures: int
    bytes: int
    sha256: str


def manifest(run: Run, entries: Iterable[Entry]) -> bytes:
    """The manifest of a finished run; the same run on the same images gives the same bytes."""
    partitions = [asdict(entry) for entry in entries]
    content = {
        "format": _FORMAT,
        "run": asdict(run),
        "rows": sum(entry["rows"] for entry in partitions),
        "failures": sum(entry["failures"] for entry in partitions),
        "partitions": partitions,
    }
    return (json.dumps(content, indent=1) + "\n").encode("ascii")


def check_origin(store: Store, run: Run, found: Iterable[str]) -> None:
    """Make sure that a folder was written by this run: by its manifest and by one of its partitions.

    Damaged files are passed over: they will be written again.

    Args:
        store: the folder.
        run: who wants to go on.
        found: the ids of its partitions.

    Raises:
        OutputError: it was written by another run.
    """
    origin = _origin(store.read(MANIFEST) or b"")
    if origin is not None:
        run.check(origin, store.address)
    for partition in found:
        try:
            origin = json.loads(run_of(store.read(part_name(partition)) or b""))
        except ValueError:
            continue
        run.check(origin, store.address)
        return


def listed(store: Store) -> set[str]:
    """The ids of the partitions in a folder."""
    return {partition for name in store.names() if (partition := partition_of(name)) is not None}


def partition_files(store: Store) -> list[str]:
    """Names of the partitions' files: in the order of the manifest, or sorted where there is none yet.

    Raises:
        ValueError: the manifest is damaged.
    """
    content = store.read(MANIFEST)
    if content is None:
        return sorted(map(part_name, listed(store)))
    try:
        return [entry["file"] for entry in json.loads(content)["partitions"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{MANIFEST} is damaged") from error


def _origin(content: bytes) -> Any:
    """The run in a manifest; None where that is damaged."""
    try:
        return json.loads(content)["run"]
    except (ValueError, KeyError, TypeError):
        return None


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
