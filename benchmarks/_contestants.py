"""Who is measured by ``speed.py``: the parts of foveal and all of it, on each engine that is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from _common import load
from _race import Contestant, exhaust, on_threads, taken
from foveal.artifact.file import read_artifact
from foveal.assessor import Assessor, cut_views
from foveal.imaging.decode import decode
from foveal.imaging.views import Pixels
from foveal.runtime.engine import available_cpus

DECODE, VIEWS = "decode only", "views only"
ENGINES = ("openvino", "onnxruntime")
LARGE = "12 MP: "
"""Begins the names of contestants that work on large photographs."""


def end_to_end_name(engine: str, threads: int) -> str:
    """What the table calls foveal from file to assessment."""
    return f"foveal end to end, {engine}" + (", 1 thread" if threads == 1 else "")


def engine_name(engine: str, threads: int) -> str:
    """What the table calls an engine on given views."""
    return f"engine only, {engine}" + (", 1 thread" if threads == 1 else "")


def installed_engines() -> list[str]:
    """Engines that can be measured here; the first is the one that foveal takes by itself."""
    return [engine for engine in ENGINES if importlib.util.find_spec(engine)]


def foveal_contestants(model: Path, files: Sequence[str]) -> list[Contestant]:
    """Decoding, views and engines alone and all together, on one thread and on all."""
    cpus = available_cpus()
    racers = [decode_only(DECODE, files, cpus)]
    pixels = [decode(file).pixels for file in files]
    for engine in installed_engines():
        for threads in sorted({1, cpus}, reverse=True):
            assessor = load(str(model), engine=engine, threads=threads)
            if len(racers) == 1:
                racers.append(views_only(assessor, pixels, cpus))
            racers.append(end_to_end(end_to_end_name(engine, threads), assessor, files))
            racers.append(engine_only(engine_name(engine, threads), assessor, pixels))
    return racers


def large_contestants(model: Path, files: Sequence[str]) -> list[Contestant]:
    """Decoding and all of foveal on large photographs."""
    assessor = load(str(model))
    return [
        decode_only(LARGE + DECODE, files, assessor.engine.threads),
        end_to_end(LARGE + end_to_end_name(assessor.engine.name, assessor.engine.threads), assessor, files),
    ]


def torch_contestants(
    recipe: Path, model: Path, files: Sequence[str], batches: Sequence[int]
) -> tuple[list[Contestant], str]:
    """The same network in torch, and a remark on it; no contestants where torch is not installed."""
    if importlib.util.find_spec("torch") is None:
        return [], "torch is not installed, so nothing is compared with it: pip install 'foveal[lab]'"
    import _torch_baseline as baseline

    network = baseline.build(recipe)
    alike = baseline.same_convolutions(network, read_artifact(model).weights)
    matches = "those of the model" if alike else "NOT those of the model, so do not compare the two"
    remark = (
        f"torch: eager, fp32; built anew from {recipe.name} with random weights, the same arithmetic "
        f"as with trained ones; the shapes of its convolutions are {matches}"
    )
    return baseline.contestants(network, files, batches, available_cpus()), remark


def decode_only(name: str, files: Sequence[str], threads: int) -> Contestant:
    """Decoding as an assessor's stream does it; pixels are dropped at once."""

    def decode_all(count: int) -> None:
        on_threads(lambda file: decode(file).pixels.shape, taken(files, count), threads)

    return Contestant(name, threads, decode_all)


def end_to_end(name: str, assessor: Assessor, files: Sequence[str]) -> Contestant:
    """From files to assessments."""

    def judge_all(count: int) -> None:
        exhaust(assessor.stream(taken(files, count)))

    return Contestant(name, assessor.engine.threads, judge_all)


def views_only(assessor: Assessor, pixels: Sequence[Pixels], threads: int) -> Contestant:
    """Cutting views from given pixels."""

    def cut_all(count: int) -> None:
        on_threads(lambda image: cut_views(image, assessor.card.views), taken(pixels, count), threads)

    return Contestant(VIEWS, threads, cut_all)


def engine_only(name: str, assessor: Assessor, pixels: Sequence[Pixels]) -> Contestant:
    """The network on given views."""
    engine = assessor.engine
    batches = [
        {key: view[np.newaxis] for key, view in cut_views(image, assessor.card.views).items()}
        for image in pixels
    ]

    def run_all(count: int) -> None:
        on_threads(engine.run, taken(batches, count), engine.threads)

    return Contestant(name, engine.threads, run_all)
