"""Small pictures for a page: read again after scoring, so that nothing waits in memory meanwhile."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from PIL import Image

from foveal.explanation.picture import thumbnail
from foveal.imaging.decode import decode
from foveal.imaging.limits import Limits
from foveal.runtime.ordered import ordered_map

LONGEST = 160
"""Longer side of a thumbnail, in pixels."""

_JPEG_QUALITY = 82


@dataclass(slots=True)
class Album:
    """Pictures as they stand in a page's data.

    Attributes:
        pictures: JPEG as base64, by key.
        missing: how many could not be read any more.
        full: whether some were left out because they would have made the page too large.
    """

    pictures: dict[int, str] = field(default_factory=dict)
    missing: int = 0
    full: bool = False

    @property
    def size(self) -> int:
        """Characters of all pictures."""
        return sum(map(len, self.pictures.values()))


def jpeg(picture: Image.Image) -> str:
    """Encode a picture as base64; the same pixels always give the same text."""
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return base64.b64encode(written.getvalue()).decode("ascii")


def read_pictures(
    wanted: Sequence[tuple[int, str]],
    *,
    limits: Limits,
    budget: int,
    longest: int = LONGEST,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Album:
    """Read images again and make them small, upright and sRGB.

    Args:
        wanted: key and path of each, the most important first.
        limits: sizes of images that are accepted.
        budget: characters that all pictures may take together.
        longest: longer side, in pixels; nothing is enlarged.
        workers: threads that decode. The pictures do not depend on it.
        advance: called after each image.
    """

    def small(one: tuple[int, str]) -> str | None:
        try:
            return jpeg(thumbnail(decode(one[1], limits=limits).pixels, longest))
        except Exception:  # the score stands, however the file is gone: its picture is missing, no more
            return None

    album = Album()
    with closing(ordered_map(small, wanted, workers=workers, ahead=2 * workers)) as pictures:
        for (key, _), picture in zip(wanted, pictures, strict=True):
            if picture is None:
                album.missing += 1
            elif len(picture) > budget:
                album.full = True
                break
            else:
                budget -= len(picture)
                album.pictures[key] = picture
            advance()
    return album
