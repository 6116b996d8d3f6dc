"""Every error survives the way between processes, with its message and what it knows."""

from __future__ import annotations

import pickle

import pytest

from foveal import errors
from foveal.errors import FovealError, ImageError, MissingExtraError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FovealError)]


def example(kind: type[FovealError]) -> FovealError:
    if issubclass(kind, ImageError):
        return kind("a.jpg", "is broken", "fetch it again")
    if issubclass(kind, MissingExtraError):
        return kind("a.heic: HEIC", "heic")
    return kind("x.csv: cannot be written")


@pytest.mark.parametrize("kind", KINDS)
def test_pickled_and_back(kind: type[FovealError]) -> None:
    error = example(kind)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(again) is kind
    assert str(again) == str(error)
    assert vars(again) == vars(error)
