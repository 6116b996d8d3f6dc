"""Measure contestants side by side, in rounds: a machine that drifts then drifts for all of them."""

from __future__ import annotations

import random
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TypeVar

from _common import progress
from foveal.runtime.ordered import ordered_map

_Item = TypeVar("_Item")
Rates = dict[str, list[float]]
"""Images per second of each contestant, round by round."""


@dataclass(frozen=True)
class Contestant:
    """Something that works through images.

    Attributes:
        name: what the table calls it; unique.
        threads: that it works on.
        run: works through this many images.
        step: the number of images is a multiple of this: a batch.
    """

    name: str
    threads: int
    run: Callable[[int], None]
    step: int = 1


@dataclass(frozen=True)
class Figure:
    """Median and extremes over the rounds."""

    median: float
    low: float
    high: float


def race(
    contestants: Sequence[Contestant],
    *,
    rounds: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Rates:
    """Let all contestants run once in each round, in an order that changes.

    Args:
        contestants: at least one.
        rounds: how often each runs.
        seconds: about how long each runs in a round.
        clock: tells the time in seconds.

    Returns:
        Images per second.
    """
    counts = {}
    for contestant in contestants:
        contestant.run(contestant.step)  # the first run sets up caches and thread pools
        counts[contestant.name] = images_for(contestant, seconds, clock)
    rates: Rates = {contestant.name: [] for contestant in contestants}
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for contestant in random.Random(number).sample(contestants, len(contestants)):
            rates[contestant.name].append(_rate(contestant, counts[contestant.name], clock))
    return rates


def images_for(contestant: Contestant, seconds: float, clock: Callable[[], float]) -> int:
    """How many images keep a contestant busy for about so long: found by trying, doubled until it counts."""
    count = contestant.step
    while True:
        rate = _rate(contestant, count, clock)
        if count / rate >= seconds / 4:
            return max(1, round(rate * seconds / contestant.step)) * contestant.step
        count *= 2


def _rate(contestant: Contestant, count: int, clock: Callable[[], float]) -> float:
    start = clock()
    contestant.run(count)
    return count / (clock() - start)


def figure(values: Iterable[float]) -> Figure:
    """Summarise what was measured several times."""
    values = list(values)
    return Figure(statistics.median(values), min(values), max(values))


def ratio(rates: Rates, first: str, second: str) -> Figure:
    """How many times faster the first is than the second, round by round."""
    return figure(a / b for a, b in zip(rates[first], rates[second], strict=True))


def fastest(rates: Rates, names: Iterable[str]) -> str:
    """The contestant with the highest median."""
    return max(names, key=lambda name: statistics.median(rates[name]))


def taken(items: Sequence[_Item], count: int) -> Iterator[_Item]:
    """So many items, from the start again when they run out."""
    return islice(cycle(items), count)


def on_threads(function: Callable[[_Item], object], items: Iterable[_Item], threads: int) -> None:
    """Apply a function on several threads as an assessor's stream does, results thrown away."""
    exhaust(ordered_map(function, items, workers=threads, ahead=3 * threads))


def exhaust(items: Iterable[object]) -> None:
    """Take all items and keep none."""
    deque(items, maxlen=0)
