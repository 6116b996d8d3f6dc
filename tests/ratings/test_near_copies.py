from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from foveal.ratings.near_copies import near_copy_groups


def oracle(names: list[str], features: NDArray[np.float64], threshold: float) -> tuple[str, ...]:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    _, component = connected_components(unit @ unit.T > threshold, directed=False)
    first = {
        label: min(n for n, c in zip(names, component, strict=True) if c == label) for label in component
    }
    return tuple(first[label] for label in component)


def scattered(n: int, seed: int, d: int = 6) -> tuple[list[str], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return [f"{index:05}.jpg" for index in rng.permutation(n)], rng.normal(size=(n, d))


@given(n=st.integers(1, 40), seed=st.integers(0, 10_000), threshold=st.floats(0.3, 0.99))
def test_groups_are_the_connected_components_of_nearness(n: int, seed: int, threshold: float) -> None:
    names, features = scattered(n, seed, d=3)
    assert near_copy_groups(names, features, threshold) == oracle(names, features, threshold)


def test_groups_reach_across_blocks() -> None:
    # 2,500 rows are three blocks; every third of a chain lies in another one.
    names, features = scattered(2500, 1, d=24)
    features[[10, 1100, 2400]] = features[10]
    features[[20, 2499]] = features[20] * [[1.0], [7.0]]
    assert near_copy_groups(names, features, 0.95) == oracle(names, features, 0.95)


def test_order_does_not_matter() -> None:
    names, features = scattered(60, 2, d=3)
    expected = dict(zip(names, near_copy_groups(names, features, 0.9), strict=True))
    backwards = near_copy_groups(names[::-1], features[::-1], 0.9)
    assert dict(zip(names[::-1], backwards, strict=True)) == expected


def test_identical_images_are_one_group_and_opposite_ones_are_not() -> None:
    same = np.tile([1.0, 2.0, 3.0], (1500, 1))
    names = [f"{index:04}" for index in range(1500)]
    assert set(near_copy_groups(names, same, 0.99)) == {"0000"}
    assert near_copy_groups(["a", "b"], [[1.0, 0.0], [-1.0, 0.0]], 0.99) == ("a", "b")


def test_memory_does_not_grow_with_the_square() -> None:
    # All pairs of 6,000 images in float32 would take 144 MB.
    names, features = scattered(6000, 3, d=16)
    tracemalloc.start()
    near_copy_groups(names, features.astype(np.float32), 0.999)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80e6


@pytest.mark.parametrize(
    ("features", "threshold", "message"),
    [
        ([[1.0], [np.nan]], 0.9, "features of b are not finite"),
        ([[1.0], [0.0]], 0.9, "features of b are all zero"),
        ([[1.0]], 0.9, r"expected \(2, d\)"),
        ([1.0, 2.0], 0.9, r"expected \(2, d\)"),
        ([[1.0], [2.0]], 1.5, "threshold"),
        ([[1.0], [2.0]], float("nan"), "threshold"),
    ],
)
def test_unfit_features_are_refused(features: object, threshold: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        near_copy_groups(["a", "b"], np.array(features), threshold)


def test_repeated_names_are_refused() -> None:
    with pytest.raises(ValueError, match="not unique"):
        near_copy_groups(["a", "a"], [[1.0], [2.0]], 0.9)
