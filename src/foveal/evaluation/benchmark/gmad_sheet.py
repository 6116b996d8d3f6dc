"""The competition as a page of pictures: both images of each attack with what everybody says of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from foveal.errors import ImageError
from foveal.evaluation.benchmark.gmad import Duel
from foveal.evaluation.benchmark.outcome import Arena
from foveal.evaluation.benchmark.page import page
from foveal.evaluation.benchmark.rated_sets import RatedSet
from foveal.evaluation.pairs import Floats
from foveal.evaluation.tables import Cell, Table
from foveal.imaging.decode import decode

_JPEG_QUALITY = 85
_INTRODUCTION = (
    "In each box the defender holds two images for about equally good, and the attacker sees the largest "
    "difference between them. If you see it too, the attacker is right; if you do not, the defender is."
)


def gmad_sheet(arena: Arena, rated: RatedSet, *, target: str, side: int) -> str:
    """Make the page of one set.

    Args:
        arena: the competition.
        rated: the set.
        target: score column, for what people said.
        side: longer side of the pictures, in pixels.

    Returns:
        HTML with the pictures in it.
    """
    title = f"Competition on {rated.name}"
    boxes = _Boxes(arena, rated, rated.ratings.quality(target), side)
    parts = [f"<header><h1>{escape(title)}</h1><p>{escape(_INTRODUCTION)}</p></header><main>"]
    for (defender, attacker), duels in groupby(arena.duels, key=lambda duel: (duel.defender, duel.attacker)):
        parts.append(f"<section><h2>{escape(attacker)} attacks {escape(defender)}</h2>")
        parts.append(f'<div class="duels">{"".join(boxes.box(duel) for duel in duels)}</div></section>')
    return page(title, "\n".join([*parts, "</main>"]))


def gmad_table(arenas: Mapping[str, Arena], sets: Mapping[str, RatedSet], target: str) -> Table:
    """All attacks as a table, for programs.

    Returns:
        A row an attack: set, defender, attacker, level (from 1, the lowest), gap (in standard deviations of
        the attacker's scores), and of the image that the attacker prefers (better) and of the other (worse):
        name, both scores, and people's rating on the 1-5 scale.
    """
    rows: list[tuple[Cell, ...]] = []
    for name, arena in arenas.items():
        ratings = sets[name].ratings
        quality = ratings.quality(target)[arena.rows]
        for duel in arena.duels:
            row: list[Cell] = [name, duel.defender, duel.attacker, duel.level, duel.gap]
            for position in (duel.better, duel.worse):
                row.append(ratings.names[arena.rows[position]])
                row += [float(arena.scores[who][position]) for who in (duel.defender, duel.attacker)]
                row.append(float(quality[position]))
            rows.append(tuple(row))
    of_image = ("", "_defender", "_attacker", "_rated")
    headings = [f"{which}{what}" for which in ("better", "worse") for what in of_image]
    return Table(("set", "defender", "attacker", "level", "gap", *headings), tuple(rows))


class _Boxes:
    """Boxes of one page; each picture is made once."""

    def __init__(self, arena: Arena, rated: RatedSet, quality: Floats, side: int) -> None:
        self._arena = arena
        self._rated = rated
        self._quality = quality
        self._side = side
        self._thumbnails: dict[int, str] = {}

    def box(self, duel: Duel) -> str:
        """Both images of an attack."""
        shown = ((duel.better, "attacker prefers"), (duel.worse, "attacker likes less"))
        figures = "".join(self._figure(duel, position, words) for position, words in shown)
        return f'<div class="duel"><h3>Level {duel.level}</h3><div class="pair">{figures}</div></div>'

    def _figure(self, duel: Duel, position: int, words: str) -> str:
        row = int(self._arena.rows[position])
        name = self._rated.ratings.names[row]
        lines = [
            f"{words}: {name}",
            f"{duel.defender} (defends) {self._arena.scores[duel.defender][position]:.3f}",
            f"{duel.attacker} (attacks) {self._arena.scores[duel.attacker][position]:.3f}",
            f"people {self._quality[row]:.2f}",
        ]
        if row not in self._thumbnails:
            self._thumbnails[row] = _thumbnail(self._rated.ratings.images[row], self._side)
        source = self._thumbnails[row]
        picture = f'<img src="{source}" alt="{escape(name)}">' if source else "<p>cannot be decoded</p>"
        caption = "<br>".join(escape(line) for line in lines)
        return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _thumbnail(path: Path, side: int) -> str:
    """A small JPEG as a data URL; empty for an image that cannot be decoded (ready scores may be of such)."""
    try:
        pixels = decode(path).pixels
    except ImageError:
        return ""
    small = Image.fromarray(np.asarray(pixels))
    small.thumbnail((side, side))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
