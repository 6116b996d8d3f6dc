"""Size, memory and speed of compressed models beside the one that they came from, all in one run.

    python benchmarks/compression.py fp32.foveal.safetensors small.foveal.safetensors [--torch MODEL]

The first file is what the others are compared with; --torch names the folder that it was trained in, for the
same network in torch, eager and fp32. All are fed with views that were cut beforehand, in turn, round by
round. Peak memory is that of 'foveal score' on the photographs, in a process of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from _common import environment, load, positive, progress, run, show
from _photographs import small_photographs
from _process import measure
from _race import Contestant, Figure, Rates, figure, on_threads, race, ratio, taken
from foveal.artifact.card import ViewSpec
from foveal.artifact.file import read_artifact
from foveal.assessor import cut_views
from foveal.evaluation.tables import Table
from foveal.imaging.decode import decode
from foveal.runtime.engine import Batch, available_cpus

TORCH = "torch eager fp32"
PHOTOGRAPHS = 48
READS = 5
BATCH = 16
SRCC = "validation SRCC"


def engine_contestant(path: Path, engine: str, files: Sequence[str]) -> Contestant:
    """A model's engine on given views, one stream a CPU."""
    assessor = load(str(path), engine=engine)
    views = list(cut(files, dict(assessor.card.views)))

    def run_all(count: int) -> None:
        on_threads(assessor.engine.run, taken(views, count), assessor.engine.threads)

    return Contestant(path.name, assessor.engine.threads, run_all)


def torch_contestant(model: str, backbone: str | None, files: Sequence[str]) -> Contestant:
    """The model as it was trained, eager, in batches."""
    import torch

    from foveal.lab.trained import load_trained

    network = load_trained(model, backbone=backbone).network.eval()
    torch.set_num_threads(available_cpus())
    views = list(cut(files, dict(network.views)))

    @torch.inference_mode()
    def run_all(count: int) -> None:
        waiting = list(taken(views, count))
        for first in range(0, count, BATCH):
            batch = waiting[first : first + BATCH]
            network({
                name: torch.from_numpy(np.concatenate([one[name] for one in batch])) for name in network.views
            })  # fmt: skip

    return Contestant(TORCH, available_cpus(), run_all, step=BATCH)


def cut(files: Sequence[str], specs: dict[str, ViewSpec]) -> Iterator[dict[str, Batch]]:
    """Views of each photograph, (1, side, side, 3) by name."""
    for file in files:
        yield {name: view[None] for name, view in cut_views(decode(file).pixels, specs).items()}


def reading_time(path: Path) -> float:
    """Seconds to read, verify and decode a model file: the best of a few."""
    times = []
    for _ in range(READS):
        start = time.perf_counter()
        read_artifact(path)
        times.append(time.perf_counter() - start)
    return min(times)


def peak_memory(path: Path, engine: str, folder: Path) -> float:
    """Peak memory of scoring the photographs, in MB."""
    import sys

    command = ["-m", "foveal", "score", str(folder), "--model", str(path), "--engine", engine]
    return measure([sys.executable, *command, "--out", str(folder / f"{path.stem}.csv")]).peak_mb


def spread(value: Figure, digits: int) -> str:
    """Median with extremes."""
    return f"{value.median:.{digits}f} ({value.low:.{digits}f} to {value.high:.{digits}f})"


def table_of(paths: Sequence[Path], rates: Rates, memory: dict[str, float], *, with_torch: bool) -> Table:
    """One row a model, then torch."""
    first = paths[0].name
    size = {path.name: path.stat().st_size for path in paths}
    rows = []
    for path in paths:
        name = path.name
        measured = read_artifact(path).card.measured.get(SRCC)
        rows.append((
            name,
            f"{size[name] / 1e6:.3f}",
            f"{size[first] / size[name]:.1f}",
            "" if measured is None else f"{measured:.4f}",
            f"{reading_time(path):.3f}",
            f"{memory[name]:.0f}",
            spread(figure(rates[name]), 1),
            spread(ratio(rates, name, first), 2),
            spread(ratio(rates, name, TORCH), 2) if with_torch else "",
        ))  # fmt: skip
    if with_torch:
        rows.append((TORCH, "", "", "", "", "", spread(figure(rates[TORCH]), 1), "", "1"))
    headings = ("model", "MB", "CR_file", SRCC, "read, s", "peak, MB", "images/s", "x first", "x torch")
    return Table(headings, tuple(rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--torch", metavar="MODEL", help="folder of the trained model")
    parser.add_argument("--backbone", help="of that model, if not found by its name")
    parser.add_argument("--engine", default="openvino", choices=("openvino", "onnxruntime"))
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="that each takes in a round")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = small_photographs(Path(folder), PHOTOGRAPHS)
        memory = {}
        for path in options.models:
            progress(f"memory of {path.name}")
            memory[path.name] = peak_memory(path, options.engine, Path(folder))
        contestants = [engine_contestant(path, options.engine, files) for path in options.models]
        if options.torch:
            contestants.append(torch_contestant(options.torch, options.backbone, files))
        rates = race(contestants, rounds=options.rounds, seconds=options.seconds)
    table = table_of(options.models, rates, memory, with_torch=bool(options.torch))
    show(
        table,
        [
            f"{options.engine}, {available_cpus()} streams of one image; torch in batches of {BATCH}",
            environment("openvino", "onnxruntime", "torch"),
        ],
        markdown=options.markdown,
    )


if __name__ == "__main__":
    run(main)
