"""What scoring very many images costs: rates measured here, and fleets simulated with them.

Four tables: what one image takes on this machine; a million images; very many images on fleets of several
sizes; and what a worker waits for, by size of image, network and requests under way. The first is measured,
the others are arithmetic and a simulation (foveal.pipeline.simulate) on it, with the assumptions that are
printed below them. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from _common import environment, load, make_parser, model_path, positive, progress, run, show
from _contestants import DECODE, VIEWS, decode_only, end_to_end, engine_only, views_only
from _photographs import large_photographs, mean_kilobytes, small_photographs
from _race import Contestant, figure, race
from foveal.evaluation.tables import Cell, Table
from foveal.imaging.decode import decode
from foveal.pipeline.part_files import Part, decode_part, encode_part
from foveal.pipeline.rows import Row
from foveal.pipeline.simulate import Machines, Work, bottleneck, limits, simulate
from foveal.pipeline.storage import LocalStore
from foveal.runtime.engine import available_cpus

SMALL, LARGE = "512 x 512", "12 MP"
ENGINE, WHOLE, PARTITION = "engine only", "foveal end to end", "files of partitions"
MILLION, HOUR, MEGABYTE = 1_000_000, 3600.0, 1e6
BANDWIDTHS, FETCHERS = (2.0, 10.0, 50.0), (1, 8, 32)
"""MB/s for each worker, and requests that it has under way, of the last table."""


@dataclass(frozen=True)
class Kind:
    """Photographs of one size.

    Attributes:
        name: what the tables call them.
        kilobytes: mean size of a file.
        rates: images per second by what was measured, on all CPUs.
    """

    name: str
    kilobytes: float
    rates: dict[str, float]

    def cpu_seconds(self, what: str = WHOLE) -> float:
        """Of one CPU for one image, all CPUs being busy."""
        return available_cpus() / self.rates[what]


def main() -> None:
    """Measure, simulate and print."""
    options = parse()
    model = model_path(options.model)
    with tempfile.TemporaryDirectory(prefix="foveal-scaling-") as work:
        kinds = [
            measured(SMALL, model, small_photographs(Path(work, "small"), options.count), options),
            measured(LARGE, model, large_photographs(Path(work, "large"), options.large_count), options),
        ]
        overhead = partition_seconds(Path(work), options)
    notes = [
        load(options.model).card.model,
        f"medians of {options.rounds} rounds; files in the page cache",
        environment("foveal", "numpy", "pillow", "openvino", "pyarrow"),
    ]
    show(rate_table(kinds, overhead), notes, markdown=options.markdown)
    machines = machines_of(options, overhead)
    show(million_table(kinds, options), [prices(options)], markdown=options.markdown)
    progress("simulating")
    fleets = fleet_table(kinds[0], machines, options)
    show(fleets, [*assumptions(machines, options), prices(options)], markdown=options.markdown)
    remark = f"latency {options.latency:g} ms; images/s of a worker with one CPU, and what it waits for"
    show(bottleneck_table(kinds, options), [remark], markdown=options.markdown)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--rounds", type=positive, default=5, metavar="N", help="turns of each (default: %(default)s)")
    add("--seconds", type=float, default=2.0, metavar="S", help="length of a turn (default: %(default)s)")
    add("--count", type=positive, default=60, metavar="N", help="small photographs (default: %(default)s)")
    add("--large-count", type=positive, default=8, metavar="N", help="large ones (default: %(default)s)")
    add("--images", type=positive, default=10**9, metavar="N", help="to simulate (default: %(default)s)")
    add("--partition-size", type=positive, default=10_000, metavar="N", help="(default: %(default)s)")
    add("--fleets", default="100,1000,10000", metavar="N,N", help="CPUs (default: %(default)s)")
    for name, default, what in (
        ("cpu-price", 0.04, "of a CPU for an hour"),
        ("get-price", 0.0004, "of 1,000 requests"),
        ("bandwidth", 50.0, "MB/s of the network for each worker"),
        ("latency", 30.0, "ms from request to first byte"),
        ("store-requests", 55_000.0, "requests per second that the store answers"),
        ("store-bandwidth", 100_000.0, "MB/s that the store gives"),
        ("dispatch", 2.0, "ms of the driver for a partition"),
        ("start", 120.0, "s until a worker works, and until a dead one is replaced"),
        ("lifetime", 24.0, "mean hours between two deaths of a worker"),
        ("slow-share", 0.02, "share of workers that are slow"),
        ("slowness", 3.0, "times as long that those take"),
        ("spread", 0.1, "standard deviation of the logarithm of a partition's time"),
        ("listing", 600.0, "s until all images are listed"),
    ):
        add(f"--{name}", type=float, default=default, metavar="X", help=f"{what} (default: %(default)s)")
    add("--fetchers", type=positive, default=8, metavar="N", help="requests at once (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.count, options.large_count = 2, 0.02, 3, 1
        options.images, options.fleets = 10**6, "10,100"
    return options


def measured(name: str, model: Path, files: Sequence[str], options: argparse.Namespace) -> Kind:
    """Rates on photographs of one size, all CPUs busy."""
    progress(f"photographs of {name}")
    assessor, pixels = load(str(model)), [decode(file).pixels for file in files]
    cpus = assessor.engine.threads
    racers: list[Contestant] = [
        decode_only(DECODE, files, cpus),
        views_only(assessor, pixels, cpus),
        engine_only(ENGINE, assessor, pixels),
        end_to_end(WHOLE, assessor, files),
    ]
    rates = race(racers, rounds=options.rounds, seconds=options.seconds)
    return Kind(name, mean_kilobytes(files), {what: figure(found).median for what, found in rates.items()})


def partition_seconds(folder: Path, options: argparse.Namespace) -> float:
    """What looking for a partition's file, writing it and reading it back takes beside its images."""
    store = LocalStore(str(folder / "out"))
    rows = tuple(
        Row(f"s3://bucket/photographs/{number:012d}.jpg", 1 + number / 1e4, 1.0, 5.0, "foveal@1")
        for number in range(options.partition_size)
    )
    count = [0]

    def write(images: int) -> None:
        for _ in range(images):
            count[0] += 1
            name = f"{count[0]}.parquet"
            store.read(name)
            store.write(name, encode_part(Part("0" * 32, "{}", rows)))
            decode_part(store.read(name) or b"")
            store.delete(name)

    rates = race([Contestant(PARTITION, 1, write)], rounds=options.rounds, seconds=options.seconds)
    return 1 / figure(rates[PARTITION]).median


