from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foveal.errors import MissingExtraError, RatingsError
from foveal.ratings.matlab import MOST_VALUES, read_names, read_vector, variables


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mat") / "x.mat"


@settings(deadline=None, max_examples=25)
@given(
    values=arrays(np.float64, st.integers(1, 20), elements=st.floats(allow_nan=False)),
    column=st.booleans(),
    squeezed=st.booleans(),
)
def test_numbers_come_back_whichever_way_they_lie(
    scratch: Path, values: np.ndarray, column: bool, squeezed: bool
) -> None:
    scipy.io.savemat(scratch, {"a": values[:, None] if column else values[None]}, do_compression=squeezed)
    np.testing.assert_array_equal(read_vector(scratch, "a"), values)


@settings(deadline=None, max_examples=25)
@given(
    names=st.lists(st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1), min_size=1)
)
def test_names_come_back_from_cells(scratch: Path, names: list[str]) -> None:
    cells = np.empty((len(names), 1), object)
    cells[:, 0] = names
    scipy.io.savemat(scratch, {"names": cells})
    assert read_names(scratch, "names") == tuple(names)


def test_names_in_cells_within_cells_and_in_padded_rows(tmp_path: Path) -> None:
    inner = np.empty((1, 1), object)
    inner[0, 0] = "a.bmp"
    outer = np.empty((2, 1), object)
    outer[0, 0], outer[1, 0] = inner, "b.bmp"
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, {"cells": outer, "rows": np.array(["a.bmp  ", "bb.bmp "])})
    assert read_names(path, "cells") == ("a.bmp", "b.bmp")
    assert read_names(path, "rows") == ("a.bmp", "bb.bmp")


def test_shapes_are_told_without_the_values(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, {"a": np.zeros((2, 3)), "b": np.zeros((1, 4), np.uint8)})
    assert variables(path) == {"a": (2, 3), "b": (1, 4)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"b": [1.0]}, "there is no variable 'a'; there are b"),
        ({"a": np.zeros((2, 3))}, r"a has the shape \(2, 3\), expected one row or one column"),
        ({"a": np.array([1j, 2])}, "a holds complex128, expected real numbers"),
        ({"a": "text"}, "expected real numbers"),
    ],
)
def test_what_is_no_vector_of_numbers_is_refused(tmp_path: Path, content: dict, message: str) -> None:
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, content)
    with pytest.raises(RatingsError, match=message):
        read_vector(path, "a")


def test_a_number_is_no_name(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, {"a": np.array([[1.0, 2.0]])})
    with pytest.raises(RatingsError, match="a, entry 1 is not a text"):
        read_names(path, "a")


def test_files_that_are_missing_cut_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    with pytest.raises(RatingsError, match=r"x.mat: there is no such file"):
        read_vector(path, "a")
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"a": np.arange(1000.0)}, do_compression=True)
    whole = stream.getvalue()
    for content in (b"", b"nonsense", whole[:100], whole[: len(whole) // 2], b"\x00" * 4096):
        path.write_bytes(content)
        with pytest.raises(RatingsError, match=r"x.mat: "):
            read_vector(path, "a")


def test_version_7_3_is_named(tmp_path: Path) -> None:
    # The header of a MAT file of version 7.3: 124 bytes of text, version 0x0200, byte order.
    path = tmp_path / "x.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x00" * 384)
    with pytest.raises(RatingsError, match=r"version 7.3, which is HDF5; .*-v7"):
        variables(path)


def test_unreasonably_many_values_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, {"a": np.zeros(MOST_VALUES + 1, np.uint8)}, do_compression=True)
    with pytest.raises(RatingsError, match=f"a holds {MOST_VALUES + 1} values"):
        read_vector(path, "a")


def test_without_scipy_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(MissingExtraError, match=r"dmos.mat: reading MAT .*foveal\[evaluation\]"):
        read_vector(tmp_path / "dmos.mat", "a")
