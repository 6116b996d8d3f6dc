"""Which files of a set are images that can be read, without keeping any of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from foveal.errors import EmptyImageError, ImageError, MissingExtraError
from foveal.imaging.decode import DEFAULT_LIMITS, decode
from foveal.imaging.formats import open_picture
from foveal.imaging.sources import byte_stream
from foveal.runtime.ordered import ordered_map


def flaws(paths: Sequence[Path], *, whole: bool = False, workers: int | None = None) -> list[str]:
    """What is wrong with each file.

    Args:
        paths: n files that are there.
        whole: decode all pixels; otherwise only the header is read, and a file cut behind it passes.
        workers: threads; by default one for each CPU.

    Returns:
        n texts: empty for a sound image, ``empty`` for a file without bytes, else what a reader says of it.
    """
    threads = workers or os.cpu_count() or 1
    return list(ordered_map(partial(_flaw, whole=whole), paths, workers=threads, ahead=4 * threads))


def _flaw(path: Path, whole: bool) -> str:
    name = str(path)
    try:
        if whole:
            decode(path)
            return ""
        with byte_stream(path, name, DEFAULT_LIMITS) as stream:
            open_picture(stream, name, DEFAULT_LIMITS).close()
    except EmptyImageError:
        return "empty"
    except ImageError as error:
        return error.reason
    except MissingExtraError as error:
        return str(error).removeprefix(f"{name}: ")
    return ""