def rate_table(kinds: Sequence[Kind], overhead: float) -> Table:
    """What was measured."""
    headings = ("measured", "photographs", "images/s", "CPU ms an image", "share")
    rows: list[tuple[Cell, ...]] = []
    for kind in kinds:
        for what in (DECODE, VIEWS, ENGINE, WHOLE):
            seconds, share = kind.cpu_seconds(what), kind.cpu_seconds(what) / kind.cpu_seconds()
            rows.append((what, kind.name, f"{kind.rates[what]:.1f}", f"{1e3 * seconds:.2f}", f"{share:.0%}"))
    rows.append(("writing and checking a partition", "", "", f"{1e3 * overhead:.0f} (a partition)", ""))
    return Table(headings, tuple(rows))


def million_table(kinds: Sequence[Kind], options: argparse.Namespace) -> Table:
    """Arithmetic for a million images."""
    headings = ("a million images", "CPU-hours", "cost of CPUs", "of requests", "GB", "hours on 100 CPUs")
    rows = []
    for kind in kinds:
        hours = MILLION * kind.cpu_seconds() / HOUR
        rows.append(
            (
                f"{kind.name}, {kind.kilobytes:.0f} kB",
                f"{hours:.1f}",
                f"{hours * options.cpu_price:.2f}",
                f"{MILLION / 1000 * options.get_price:.2f}",
                f"{MILLION * kind.kilobytes / 1e6:.0f}",
                f"{hours / 100:.2f}",
            )
        )
    return Table(headings, tuple(rows))


