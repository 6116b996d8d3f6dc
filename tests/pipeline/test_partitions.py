"""Partitions: nothing lost, nothing invented, names that depend on the images alone."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.pipeline.partitions import Partition, partitions

# Names as file systems have them, stray bytes included (they come as lone surrogates).
NAMES = st.text(st.characters(exclude_categories=())).filter(bool)
ITEMS = st.lists(st.tuples(NAMES, st.none() | st.text()))


@settings(deadline=None)
@given(items=ITEMS, size=st.integers(1, 9))
def test_every_image_is_in_one_partition_in_its_place(items: list[tuple[str, str | None]], size: int) -> None:
    found = list(partitions(items, "base", size))
    pieces = [items[start : start + size] for start in range(0, len(items), size)]
    assert [list(one.items) for one in found] == [list(dict.fromkeys(piece)) for piece in pieces]


@settings(deadline=None)
@given(items=ITEMS, base=st.text())
def test_a_partition_survives_the_way_to_its_worker(items: list[tuple[str, str | None]], base: str) -> None:
    partition = Partition(base, tuple(items))
    again = Partition.from_json(partition.to_json())
    assert again == partition
    assert again.id == partition.id


@settings(deadline=None)
@given(left=ITEMS, right=ITEMS, bases=st.tuples(st.text(), st.text()))
def test_only_equal_images_have_equal_ids(
    left: list[tuple[str, str | None]], right: list[tuple[str, str | None]], bases: tuple[str, str]
) -> None:
    one, other = Partition(bases[0], tuple(left)), Partition(bases[1], tuple(right))
    assert (one.id == other.id) == (one == other)


def test_the_id_is_what_it_was_in_earlier_versions() -> None:
    """Computed by ``printf '{"base":"/data","items":[["a.jpg",null],["b.jpg","a fox"]]}' | sha256sum``."""
    partition = Partition("/data", (("a.jpg", None), ("b.jpg", "a fox")))
    assert partition.id == "f23f6986d388a2b1caf80d21ac2faceb"


def test_lists_without_end_are_cut_as_they_come() -> None:
    endless = ((f"{number}.jpg", None) for number in itertools.count())
    first, second = itertools.islice(partitions(endless, "", 3), 2)
    assert [name for name, _ in (*first.items, *second.items)] == [f"{number}.jpg" for number in range(6)]
