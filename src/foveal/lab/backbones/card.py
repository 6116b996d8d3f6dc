"""What a backbone is and where it comes from, for the cards of the models built on it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from foveal.lab.backbones.preprocessing import Preprocessing

UNKNOWN = "unknown"

_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)
_LICENCE = re.compile(r"^license:[ \t]*[\"']?([^\s\"'#]+)", re.MULTILINE)


@dataclass(frozen=True)
class BackboneCard:
    """Identity, origin and licence of a loaded backbone.

    Attributes:
        name: as it was asked for.
        part: ``vision`` or ``text``.
        family: kind of model, as ``model_type`` of its configuration says.
        parameters: number of weights of this part.
        width: features a token.
        depth: number of blocks.
        licence: as its makers state it; ``unknown`` when neither table nor model card says.
        origin: address of its repository; for a folder its path.
        paper: address of its paper, or empty.
        revision: commit of the repository; None for a folder.
        preprocessing: size, mean and standard deviation of its input; None for a text encoder.
    """

    name: str
    part: str
    family: str
    parameters: int
    width: int
    depth: int
    licence: str = UNKNOWN
    origin: str = UNKNOWN
    paper: str = ""
    revision: str | None = None
    preprocessing: Preprocessing | None = None


def stated_licence(folder: Path) -> str:
    """Read the licence from the front matter of a model card (``README.md``); ``unknown`` without one."""
    readme = folder / "README.md"
    if not readme.is_file():
        return UNKNOWN
    front_matter = _FRONT_MATTER.search(readme.read_text(encoding="utf-8", errors="replace"))
    licence = _LICENCE.search(front_matter[1]) if front_matter else None
    return licence[1] if licence else UNKNOWN
