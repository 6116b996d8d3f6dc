"""Speed of foveal, and of the same network in torch, measured in one run.

Contestants take turns in several rounds; the table gives the median over the rounds and the extremes. Files
are in the page cache. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from _common import (
    REPOSITORY,
    environment,
    find_images,
    load,
    make_parser,
    model_path,
    positive,
    progress,
    run,
    show,
)
from _contestants import (
    DECODE,
    LARGE,
    end_to_end_name,
    engine_name,
    foveal_contestants,
    installed_engines,
    large_contestants,
    torch_contestants,
)
from _photographs import large_photographs, mean_kilobytes, small_photographs
from _process import measure
from _race import Contestant, Figure, Rates, fastest, figure, race, ratio
from foveal.evaluation.tables import Cell, Table
from foveal.runtime.engine import available_cpus

Row = tuple[Cell, ...]
HEADINGS = ("measured", "threads", "median", "lowest", "highest", "unit")


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: turns of each contestant.
        seconds: about how long a turn is; twice as long on large photographs.
        small: photographs of 512 x 512 to make.
        large: photographs of 12 megapixels to make.
        starts: fresh processes.
        batches: sizes of batches in torch.
    """

    rounds: int
    seconds: float
    small: int
    large: int
    starts: int
    batches: tuple[int, ...] = (1, 16, 32)


QUICK = Plan(rounds=2, seconds=0.02, small=4, large=2, starts=1, batches=(1, 2))


def main() -> None:
    """Measure and print."""
    options = parse()
    plan = QUICK if options.quick else Plan(
        options.rounds, options.seconds, options.count, options.large_count, options.starts
    )  # fmt: skip
    model, card = model_path(options.model), load(options.model).card
    with tempfile.TemporaryDirectory(prefix="foveal-speed-") as work:
        progress("making photographs")
        small_folder, large_folder = options.images or Path(work, "small"), Path(work, "large")
        small = find_images(options.images) if options.images else small_photographs(small_folder, plan.small)
        large = large_photographs(large_folder, plan.large)
        progress("starting fresh processes")
        processes = process_rows(model, small_folder, large_folder, plan.starts)
        torch_racers, remark = torch_contestants(options.recipe, model, small, plan.batches)
        racers = foveal_contestants(model, small) + torch_racers
        rates = race(racers, rounds=plan.rounds, seconds=plan.seconds)
        progress("photographs of 12 megapixels")
        large_racers = large_contestants(model, large)
        rates |= race(large_racers, rounds=plan.rounds, seconds=2 * plan.seconds)
        origin = f"from {options.images}" if options.images else "of 512 x 512, made from the examples"
        notes = [
            card.model,
            f"{len(small)} small files {origin}, {mean_kilobytes(small):.0f} kB on average",
            f"{len(large)} files of 4000 x 3000, made likewise, {mean_kilobytes(large):.0f} kB on average",
            remark,
            f"medians of {plan.rounds} rounds and of {plan.starts} fresh processes (files in the page cache)",
            environment("foveal", "numpy", "pillow", "openvino", "onnxruntime", "torch"),
        ]
    rows = (*rate_rows([*racers, *large_racers], rates), *ratio_rows(rates), *processes)
    show(Table(HEADINGS, rows), notes, markdown=options.markdown)


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--images", type=Path, metavar="DIR", help="small photographs (default: made from the examples)")
    add(
        "--recipe",
        type=Path,
        default=REPOSITORY / "recipes" / "foveal-compact.toml",
        metavar="FILE",
        help="shape of the network in torch (default: recipes/foveal-compact.toml)",
    )
    add("--rounds", type=positive, default=7, metavar="N", help="turns of each (default: %(default)s)")
    add("--seconds", type=float, default=3.0, metavar="S", help="length of a turn (default: %(default)s)")
    add(
        "--count",
        type=positive,
        default=100,
        metavar="N",
        help="small photographs to make (default: %(default)s)",
    )
    add("--large-count", type=positive, default=12, metavar="N", help="large ones (default: %(default)s)")
    add("--starts", type=positive, default=5, metavar="N", help="fresh processes (default: %(default)s)")
    return parser.parse_args()


def process_rows(model: Path, small: Path, large: Path, starts: int) -> list[Row]:
    """The command in fresh processes: time of a single image, peak memory of folders."""
    command = [sys.executable, "-m", "foveal", "score", "--model", str(model)]
    one = find_images(small)[0]
    measure([*command, one])  # brings files into the page cache
    cold = figure(measure([*command, one]).seconds for _ in range(starts))
    cpus = available_cpus()
    rows = [_row("foveal score one.jpg, fresh process", cpus, cold, "s", 2)]
    for what, folder in (("", small), (LARGE, large)):
        memory = figure([measure([*command, str(folder)]).peak_mb])
        rows.append(_row(f"{what}foveal score FOLDER, peak memory", cpus, memory, "MB", 0))
    return rows


def rate_rows(racers: Sequence[Contestant], rates: Rates) -> list[Row]:
    """Images per second of each contestant."""
    return [_row(racer.name, racer.threads, figure(rates[racer.name]), "images/s", 1) for racer in racers]


def ratio_rows(rates: Rates) -> list[Row]:
    """How the contestants compare, round by round."""
    engine, cpus = installed_engines()[0], available_cpus()
    whole, network = end_to_end_name(engine, cpus), engine_name(engine, cpus)
    pairs = [(whole, DECODE)]
    for own, torch_name in ((whole, "end to end, batches"), (network, "network only, batches")):
        others = [name for name in rates if name.startswith("torch") and torch_name in name]
        if others:
            pairs.append((own, fastest(rates, others)))
    pairs.append((LARGE + whole, LARGE + DECODE))
    return [_row(f"{first} / {second}", cpus, ratio(rates, first, second), "x", 2) for first, second in pairs]


def _row(what: str, threads: int, value: Figure, unit: str, digits: int) -> Row:
    shown = [f"{number:.{digits}f}" for number in (value.median, value.low, value.high)]
    return (what, threads, *shown, unit)


if __name__ == "__main__":
    run(main)
