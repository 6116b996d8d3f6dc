"""The ordered map: order, laziness, and an end without threads left."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.runtime.ordered import ordered_map


def threads_of_ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("foveal")]


@given(st.lists(st.integers(), max_size=40), st.integers(1, 4), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_like_map(items: list[int], workers: int, ahead: int) -> None:
    assert list(ordered_map(lambda item: item * 2, items, workers=workers, ahead=ahead)) == [
        i * 2 for i in items
    ]


def test_order_is_kept_though_items_take_different_times() -> None:
    rng = random.Random(0)
    delays = [rng.uniform(0, 0.01) for _ in range(40)]

    def wait(item: int) -> int:
        time.sleep(delays[item])
        return item

    assert list(ordered_map(wait, range(40), workers=4, ahead=8)) == list(range(40))


def test_works_in_parallel() -> None:
    meeting = threading.Barrier(3, timeout=10)
    # Three calls wait for one another: none would return if they ran one by one.
    assert len(list(ordered_map(lambda _: meeting.wait(), range(3), workers=3, ahead=3))) == 3


@pytest.mark.parametrize("ahead", [1, 3, 8])
def test_items_are_taken_lazily(ahead: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    results = ordered_map(lambda item: item, items(), workers=2, ahead=ahead)
    assert taken == 0
    for given_back, _ in enumerate(results):
        assert taken - given_back <= ahead


def test_an_error_comes_in_its_place_and_ends_all() -> None:
    def fail_at_five(item: int) -> int:
        if item == 5:
            raise KeyError("five")
        return item

    results = ordered_map(fail_at_five, range(1000), workers=2, ahead=8)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError, match="five"):
        next(results)
    assert not threads_of_ours()


def test_an_error_of_the_items_is_raised() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the list broke off")

    with pytest.raises(OSError, match="broke off"):
        list(ordered_map(lambda item: item, items(), workers=2, ahead=4))
    assert not threads_of_ours()


@pytest.mark.parametrize("how", ["close", "drop", "exhaust"])
def test_no_threads_are_left(how: str) -> None:
    results = ordered_map(lambda item: item, range(20), workers=3, ahead=6)
    next(results)
    assert threads_of_ours()
    if how == "close":
        results.close()
    elif how == "exhaust":
        list(results)
    del results
    assert not threads_of_ours()


def test_waiting_items_are_dropped_when_the_caller_stops() -> None:
    calls: list[int] = []
    gate = threading.Event()

    def work(item: int) -> int:
        calls.append(item)
        if item:
            gate.wait(10)
        return item

    results = ordered_map(work, range(50), workers=1, ahead=20)
    assert next(results) == 0
    threading.Timer(0.05, gate.set).start()
    results.close()
    assert len(calls) <= 3
