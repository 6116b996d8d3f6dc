"""From a name to a folder of safe files: a path, a well-known name, or an explicit Hub id."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.errors import (
    IncompleteBackboneError,
    MissingExtraError,
    UnknownBackboneError,
    UnsafeWeightsError,
)
from foveal.lab.backbones.card import stated_licence
from foveal.lab.backbones.json_file import read_json
from foveal.lab.backbones.known import KNOWN, KnownBackbone

SAFE_FILES = (
    "README.md",
    "config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
)
"""All that is ever taken from the Hub: no pickles, no code."""

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SHA256 = re.compile("[0-9a-f]{64}")
_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Source:
    """A folder that holds a backbone, and what is known of where it comes from."""

    name: str
    folder: Path
    licence: str
    origin: str
    paper: str = ""
    revision: str | None = None

    def read_config(self) -> dict[str, Any]:
        """Read ``config.json``.

        Raises:
            IncompleteBackboneError: it is missing or not a JSON object.
        """
        return read_json(self.folder / "config.json", "it says which model this is")


def locate(name_or_folder: str | os.PathLike[str], revision: str | None = None) -> Source:
    """Find the folder of a backbone, fetching it from the Hub if a name of the Hub was given.

    Args:
        name_or_folder: a folder, a name of :data:`~foveal.lab.backbones.known.KNOWN`, or ``owner/model``.
            A folder that exists wins over a name.
        revision: branch, tag or commit on the Hub; by default the one that the table pins.

    Raises:
        UnknownBackboneError: no such folder or name, or the Hub does not give it.
        UnsafeWeightsError: there are only pickled weights.
        IncompleteBackboneError: configuration or weights are missing, or came damaged from the Hub.
    """
    folder = Path(name_or_folder).expanduser()
    name = os.fspath(name_or_folder)
    if folder.is_dir():
        if revision is not None:
            raise UnknownBackboneError(f"{name}: a folder has no revision; leave out revision={revision!r}")
        source = Source(name, folder, stated_licence(folder), str(folder))
    elif isinstance(name_or_folder, str) and name in KNOWN:
        source = _fetch(name, KNOWN[name], revision or KNOWN[name].revision)
    elif _is_hub_id(name_or_folder):
        known = next((known for known in KNOWN.values() if known.hub_id == name), None)
        source = _fetch(
            name, known or KnownBackbone(name, "", ""), revision or (known.revision if known else None)
        )
    else:
        raise UnknownBackboneError(
            f"{name}: no folder lies there and no backbone has this name; give a folder in the layout of "
            f"transformers, a Hub id (owner/model), or one of {', '.join(KNOWN)}"
        )
    _require_safe_weights(source)
    return source


def weight_files(folder: Path) -> list[Path]:
    """List the safetensors files of a model, one or several shards, sorted."""
    return sorted({*folder.glob("model.safetensors"), *folder.glob("model-*-of-*.safetensors")})


def _is_hub_id(name_or_folder: str | os.PathLike[str]) -> bool:
    """Tell an explicit Hub id from a path with a typing error, which must not reach the network."""
    return (
        isinstance(name_or_folder, str)
        and _HUB_ID.fullmatch(name_or_folder) is not None
        and not Path(name_or_folder).parent.is_dir()
    )


def _fetch(name: str, known: KnownBackbone, revision: str | None) -> Source:
    """Bring the safe files of a Hub repository into the local cache, whole or not at all."""
    try:
        from huggingface_hub import constants, snapshot_download
    except ImportError as error:
        raise MissingExtraError("A backbone from the Hub", "lab") from error
    blobs = Path(constants.HF_HUB_CACHE) / f"models--{known.hub_id.replace('/', '--')}" / "blobs"
    before = set(blobs.glob("*"))
    damaged: set[str] = set()
    try:
        try:
            folder = Path(snapshot_download(known.hub_id, revision=revision, allow_patterns=list(SAFE_FILES)))
        finally:
            damaged = remove_damaged(set(blobs.glob("*")) - before)
    except Exception as error:  # of the client, of the HTTP library below it, of hf_xet, of the system
        at = f" at revision {revision}" if revision else ""
        raise UnknownBackboneError(
            f"{name}: no such folder, and {known.hub_id}{at} cannot be had from the Hub "
            f"({' '.join(str(error).split())}); {_advise(error, known.hub_id)}"
        ) from error
    if damaged:
        files = sorted(path.name for path in folder.iterdir() if _blob_name(path) in damaged)
        raise IncompleteBackboneError(
            f"{name}: {', '.join(files)} came damaged: the SHA-256 is not the one that the Hub states; what "
            f"came has been deleted, so try again, and look at proxy and mirror (HF_ENDPOINT is "
            f"{constants.ENDPOINT}) if it comes damaged again"
        )
    return Source(
        name=name,
        folder=folder,
        licence=known.licence or stated_licence(folder),
        origin=f"{_HUB}/{known.hub_id}",
        paper=f"https://arxiv.org/abs/{known.paper}" if known.paper else "",
        # The cache keeps every commit in a folder of its own, whichever branch was asked for.
        revision=folder.name,
    )


def remove_damaged(blobs: Iterable[Path]) -> set[str]:
    """Delete files of the Hub's cache that are not what their name says, and return those names.

    The client compares sizes only. It names large files by the SHA-256 that the server states for them; small
    ones by another sum, and where links are not supported (Windows) by none: those are not checked.
    """
    damaged = set()
    for blob in blobs:
        if _SHA256.fullmatch(blob.name) and blob.is_file():
            with blob.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != blob.name:
                blob.unlink()
                damaged.add(blob.name)
    return damaged


def _blob_name(path: Path) -> str:
    """Name of the file in the Hub's cache that a file of a snapshot links to; empty if it is no link."""
    return path.readlink().name if path.is_symlink() else ""


def _advise(error: Exception, hub_id: str) -> str:
    """Say what to do about an error of the Hub's client."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if constants.HF_HUB_OFFLINE:
        return "offline mode is on (HF_HUB_OFFLINE): unset it and load this once, or give a folder"
    if isinstance(error, GatedRepoError):
        return f"accept its licence at {_HUB}/{hub_id}, then log in (hf auth login, or HF_TOKEN)"
    if isinstance(error, RevisionNotFoundError):
        return "check the revision: a branch, a tag, a whole commit, or refs/pr/NUMBER"
    if isinstance(error, RepositoryNotFoundError):
        return "check the spelling; if it is private, log in (hf auth login, or HF_TOKEN)"
    return "check the network, and HF_ENDPOINT if you set it, then try again: nothing half-fetched is used"


def _require_safe_weights(source: Source) -> None:
    if weight_files(source.folder):
        return
    pickles = sorted(path.name for pattern in _PICKLES for path in source.folder.glob(pattern))
    if pickles:
        raise UnsafeWeightsError(
            f"{source.name}: the weights are there only as a pickle ({pickles[0]}), which may run code when "
            "it is read; convert it to model.safetensors where you trust its origin"
        )
    raise IncompleteBackboneError(
        f"{source.name}: no model.safetensors in {source.folder}; pickles are never read, but on the Hub "
        "another revision may have safetensors: look for a pull request by the conversion bot, and give its "
        "revision (refs/pr/NUMBER)"
    )
