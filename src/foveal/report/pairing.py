"""Which images of two folders belong together: those of one relative path, whatever their suffix."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from foveal.pipeline.discover import discover

_Files = dict[str, str]
"""Path by name within the folder, with suffix and forward slashes."""


@dataclass(frozen=True, slots=True)
class Partners:
    """Two images that are compared.

    Attributes:
        name: what both are called.
        old: path of the one.
        new: path of the other.
    """

    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Pairing:
    """Images of two sides.

    Attributes:
        pairs: in the order of their names.
        only_old: paths of images on the one side without a partner, sorted.
        only_new: paths of images on the other side without a partner, sorted.
    """

    pairs: tuple[Partners, ...]
    only_old: tuple[str, ...] = ()
    only_new: tuple[str, ...] = ()


def pair_folders(old: str, new: str) -> Pairing:
    """Pair the images of two folders, searched to any depth.

    Images of the same relative path belong together. What is left pairs by relative path without suffix, so
    that ``a.png`` meets ``a.jpg``, if there is only one such image on either side; with more of them it would
    be a guess which are meant, and they stay alone.

    Raises:
        ImageNotFoundError: a folder holds no image.
    """
    sides = (_files(old), _files(new))
    pairs = {name: Partners(name, sides[0].pop(name), sides[1].pop(name)) for name in _shared(*sides)}
    stems = (_by_stem(sides[0]), _by_stem(sides[1]))
    for stem in _shared(*stems):
        (first, *more), (second, *others) = stems[0][stem], stems[1][stem]
        if not (more or others):
            pairs[stem] = Partners(stem, sides[0].pop(first), sides[1].pop(second))
    alone = (tuple(side[name] for name in sorted(side)) for side in sides)
    return Pairing(tuple(pairs[name] for name in sorted(pairs)), *alone)


def pair_with_itself(paths: Iterable[str]) -> Pairing:
    """Pair every image with itself, for two models that judge the same ones."""
    return Pairing(tuple(Partners(path, path, path) for path in paths))


def _files(folder: str) -> _Files:
    return {PurePath(os.path.relpath(path, folder)).as_posix(): path for path in discover([folder])}


def _by_stem(files: _Files) -> dict[str, list[str]]:
    stems: dict[str, list[str]] = {}
    for name in files:
        stems.setdefault(PurePath(name).with_suffix("").as_posix(), []).append(name)
    return stems


def _shared(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return [name for name in old if name in new]
