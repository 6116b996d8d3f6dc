"""What the service bears: its rate beside that of foveal in process, latency at 80 % of it, and overload.

The service runs as a process of its own on this machine, and so does the client, which takes part of the
CPUs: figures are those of both together. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from _client import (
    Answer,
    Client,
    closed_loop,
    open_loop,
    paced_loop,
    percentile,
    request,
    statuses,
)
from _common import environment, find_images, load, make_parser, model_path, positive, progress, run, show
from _photographs import mean_kilobytes, small_photographs
from _race import Contestant, Figure, Rates, exhaust, figure, race, ratio, taken
from foveal.evaluation.tables import Cell, Table
from foveal.runtime.engine import available_cpus

Row = tuple[Cell, ...]
HEADINGS = ("measured", "median", "lowest", "highest", "unit")
SHARE, OVERLOAD = 0.8, 3.0
"""Arrivals as shares of the capacity that was measured."""
IN_PROCESS, SINGLE = "foveal in process", "service, 1 image a request"
LARGE = "service, {} images a request"
STEADY = 5
"""Probes in a row that must be answered as quickly as before the overload."""
ALLOWED = {200, 429}
_NEVER = 60.0
"""Seconds after which nobody waits for a recovery."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: turns of each contestant.
        turn: length of a turn, in seconds.
        warm_up: of the service, in seconds.
        steady: at 80 % of capacity, in seconds: once in a closed loop, once in an open one.
        overload: at three times the capacity, in seconds.
        count: photographs to make.
        large: images in a large request.
        callers: that wait for an answer each, in closed loops.
    """

    rounds: int
    turn: float
    warm_up: float
    steady: float
    overload: float
    count: int
    large: int
    callers: int


QUICK = Plan(rounds=1, turn=0.5, warm_up=0.5, steady=1.0, overload=0.5, count=4, large=4, callers=4)


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        port: that it listens on.
        pid: of its process.
    """

    port: int
    pid: int

    def megabytes(self) -> float:
        """Memory that it has in RAM, in MB (10**6 bytes)."""
        import psutil

        return float(psutil.Process(self.pid).memory_info().rss) / 1e6


def main() -> None:
    """Measure and print."""
    options = parse()
    plan = QUICK if options.quick else Plan(
        options.rounds, options.turn, options.warm_up, options.seconds, options.overload_seconds,
        options.count, options.per_request, options.callers,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="foveal-load-") as work:
        progress("making photographs")
        files = find_images(options.images) if options.images else small_photographs(Path(work), plan.count)
        images = [Path(file).read_bytes() for file in files]
        with serving(model_path(options.model)) as service, asyncio.Runner() as runner:
            rows = Bench(options.model, service, runner, images, plan).measure()
        origin = f"from {options.images}" if options.images else "of 512 x 512, made from the examples"
        loops = f"{plan.callers} callers in closed loops, Poisson arrivals in open ones"
        times = f"{plan.steady:g} s each at {SHARE:.0%}, {plan.overload:g} s at {OVERLOAD:g} x capacity"
        notes = [
            load(options.model).card.model,
            f"{len(files)} files {origin}, {mean_kilobytes(files):.0f} kB on average",
            f"client and service on one machine; {loops}; {times}",
            environment("foveal", "numpy", "pillow", "openvino", "fastapi", "uvicorn"),
        ]
    show(Table(HEADINGS, tuple(rows)), notes, markdown=options.markdown)


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    shown = "(default: %(default)s)"
    add("--images", type=Path, metavar="DIR", help="photographs (default: made from the examples)")
    add("--count", type=positive, default=100, metavar="N", help=f"photographs to make {shown}")
    add("--seconds", type=float, default=60.0, metavar="S", help=f"at 80 %% of capacity {shown}")
    add("--overload-seconds", type=float, default=20.0, metavar="S", help=f"at 3 x capacity {shown}")
    add("--warm-up", type=float, default=10.0, metavar="S", help=f"before anything counts {shown}")
    add("--rounds", type=positive, default=5, metavar="N", help=f"turns of each {shown}")
    add("--turn", type=float, default=4.0, metavar="S", help=f"length of a turn {shown}")
    add("--per-request", type=positive, default=16, metavar="N", help=f"images in a large request {shown}")
    add("--callers", type=positive, default=8, metavar="N", help=f"in closed loops {shown}")
    return parser.parse_args()


@contextmanager
def serving(model: Path) -> Iterator[Service]:
    """A service as a process, ended with the context; its log is not kept."""
    command = [sys.executable, "-m", "foveal", "serve", "--model", str(model), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--explain-workers", "0", "--log-level", "info"], stderr=subprocess.PIPE, text=True
    )
    try:
        yield Service(_port(process), process.pid)
    finally:
        process.terminate()
        process.wait()