def machines_of(options: argparse.Namespace, overhead: float) -> Machines:
    """The assumed fleet, but for its size."""
    return Machines(
        workers=1,
        bandwidth=options.bandwidth * MEGABYTE,
        latency=options.latency / 1e3,
        fetchers=options.fetchers,
        store_requests=options.store_requests,
        store_bandwidth=options.store_bandwidth * MEGABYTE,
        overhead=overhead,
        dispatch=options.dispatch / 1e3,
        start=options.start,
        lifetime=options.lifetime * HOUR if options.lifetime else math.inf,
        slow_share=options.slow_share,
        slowness=options.slowness,
        spread=options.spread,
    )


def fleet_table(kind: Kind, machines: Machines, options: argparse.Namespace) -> Table:
    """Very many images on fleets of several sizes."""
    headings = ("CPUs", "hours", "images/s", "busy", "lost", "waits for", "cost of CPUs", "of requests")
    work = Work(
        options.images,
        options.partition_size,
        kind.kilobytes * 1e3,
        kind.cpu_seconds(),
        listing=options.listing,
    )
    rows = []
    for workers in map(int, options.fleets.split(",")):
        fleet = replace(machines, workers=workers)
        found = simulate(work, fleet)
        paid = workers * found.seconds
        rows.append(
            (
                f"{workers:,}",
                f"{found.seconds / HOUR:.1f}",
                f"{work.images / found.seconds:,.0f}",
                f"{found.busy / paid:.1%}",
                f"{found.lost / paid:.2%}",
                bottleneck(work, fleet),
                f"{paid / HOUR * options.cpu_price:,.0f}",
                f"{work.images / 1000 * options.get_price:,.0f}",
            )
        )
    return Table(headings, tuple(rows))


def bottleneck_table(kinds: Sequence[Kind], options: argparse.Namespace) -> Table:
    """What a worker waits for."""
    headings = ("photographs", "network", *(f"{count} under way" for count in FETCHERS))
    rows = []
    for kind in kinds:
        work = Work(MILLION, options.partition_size, kind.kilobytes * 1e3, kind.cpu_seconds())
        for bandwidth in BANDWIDTHS:
            cells = []
            for fetchers in FETCHERS:
                worker = Machines(
                    1, bandwidth=bandwidth * MEGABYTE, latency=options.latency / 1e3, fetchers=fetchers
                )
                rate = min(limits(work, worker).values())
                cells.append(f"{rate:.1f} {bottleneck(work, worker)}")
            rows.append((kind.name, f"{bandwidth:g} MB/s", *cells))
    return Table(headings, tuple(rows))


def assumptions(machines: Machines, options: argparse.Namespace) -> list[str]:
    """All that the simulation takes for granted."""
    images = f"{options.images:,} images of {SMALL}, partitions of {options.partition_size:,}"
    store = f"{options.store_bandwidth:,.0f} MB/s and {options.store_requests:,.0f} requests/s"
    times = f"{machines.overhead:.2f} s for the file of a partition, {options.dispatch:g} ms to hand it out"
    slow = f"{options.slow_share:.0%} take {options.slowness:g} times as long, all vary {options.spread:.0%}"
    return [
        f"{images}, one CPU a worker, as fast as one of this machine",
        f"network {options.bandwidth:g} MB/s for each worker, store {store} for all",
        f"{options.latency:g} ms to the first byte, {options.fetchers} requests of a worker under way",
        f"{times}, {options.listing:g} s of listing, {options.start:g} s for starting a worker",
        f"a worker dies every {options.lifetime:g} hours on average, {slow}",
    ]


def prices(options: argparse.Namespace) -> str:
    """What the figures of cost rest on."""
    return f"assumed prices: {options.cpu_price:g} a CPU-hour, {options.get_price:g} for 1,000 requests"


if __name__ == "__main__":
    run(main)
