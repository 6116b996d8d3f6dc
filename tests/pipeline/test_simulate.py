"""The simulated fleet: plain arithmetic where nothing is left to chance, known laws where something is."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.pipeline.simulate import Machines, Work, bottleneck, limits, simulate

WORK = Work(images=1000, partition_size=100, image_bytes=50_000, cpu_seconds=0.02)


def test_one_worker_without_network_and_deaths_is_plain_arithmetic() -> None:
    """1000 images of 20 ms and 10 partitions of 3 s more, after 5 s of listing and 7 s of starting."""
    found = simulate(replace(WORK, listing=5.0), Machines(workers=1, overhead=3.0, start=7.0))
    assert found.seconds == pytest.approx(5 + 7 + 1000 * 0.02 + 10 * 3)
    assert found.busy == pytest.approx(1000 * 0.02 + 10 * 3)
    assert (found.lost, found.deaths) == (0, 0)


@pytest.mark.parametrize(("workers", "rounds"), [(2, 5), (3, 4), (5, 2), (10, 1), (64, 1)])
def test_equal_partitions_are_done_in_rounds(workers: int, rounds: int) -> None:
    assert simulate(WORK, Machines(workers=workers)).seconds == pytest.approx(rounds * 100 * 0.02)


def test_the_last_partition_is_what_is_left() -> None:
    odd = replace(WORK, images=1001)
    assert simulate(odd, Machines(workers=1)).seconds == pytest.approx(1001 * 0.02)
    assert simulate(odd, Machines(workers=10)).seconds == pytest.approx(2 + 0.02)
    assert simulate(replace(WORK, images=0), Machines(workers=3)).seconds == 0


@pytest.mark.parametrize(
    ("machines", "part", "rate"),
    [
        (Machines(workers=1, threads=2), "CPU", 2 / 0.02),
        (Machines(workers=1, bandwidth=1e6), "network", 1e6 / 50_000),
        (Machines(workers=1, latency=1.0, fetchers=8), "latency", 8.0),
        (Machines(workers=1, latency=0.1, bandwidth=2.5e6, fetchers=4), "latency", 4 / 0.12),
        (Machines(workers=10, store_requests=100), "store", 10.0),
        (Machines(workers=10, store_bandwidth=5e6), "store", 10.0),
    ],
)
def test_a_worker_is_as_fast_as_its_slowest_part(machines: Machines, part: str, rate: float) -> None:
    found = limits(WORK, machines)
    assert found[part] == pytest.approx(rate)
    assert bottleneck(WORK, machines) == part
    expected = math.ceil(10 / machines.workers) * 100 / rate
    assert simulate(WORK, machines).seconds == pytest.approx(expected)


def test_a_driver_that_hands_out_slowly_is_the_bottleneck() -> None:
    machines = Machines(workers=10, dispatch=1.0)
    assert bottleneck(WORK, machines) == "driver"
    # The last of ten partitions is handed out after nine seconds and takes two.
    assert simulate(WORK, machines).seconds == pytest.approx(9 + 2)
    assert bottleneck(WORK, replace(machines, dispatch=0.1)) == "CPU"


def test_deaths_cost_what_the_exponential_law_says() -> None:
    """Mean time until t seconds pass without a death, deaths having the rate r and each costing a start of R.

    From the first death on all begins anew: T = P(no death) t + P(death) (mean time of death + R + T), which
    gives T = (1 / r + R) (exp(r t) - 1).
    """
    work = Work(images=100, partition_size=100, image_bytes=1, cpu_seconds=1.0)
    machines = Machines(workers=1, lifetime=80.0, start=0.0)
    expected = 80.0 * (math.exp(100 / 80.0) - 1)
    found = [simulate(work, machines, seed=seed) for seed in range(3000)]
    times = [one.seconds for one in found]
    error = statistics.stdev(times) / math.sqrt(len(times))
    assert abs(statistics.mean(times) - expected) < 4 * error
    assert all(one.seconds == pytest.approx(one.busy + one.lost) for one in found)
    slow = replace(machines, start=30.0)
    times = [simulate(work, slow, seed=seed).seconds - slow.start for seed in range(3000)]
    error = statistics.stdev(times) / math.sqrt(len(times))
    assert abs(statistics.mean(times) - (80.0 + 30.0) * (math.exp(100 / 80.0) - 1)) < 4 * error


def test_work_that_would_never_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"takes 100 s, workers live for 10 s on average; make partitions"):
        simulate(replace(WORK, cpu_seconds=1.0), Machines(workers=3, lifetime=10.0))


def test_slow_workers_hold_up_the_end() -> None:
    machines = Machines(workers=10, slow_share=0.1, slowness=5.0)
    assert simulate(WORK, machines).seconds == pytest.approx(5 * 2)
    smaller = simulate(replace(WORK, partition_size=10), machines)
    assert smaller.seconds < 3


MACHINES = st.builds(
    Machines,
    workers=st.integers(1, 9),
    threads=st.integers(1, 4),
    bandwidth=st.floats(1e5, 1e9),
    latency=st.floats(0, 0.5),
    fetchers=st.integers(1, 16),
    overhead=st.floats(0, 3),
    start=st.floats(0, 9),
    spread=st.floats(0, 0.5),
    slow_share=st.floats(0, 1),
    slowness=st.floats(1, 4),
)
WORKS = st.builds(
    Work,
    images=st.integers(1, 400),
    partition_size=st.integers(1, 60),
    image_bytes=st.floats(1e3, 1e6),
    cpu_seconds=st.floats(1e-3, 0.1),
)


@settings(deadline=None, max_examples=60)
@given(work=WORKS, machines=MACHINES, lifetime=st.sampled_from([math.inf, 20.0]), seed=st.integers(0, 9))
def test_no_work_is_lost_and_nobody_works_twice_at_once(
    work: Work, machines: Machines, lifetime: float, seed: int
) -> None:
    machines = replace(machines, lifetime=lifetime)
    try:
        found = simulate(work, machines, seed=seed)
    except ValueError:
        assert lifetime < math.inf
        return
    whole = machines.workers * (found.seconds - machines.start)
    assert found.busy <= whole * (1 + 1e-9)
    assert found == simulate(work, machines, seed=seed)
    if not machines.spread and lifetime == math.inf:
        partitions = math.ceil(work.images / work.partition_size)
        least = partitions * machines.overhead + work.images / min(limits(work, machines).values())
        assert found.busy >= least * (1 - 1e-9)


@settings(deadline=None, max_examples=60)
@given(work=WORKS, machines=MACHINES)
def test_handing_out_in_turn_is_no_worse_than_graham_says(work: Work, machines: Machines) -> None:
    """List scheduling on equal machines: at most total / m + longest (Graham 1966, theorem 1)."""
    machines = replace(machines, slow_share=0.0, spread=0.0, start=0.0)
    found = simulate(work, machines)
    rate = min(limits(work, machines).values())
    longest = machines.overhead + min(work.images, work.partition_size) / rate
    assert found.seconds <= found.busy / machines.workers + longest * (1 + 1e-9)
    assert found.seconds >= max(longest, found.busy / machines.workers) * (1 - 1e-9)


@settings(deadline=None, max_examples=40)
@given(work=WORKS, machines=MACHINES)
def test_one_worker_is_never_slower_with_more_of_anything(work: Work, machines: Machines) -> None:
    machines = replace(machines, workers=1)
    before = simulate(work, machines).seconds
    for change in ("bandwidth", "fetchers", "threads"):
        more = replace(machines, **{change: 2 * getattr(machines, change)})
        assert simulate(work, more).seconds <= before * (1 + 1e-9)