class Bench:
    """Measures one service.

    Args:
        model: that it serves; the same runs in this process.
        service: it.
        runner: of the client's loop.
        images: encoded photographs.
        plan: how much is measured.
    """

    def __init__(
        self, model: str, service: Service, runner: asyncio.Runner, images: Sequence[bytes], plan: Plan
    ) -> None:
        self._assessor = load(model)
        self._service = service
        self._runner = runner
        self._images = images
        self._plan = plan
        self._client = Client(service.port)
        self._single = [request([image]) for image in images]
        self._rng = np.random.default_rng(0)

    def measure(self) -> list[Row]:
        """All rows of the table."""
        plan, memory = self._plan, {"memory at the start": self._service.megabytes()}
        progress("warming up")
        self._runner.run(self._warm_up())
        rates = race(self._contestants(), rounds=plan.rounds, seconds=plan.turn)
        memory[warm := "memory after the warm-up and the closed loops"] = self._service.megabytes()
        rows = self._rate_rows(rates)
        capacity = figure(rates[SINGLE]).median
        progress(f"twice {plan.steady:g} s at {SHARE:.0%} of {capacity:.0f} images/s")
        closed = self._runner.run(
            paced_loop(self._client, self._single, SHARE * capacity, plan.steady, plan.callers)
        )
        rows += answered(f"at {SHARE:.0%}, closed loop", closed, {200})
        steady = self._runner.run(self._arrive(SHARE * capacity, plan.steady))
        memory[f"memory after twice {plan.steady:g} s at {SHARE:.0%}"] = self._service.megabytes()
        rows += answered(f"at {SHARE:.0%}, open loop", steady, {200})
        progress(f"{plan.overload:g} s at {OVERLOAD:g} times that")
        burst, recovery = self._runner.run(self._overload(OVERLOAD * capacity, percentile(steady, 99) / 1e3))
        memory["memory at the end"] = self._service.megabytes()
        rows += answered(f"at {OVERLOAD:g} x capacity", burst, ALLOWED)
        rows.append(_one("recovery after it", recovery, "s", 2))
        self._runner.run(self._client.close())
        for name, value in memory.items():
            rows.append(_one(name, value, "MB", 0))
            if name not in (warm, "memory at the start"):
                growth = 100 * (value / memory[warm] - 1)
                rows.append(_one("... growth since the warm-up", growth, "%", 1))
        return rows

    def _rate_rows(self, rates: Rates) -> list[Row]:
        served = (LARGE.format(self._plan.large), SINGLE)
        rows = [_row(name, figure(rates[name]), "images/s", 1) for name in (IN_PROCESS, *served)]
        shares = [(name, ratio(rates, name, IN_PROCESS)) for name in served]
        return rows + [_row(f"{name} / {IN_PROCESS}", share, "x", 2) for name, share in shares]

    def _contestants(self) -> list[Contestant]:
        size, images = self._plan.large, self._images
        starts = range(0, len(images), size)
        large = [request(list(taken(images[start:], size))) for start in starts]
        return [
            Contestant(
                IN_PROCESS, available_cpus(), lambda n: exhaust(self._assessor.stream(taken(images, n)))
            ),
            Contestant(
                LARGE.format(size), available_cpus(), lambda n: self._through(large, n // size), step=size
            ),
            Contestant(SINGLE, available_cpus(), lambda n: self._through(self._single, n)),
        ]

    def _through(self, wires: Sequence[bytes], count: int) -> None:
        answers = self._runner.run(closed_loop(self._client, wires, count, self._plan.callers))
        found = statuses(answers)
        if set(found) != {200}:
            raise ValueError(f"the service does not bear {self._plan.callers} callers: {dict(found)}")

    async def _warm_up(self) -> None:
        end = time.perf_counter() + self._plan.warm_up
        while time.perf_counter() < end:
            await closed_loop(self._client, self._single, 4 * self._plan.callers, self._plan.callers)

    async def _arrive(self, rate: float, seconds: float) -> list[Answer]:
        return await open_loop(self._client, self._single, rate, seconds, self._rng)

    async def _overload(self, rate: float, limit: float) -> tuple[list[Answer], float]:
        """Answers under overload, and seconds from its end until the service is as quick as before.

        As quick: several probes in a row, one after another, are answered within ``limit`` seconds.
        """
        arriving = asyncio.create_task(self._arrive(rate, self._plan.overload))
        await asyncio.sleep(self._plan.overload)
        ended = time.perf_counter()
        row, since = 0, ended
        while row < STEADY and since - ended < _NEVER:
            if row == 0:
                since = time.perf_counter()
            answer = await self._client.ask(self._single[0])
            row = row + 1 if answer.status == 200 and answer.seconds <= limit else 0
        return await arriving, since - ended


def answered(when: str, answers: Sequence[Answer], allowed: set[int]) -> list[Row]:
    """Rows about the answers to a load: how many of each status, and how long they took."""
    found = statuses(answers)
    wrong = sum(count for status, count in found.items() if status not in allowed)
    rows = [_one(f"requests {when}", len(answers), "", 0)]
    rows += [_one(f"... status {status}", count, "", 0) for status, count in sorted(found.items())]
    rows.append(_one(f"... other than {' or '.join(map(str, sorted(allowed)))}", wrong, "", 0))
    rows += [_one(f"... {share}th percentile", percentile(answers, share), "ms", 1) for share in (50, 99)]
    return rows


def _port(process: subprocess.Popen[str]) -> int:
    """Read the log until the service is ready, and go on reading, so that it never waits for its reader."""
    import threading

    port = 0
    lines = process.stderr or ()
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if told["event"] == "listening":
            port = int(told["url"].rpartition(":")[2])
        if told["event"] == "ready":
            break
    else:
        raise ValueError(f"the service does not start (exit code {process.wait()})")
    threading.Thread(target=lambda: [None for _ in lines], daemon=True).start()
    return port


def _row(what: str, value: Figure, unit: str, digits: int) -> Row:
    return (what, *(f"{number:.{digits}f}" for number in (value.median, value.low, value.high)), unit)


def _one(what: str, value: float, unit: str, digits: int) -> Row:
    return (what, f"{value:.{digits}f}", "", "", unit)


if __name__ == "__main__":
    run(main)
