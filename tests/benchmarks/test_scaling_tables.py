"""The tables of ``scaling.py`` from given rates: arithmetic that can be done by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

import scaling
from foveal.runtime.engine import available_cpus
from scaling import DECODE, ENGINE, SMALL, VIEWS, WHOLE, Kind, parse


@pytest.fixture
def kind() -> Kind:
    """One CPU takes 36 ms for an image of 50 kB; on all CPUs that is this rate."""
    cpus = available_cpus()
    return Kind(SMALL, 50.0, {DECODE: cpus * 100, VIEWS: cpus * 200, ENGINE: cpus * 400, WHOLE: cpus / 0.036})


def test_a_million_images(kind: Kind) -> None:
    """10**6 images of 36 ms are 10 CPU-hours; at 0.04 an hour 0.40; 1,000 times 1,000 requests, 50 GB."""
    (row,) = scaling.million_table([kind], parse([])).rows
    assert row == ("512 x 512, 50 kB", "10.0", "0.40", "0.40", "50", "0.10")


def test_rates_become_time_of_one_cpu(kind: Kind) -> None:
    rows = scaling.rate_table([kind], 0.25).rows
    assert [row[3] for row in rows] == ["10.00", "5.00", "2.50", "36.00", "250 (a partition)"]
    assert [row[4] for row in rows[:4]] == ["28%", "14%", "7%", "100%"]


def test_a_fleet_without_chance_is_arithmetic(kind: Kind) -> None:
    given = (
        "--images 1000000 --partition-size 1000 --fleets 100,1000 --listing 0 --start 0 --dispatch 0 "
        "--latency 0 --lifetime 0 --slow-share 0 --spread 0 --cpu-price 1 --get-price 0.001"
    )
    options = parse(given.split())
    machines = replace(scaling.machines_of(options, 0.0), bandwidth=math.inf, store_bandwidth=math.inf)
    first, second = scaling.fleet_table(kind, machines, options).rows
    # 100 CPUs: ten partitions each, of 36 s; 1000 CPUs: one each.
    assert first == ("100", "0.1", "2,778", "100.0%", "0.00%", "CPU", "10", "1")
    assert second == ("1,000", "0.0", "27,778", "100.0%", "0.00%", "CPU", "10", "1")


def test_the_bottleneck_moves(kind: Kind) -> None:
    rows = scaling.bottleneck_table([kind], parse(["--latency", "1000"])).rows
    assert [cell.split()[1] for cell in rows[2][2:]] == ["latency", "latency", "CPU"]
    assert float(str(rows[2][2]).split()[0]) == pytest.approx(1.0, abs=0.05)


def test_every_assumption_is_printed() -> None:
    given = (
        "--images 77 --partition-size 7 --bandwidth 11 --latency 12 --fetchers 13 --store-requests 14 "
        "--store-bandwidth 15 --dispatch 16 --start 17 --lifetime 18 --slow-share 0.19 --slowness 20 "
        "--spread 0.21 --listing 22"
    )
    options = parse(given.split())
    text = " ".join(scaling.assumptions(scaling.machines_of(options, 0.23), options))
    for value in (
        "77",
        "7,",
        "11",
        "12",
        "13",
        "14",
        "15",
        "16",
        "17",
        "18",
        "19%",
        "20",
        "21%",
        "22",
        "0.23",
    ):
        assert value in text
