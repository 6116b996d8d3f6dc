"""How long a fleet takes for very many images: a small discrete simulation of ``foveal score --engine ray``.

Partitions are handed out one after another to whoever is free. A worker fetches, decodes, cuts views and runs
the engine side by side, so it is as fast as its slowest part; what all workers share, the store, is divided
among them. Workers die at random and begin their partition again. All times are in seconds, sizes in bytes.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass

_HOPELESS = 5.0
"""Mean lifetimes that a partition may take: one attempt in 150 lasts so long."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done.

    Attributes:
        images: how many.
        partition_size: images in a partition.
        image_bytes: mean size of a file.
        cpu_seconds: of one CPU for one image: decoding, views, engine.
        listing: before the first partition is handed out.
    """

    images: int
    partition_size: int
    image_bytes: float
    cpu_seconds: float
    listing: float = 0.0


@dataclass(frozen=True, slots=True)
class Machines:
    """What does it.

    Attributes:
        workers: processes.
        threads: CPUs of each.
        bandwidth: of the network, bytes per second for each worker.
        latency: of the store, from request to first byte.
        fetchers: requests that each worker has under way.
        store_requests: that the store answers in a second, for all.
        store_bandwidth: bytes per second of the store, for all.
        overhead: of a partition beside its images: looking whether it is there, writing it.
        dispatch: time of the driver for a partition; one after another.
        start: until a worker takes its first partition, and until a dead one is replaced.
        lifetime: mean time between two deaths of a worker.
        slow_share: share of the workers that are slow.
        slowness: how many times as long those take.
        spread: standard deviation of the logarithm of a partition's time.
    """

    workers: int
    threads: int = 1
    bandwidth: float = math.inf
    latency: float = 0.0
    fetchers: int = 8
    store_requests: float = math.inf
    store_bandwidth: float = math.inf
    overhead: float = 0.0
    dispatch: float = 0.0
    start: float = 0.0
    lifetime: float = math.inf
    slow_share: float = 0.0
    slowness: float = 1.0
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Simulated:
    """How it went.

    Attributes:
        seconds: from the first listing to the last partition.
        busy: seconds in which workers did what counted, summed over them.
        lost: seconds of work that died with its worker, summed likewise.
        deaths: of workers while they had a partition.
    """

    seconds: float
    busy: float
    lost: float
    deaths: int


def limits(work: Work, machines: Machines) -> dict[str, float]:
    """Images per second that each part of one worker allows; the smallest is the bottleneck.

    Returns:
        ``CPU``, ``network`` (of the worker), ``latency`` (requests under way), ``store`` (its share).
    """
    size = work.image_bytes
    fetch = machines.latency + size / machines.bandwidth
    store = min(machines.store_requests, _ratio(machines.store_bandwidth, size)) / machines.workers
    return {
        "CPU": _ratio(machines.threads, work.cpu_seconds),
        "network": _ratio(machines.bandwidth, size),
        "latency": _ratio(machines.fetchers, fetch),
        "store": store,
    }


def bottleneck(work: Work, machines: Machines) -> str:
    """What workers wait for: a part of :func:`limits`, or ``driver``, which hands out too slowly."""
    found = limits(work, machines)
    slowest = min(found, key=found.__getitem__)
    handed_out = _ratio(work.partition_size, machines.dispatch)
    return "driver" if handed_out < machines.workers * found[slowest] else slowest


def simulate(work: Work, machines: Machines, *, seed: int = 0) -> Simulated:
    """Let the fleet work.

    Args:
        work: what is to be done.
        machines: what does it.
        seed: of the chance in slow workers, times and deaths.

    Raises:
        ValueError: hardly any worker lives long enough for a partition: the work would never end.
    """
    chance = _Chance(machines, seed)
    rate = min(limits(work, machines).values())
    longest = (machines.overhead + _ratio(min(work.images, work.partition_size), rate)) * machines.slowness
    if longest > _HOPELESS * machines.lifetime:
        raise ValueError(
            f"a partition takes {longest:.0f} s, workers live for {machines.lifetime:.0f} s on average; make "
            "partitions smaller"
        )
    waiting = _Waiting(work)
    free = [(work.listing + machines.start, worker) for worker in range(machines.workers)]
    driver = end = busy = lost = 0.0
    deaths = 0
    while waiting:
        now, worker = heapq.heappop(free)
        images = waiting.take(now)
        if images is None:  # nothing to do until somebody dies
            heapq.heappush(free, (waiting.next_death, worker))
            continue
        begin = max(now, driver)
        driver = begin + machines.dispatch
        needed = chance.stretched(machines.overhead + _ratio(images, rate), worker)
        lived = chance.lifetime()
        if lived < needed:
            deaths, lost = deaths + 1, lost + lived
            waiting.give_back(begin + lived, images)
            heapq.heappush(free, (begin + lived + machines.start, worker))
        else:
            busy, end = busy + needed, max(end, begin + needed)
            heapq.heappush(free, (begin + needed, worker))
    return Simulated(end, busy, lost, deaths)


class _Chance:
    """What differs from worker to worker and from time to time."""

    def __init__(self, machines: Machines, seed: int) -> None:
        self._random = random.Random(seed)
        self._machines = machines
        count = round(machines.slow_share * machines.workers)
        self._slow = set(self._random.sample(range(machines.workers), count))

    def stretched(self, seconds: float, worker: int) -> float:
        """What a partition takes here and now."""
        spread = self._machines.spread
        luck = math.exp(self._random.gauss(0.0, spread)) if spread else 1.0
        return seconds * luck * (self._machines.slowness if worker in self._slow else 1.0)

    def lifetime(self) -> float:
        """Seconds until a worker dies; from any moment on, for deaths have no memory."""
        mean = self._machines.lifetime
        return self._random.expovariate(1 / mean) if mean < math.inf else math.inf


class _Waiting:
    """Partitions that nobody works on: untouched ones, and those whose worker dies at a known time."""

    def __init__(self, work: Work) -> None:
        self._size = work.partition_size
        self._whole, self._rest = divmod(work.images, work.partition_size)
        self._again: list[tuple[float, int]] = []

    def __bool__(self) -> bool:
        return bool(self._whole or self._rest or self._again)

    @property
    def next_death(self) -> float:
        """When the next partition comes back."""
        return self._again[0][0]

    def take(self, now: float) -> int | None:
        """Images of the next partition; None if there is none yet."""
        if self._again and self._again[0][0] <= now:
            return heapq.heappop(self._again)[1]
        if self._whole:
            self._whole -= 1
            return self._size
        rest, self._rest = self._rest, 0
        return rest or None

    def give_back(self, when: float, images: int) -> None:
        """Have a partition done again from that time on."""
        heapq.heappush(self._again, (when, images))


def _ratio(amount: float, divisor: float) -> float:
    """The quotient; without end where nothing is asked for or the amount has no end."""
    return amount / divisor if divisor else math.inf
