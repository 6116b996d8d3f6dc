"""How far do scores move between engines, precisions, numbers of threads, and alone or in a stream?

Everything is compared with OpenVINO on one thread, one image after the other. Scores are on 1-5.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from _common import EXAMPLES, environment, find_images, load, make_parser, model_path, progress, run, show
from foveal.artifact.file import read_artifact
from foveal.assessment import Assessment, Failure
from foveal.assessor import Assessor
from foveal.evaluation.tables import Cell, Table
from foveal.runtime.engine import available_cpus
from foveal.runtime.openvino_engine import OpenVINOEngine, import_openvino

QUICK = 3
Values = NDArray[np.float64]
"""Quality, low and high end of the interval of n images: (n, 3)."""


def main() -> None:
    """Score in every way and print the differences."""
    options = parse()
    files = find_images(options.images)[: QUICK if options.quick else None]
    notes: list[str] = []
    ways = every_way(options.model, files, notes)
    _, reference = next(ways)
    rows = [difference_row(name, values, reference) for name, values in ways]
    lowest, highest = reference[:, 0].min(), reference[:, 0].max()
    notes += [
        f"{options.model}: quality from {lowest:.2f} to {highest:.2f}",
        f"absolute differences to OpenVINO fp32, alone, 1 thread, on {len(files)} images",
        environment("foveal", "openvino", "onnxruntime"),
    ]
    headings = ("scored with", "quality, largest", "quality, mean", "ends of interval, largest")
    show(Table(headings, tuple(rows)), notes, markdown=options.markdown)


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=Path, default=EXAMPLES, metavar="DIR", help="default: examples")
    return parser.parse_args()


def every_way(model: str, files: Sequence[str], notes: list[str]) -> Iterator[tuple[str, Values]]:
    """Scores by what made them, the reference first; remarks on what cannot be tried here go to ``notes``."""
    cpus = available_cpus()
    engines = ["openvino"]
    if importlib.util.find_spec("onnxruntime"):
        engines.append("onnxruntime")
    else:
        notes.append("ONNX Runtime is not installed: pip install 'foveal[onnxruntime]'")
    for engine in engines:
        single, several = (load(model, engine=engine, threads=threads) for threads in (1, cpus))
        progress(engine)
        yield f"{engine}, alone, 1 thread", alone(single, files)
        yield f"{engine}, alone, {cpus} threads", alone(several, files)
        yield f"{engine}, stream, 1 thread", stream(single, files)
        yield f"{engine}, stream, {cpus} threads", stream(several, files)
        yield f"{engine}, stream backwards, {cpus} threads", stream(several, files[::-1])[::-1]
    if has_bf16():
        artifact = read_artifact(model_path(model))
        assessor = Assessor(artifact, OpenVINOEngine(artifact, precision="bf16"))
        yield f"openvino bf16, stream, {cpus} threads", stream(assessor, files)
    else:
        notes.append("bf16 is not tried: this CPU has no such arithmetic")


def alone(assessor: Assessor, files: Iterable[str]) -> Values:
    """Scores of images judged one after the other."""
    return values(assessor(file) for file in files)


def stream(assessor: Assessor, files: Iterable[str]) -> Values:
    """Scores of images judged in a stream."""
    return values(assessor.stream(files))


def values(results: Iterable[Assessment | Failure]) -> Values:
    """Numbers of assessments, (n, 3)."""
    return np.array(
        [
            (result.quality, result.interval.low, result.interval.high)
            for result in results
            if isinstance(result, Assessment)
        ],
        np.float64,
    )


def difference_row(name: str, scores: Values, reference: Values) -> tuple[Cell, ...]:
    """Largest and mean absolute difference in quality, and the largest at the ends of intervals."""
    moved = np.abs(scores - reference)
    return (name, *(f"{value:.1e}" for value in (moved[:, 0].max(), moved[:, 0].mean(), moved[:, 1:].max())))


def has_bf16() -> bool:
    """Whether OpenVINO computes in bf16 on this CPU."""
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities


if __name__ == "__main__":
    run(main)
